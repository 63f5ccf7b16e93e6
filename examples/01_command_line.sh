#!/bin/sh
# From nothing to tokens out of ngspice, command by command.
#
#     sh examples/01_command_line.sh [FOLDER]
#
# Everything lands in FOLDER (default: a new temporary folder). The model is far too small and trained far too little
# to speak well: the point is to see every command and every file once. `make demo` trains a better one.
set -eu
PATH="$(cd "$(dirname "$0")/.." && pwd)/.venv/bin:$PATH"
folder=${1:-$(mktemp -d)}
mkdir -p "$folder"
cd "$folder"

# Is this machine fit? Runs ngspice for real, and names what is missing.
hvae-mnn doctor

# Two epochs on the built-in grammar corpus.
hvae-mnn train --preset tiny --embedding 12 --hidden 16 --latent 4 --epochs 2 --out checkpoints/first

# What the model is worth: the published formulas, and proper bounds, never mixed.
hvae-mnn evaluate checkpoints/first/best.pt --sentences 60 --importance-samples 0

# Every gate matrix as a crossbar array: decks, conductances, manifest, in netlists/first/.
hvae-mnn build-netlist checkpoints/first/best.pt

# A deck needs nothing but ngspice: the column currents of the first encoder layer's forget gate for a test vector.
(cd netlists/first && ngspice -n -b encoder1_f.cir | grep '^i(vsf' | head -n 4)

# Ten time steps with all gates in ngspice, beside the digital model.
hvae-mnn simulate --steps 10 --out runs/first
ls runs/first
echo "all files are in $folder"
