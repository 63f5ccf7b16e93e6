"""How many bits do the converters need? Token agreement and pre-activation error against the bits of DAC and ADC.

python examples/04_converters.py checkpoints/demo/best.pt [--steps 40] [--bits 4 6 8 10 12] [--out converters]

The ideal engine is eq. 12 as a matrix product, so it may sweep widely; ngspice, the referee, solves the circuit. Where
wires are absent the two give the same currents, and so the same codes: only the converters make an error here.
"""

import argparse
from pathlib import Path

from matplotlib.figure import Figure

from hvae_mnn import Options, build_netlist, simulate

parser = argparse.ArgumentParser()
parser.add_argument("checkpoint", type=Path)
parser.add_argument("--steps", type=int, default=40)
parser.add_argument("--bits", type=int, nargs="+", default=[4, 6, 8, 10, 12])
parser.add_argument("--out", type=Path, default=Path("converters"))
given = parser.parse_args()

manifest = build_netlist(given.checkpoint, given.out / "netlist")
found: dict[str, list[tuple[float, float]]] = {"ideal": [], "ngspice": []}
for engine, points in found.items():
    for bits in given.bits:
        options = Options(engine=engine, dac_bits=bits, adc_bits=bits)
        summary = simulate(manifest, steps=given.steps, options=options, out=given.out / f"{engine}-{bits}").summary
        # Relative to the largest pre-activation of its gate; the worst gate of all layers.
        errors = [
            gate["rms"] / gate["full_scale"]
            for gates in summary["preactivation_error"].values()
            for gate in gates.values()
        ]
        points.append((summary["token_agreement"], max(errors)))
        print(f"{engine:8} {bits:2} bits: tokens that agree {points[-1][0]:6.1%}, rms error {points[-1][1]:.1e}")

# A Figure of its own instead of pyplot: no global state, no display.
figure = Figure(figsize=(8, 3.5), layout="constrained")
agreement, error = figure.subplots(1, 2)
for (engine, points), style in zip(found.items(), ("o-", "x--"), strict=True):
    agreement.plot(given.bits, [100 * point[0] for point in points], style, label=engine)
    error.semilogy(given.bits, [point[1] for point in points], style, label=engine)
agreement.set(xlabel="bits of DAC and ADC", ylabel="tokens that agree (%)", ylim=(0, 105))
error.set(xlabel="bits of DAC and ADC", ylabel="rms pre-activation error / full scale")
error.legend()
figure.savefig(given.out / "converters.png", dpi=150)
print(f"wrote {given.out / 'converters.png'}")
