#!/bin/sh
# The main job at the paper's size on Penn Treebank: train, evaluate, export, 40 steps through ngspice.
# Usage: experiments/ptb_sound.sh FOLDER   (FOLDER holds ptb.train.txt, ptb.valid.txt and ptb.test.txt, or .gz)
set -eu
data=$1
hvae=.venv/bin/hvae-mnn
# Version 0.1 trained the committed results' model otherwise: --preset paper-adam --tokenizer twr --epochs 16
# --annealing-epochs 4 --threads 2.
$hvae train --preset paper --data-dir "$data" --threads 1 --out checkpoints/ptb-sound --resume
$hvae evaluate checkpoints/ptb-sound/best.pt --data-dir "$data" --split test
$hvae build-netlist checkpoints/ptb-sound/best.pt
$hvae simulate netlists/ptb-sound --data-dir "$data" --split test --steps 40
