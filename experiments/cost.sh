#!/bin/sh
# What a token costs at the paper's size with wires: energy of 560 tiles of 64 x 64 over 40 time steps of Penn Treebank,
# ngspice's sources for four of them, and how the slowest settles. Needs netlists/ptb-tile64 (experiments/wires.sh).
# Usage: experiments/cost.sh FOLDER_WITH_PTB
set -eu
data=$1
out=experiments/results/cost
rm -rf runs/cost-results
.venv/bin/hvae-mnn cost netlists/ptb-tile64 --data-dir "$data" --out runs/cost-results
mkdir -p "$out"
cp runs/cost-results/cost.json runs/cost-results/cost.parquet runs/cost-results/settling.parquet \
    runs/cost-results/*.png runs/cost-results/*.svg "$out/"
