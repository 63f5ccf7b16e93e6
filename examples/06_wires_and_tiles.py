"""What do wires cost a trained model, and which signed-weight scheme stands them best?

python examples/06_wires_and_tiles.py checkpoints/demo/best.pt [--ohms 0.5 1 2] [--tile 32] [--steps 40]
    [--tiles-verified 3] [--out wires]

For every scheme and resistance of a segment: tokens that agree with the digital model, and the error of a read, by the
exact engine at the speed of a matrix product. For the last case of every scheme ngspice is the referee, on a few tiles.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from hvae_mnn import SCHEMES, Options, Wires, build_netlist, read_hardware, simulate, verify

parser = argparse.ArgumentParser()
parser.add_argument("checkpoint", type=Path)
parser.add_argument("--ohms", type=float, nargs="+", default=[0.5, 1.0, 2.0])
parser.add_argument("--tile", type=int, default=32)
parser.add_argument("--steps", type=int, default=40)
parser.add_argument("--tiles-verified", type=int, default=3)
parser.add_argument("--out", type=Path, default=Path("wires"))
given = parser.parse_args()

base = read_hardware("tile64")
tiling = replace(base.tiling, rows=given.tile, columns=given.tile)
for scheme in SCHEMES:
    for ohm in given.ohms:
        hardware = replace(
            base, name=scheme, cells=replace(base.cells, scheme=scheme), wires=Wires(ohm, ohm), tiling=tiling
        )
        manifest = build_netlist(given.checkpoint, given.out / f"netlist-{scheme}-{ohm:g}", hardware=hardware)
        run = given.out / f"run-{scheme}-{ohm:g}"
        summary = simulate(manifest, steps=given.steps, options=Options(engine="exact"), out=run).summary
        layers = summary["preactivation_error"].values()
        worst = max(unit["array_max_of_full_scale"] for layer in layers for unit in layer.values())
        print(
            f"{scheme:24} {ohm:4g} Ohm: a read is off by up to {worst:5.1%} of full scale; tokens that agree"
            f" {summary['token_agreement']:6.1%}"
        )
    found = verify(manifest, tiles=given.tiles_verified, steps=1, out=given.out / f"verify-{scheme}")
    verified = f"{len(found.verdicts)} of {found.tiles_in_all} tiles"
    print(f"{scheme:24} ngspice on {verified}: {found.worst:.1e} from it at most")
