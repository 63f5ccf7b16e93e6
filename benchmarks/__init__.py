"""How fast hvae-mnn is, told as ratios between things measured in one run on one machine.

One module per question, each with its floor in its docstring: `step`, `overhead`, `memory`, `netlist`, `ideal`.
Absolute times belong to the machine they were taken on; the ratios are what should stay. Run with
`python -m benchmarks`, or `make bench`.
"""
