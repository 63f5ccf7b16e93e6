#!/bin/sh
# Accuracy against what is not ideal, Penn Treebank at the paper's size: sweeps, finetuning, figures; three hours on two
# cores. What was stopped goes on: call it again.
# Usage: experiments/noise.sh FOLDER_WITH_PTB; the network is checkpoints/ptb-sound, of experiments/ptb_sound.sh.
set -eu
data=$1
checkpoint=checkpoints/ptb-sound/best.pt
out=experiments/results/noise
bin=.venv/bin/hvae-mnn
finetune() {
    folder=$1
    shift
    $bin finetune "$checkpoint" --hardware experiments/tile64-without-wires.toml --data-dir "$data" \
        --set programming.error=lognormal --set programming.sigma=0.135 --valid-sentences 300 --validate-every 50 \
        --out "checkpoints/$folder" --resume "$@"
    mkdir -p "$out/$folder"
    cp "checkpoints/$folder/metrics.json" "$out/$folder/"
    [ "$folder" = ptb-clipped ] || cp "checkpoints/$folder/finetune.png" "$out/$folder/"
}
$bin sweep experiments/programming.toml --data-dir "$data"
$bin sweep experiments/noise.toml --data-dir "$data"
$bin sweep experiments/whole.toml --data-dir "$data"
finetune ptb-clipped --clip-weights 2 --updates 0
finetune ptb-finetuned --clip-weights 2 --updates 200 --learning-rate 5e-5
finetune ptb-unclipped --updates 200 --learning-rate 3e-4
$bin sweep experiments/finetune.toml --data-dir "$data"
$bin sweep experiments/finetune-control.toml --data-dir "$data"
for name in programming noise whole finetune finetune-control; do
    mkdir -p "$out/$name"
    cp "runs/$name/results.parquet" "runs/$name/timings.parquet" "runs/$name/sweep.json" "$out/$name/"
done
for name in programming noise finetune; do
    $bin plot accuracy-vs-noise "runs/$name" --out "$out/$name"
done
