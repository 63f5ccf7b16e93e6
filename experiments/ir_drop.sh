#!/bin/sh
# What wires cost: error of column currents over tile size and wire resistance, exact curves with ngspice's points on
# them, and the three signed-weight schemes beside each other. Usage: experiments/ir_drop.sh
set -eu
out=experiments/results/ir-drop
rm -rf runs/ir-drop-results
.venv/bin/hvae-mnn ir-drop --scheme reference_column --spice-sizes 16,32,64,128 --out runs/ir-drop-results
mkdir -p "$out"
cp runs/ir-drop-results/ir_drop.json runs/ir-drop-results/ir_drop.parquet runs/ir-drop-results/*.png runs/ir-drop-results/*.svg "$out/"
