#!/bin/sh
# One memristor, a network programmed, and a network disturbed by reading. Needs the demo's model (make demo).
# Usage: sh experiments/memristors.sh [folder for the runs]
set -eu
out=${1:-runs/memristors}
hvae-mnn iv --out "$out/iv-aist"
hvae-mnn iv --device hp --out "$out/iv-hp"
hvae-mnn build-netlist checkpoints/demo/best.pt --out "$out/static"
hvae-mnn program "$out/static" --out "$out/program"
hvae-mnn program --random 16 16 --ngspice osdi --wire-ohm 2 --out "$out/program-wired"
hvae-mnn program --random 128 128 --scheme V/2 --amplitude 0.18 --threshold-sigma 0.05 --out "$out/program-disturbed"
hvae-mnn build-netlist checkpoints/demo/best.pt --out "$out/safe" --device-backend osdi
hvae-mnn simulate "$out/safe" --steps 40 --out "$out/read-safe"
hvae-mnn build-netlist checkpoints/demo/best.pt --out "$out/disturbed" --device-backend osdi --read-voltage 0.12 \
    --read-time 1e-5 --allow-disturb
hvae-mnn simulate "$out/disturbed" --steps 40 --out "$out/read-disturbed"
