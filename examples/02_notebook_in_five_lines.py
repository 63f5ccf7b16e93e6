"""The commands as functions, for a notebook: typed results, nothing printed on the way.

python examples/02_notebook_in_five_lines.py checkpoints/demo/best.pt

Netlists go to netlists/, the run to runs/, both in the working folder.
"""

import sys

from hvae_mnn import build_netlist, load_checkpoint, simulate

checkpoint = load_checkpoint(sys.argv[1])
manifest = build_netlist(checkpoint.path)
result = simulate(manifest, steps=20)

for source, text in result.texts(0).items():
    print(f"{source:9}", text)
print(f"tokens that agree: {result.summary['token_agreement']:.0%}; tables and figures: {result.folder}")
