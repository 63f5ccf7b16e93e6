#!/bin/sh
# Penn Treebank at the paper's size with wires: 560 tiles of 64 x 64, 1-ohm segments, a reference column per tile; the
# exact engine and ngspice on the same 40 time steps, without converters; and the proof on single tiles.
# Usage: experiments/wires.sh FOLDER_WITH_PTB [CHECKPOINT]
set -eu
data=$1
checkpoint=${2:-checkpoints/ptb-sound/best.pt}
out=experiments/results/wires
bin=.venv/bin/hvae-mnn
mkdir -p "$out"
$bin build-netlist "$checkpoint" --hardware tile64 --name ptb-tile64
rm -rf runs/wires-exact runs/wires-ngspice runs/wires-verify runs/wires-converters
$bin simulate netlists/ptb-tile64 --engine exact --dac-bits 0 --adc-bits 0 --data-dir "$data" --out runs/wires-exact
$bin simulate netlists/ptb-tile64 --engine exact --data-dir "$data" --out runs/wires-converters
$bin verify netlists/ptb-tile64 --tiles 24 --data-dir "$data" --out runs/wires-verify
$bin simulate netlists/ptb-tile64 --engine ngspice --dac-bits 0 --adc-bits 0 --data-dir "$data" --out runs/wires-ngspice
cp runs/wires-exact/summary.json "$out/summary-exact.json"
cp runs/wires-ngspice/summary.json "$out/summary-ngspice.json"
cp runs/wires-converters/summary.json "$out/summary-converters.json"
cp runs/wires-exact/error_over_steps.png "$out/"
cp runs/wires-verify/verify.json runs/wires-verify/deviation.png runs/wires-verify/deviation.svg \
    runs/wires-verify/potentials.png "$out/"
.venv/bin/python - "$out" <<'PY'
import json, sys
import numpy as np, pyarrow.parquet as pq
tables = [pq.read_table(f"runs/wires-{name}/preactivations.parquet")["hardware"].to_numpy() for name in ("exact", "ngspice")]
tokens = [json.load(open(f"runs/wires-{name}/summary.json"))["tokens_hardware"] for name in ("exact", "ngspice")]
found = {
    "preactivations_compared": len(tables[0]),
    "largest_difference_of_full_scale": float(np.abs(tables[0] - tables[1]).max() / np.abs(tables[1]).max()),
    "tokens_equal": tokens[0] == tokens[1],
}
print(found)
json.dump(found, open(f"{sys.argv[1]}/exact-against-ngspice.json", "w"), indent=2)
PY
