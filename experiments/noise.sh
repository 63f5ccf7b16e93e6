#!/bin/sh
# Accuracy against what is not ideal, Penn Treebank at the paper's size: four sweeps, finetuning, figures; hours on two
# cores. What was stopped goes on: call it again.
# Usage: experiments/noise.sh FOLDER_WITH_PTB; the network is checkpoints/ptb-sound, of experiments/ptb_sound.sh.
set -eu
data=$1
checkpoint=checkpoints/ptb-sound/best.pt
out=experiments/results/noise
bin=.venv/bin/hvae-mnn
mkdir -p "$out"
$bin sweep experiments/programming.toml --data-dir "$data"
$bin sweep experiments/noise.toml --data-dir "$data"
$bin finetune "$checkpoint" --hardware experiments/tile64-without-wires.toml --data-dir "$data" \
    --set programming.error=lognormal --set programming.sigma=0.125 --clip-weights 3.5 --learning-rate 1e-3 \
    --updates 500 --valid-sentences 100 --out checkpoints/ptb-finetuned --resume
$bin sweep experiments/finetune.toml --data-dir "$data"
for name in programming noise finetune; do
    $bin plot accuracy-vs-noise "runs/$name" --out "$out/$name"
    cp "runs/$name/results.parquet" "runs/$name/timings.parquet" "runs/$name/sweep.json" "$out/$name/"
done
cp checkpoints/ptb-finetuned/metrics.json checkpoints/ptb-finetuned/finetune.png "$out/finetune/"
