"""How hard may a crossbar be read? Drift of the memristors' states and token agreement against the read voltage.

python examples/05_read_disturb.py checkpoints/demo/best.pt [--volts 0.05 0.1 0.12 0.15] [--steps 40]
    [--read-time 1e-5] [--referee osdi] [--out disturb]

Below the threshold (0.1 V) nothing moves. Above it every read moves what it reads, a little with every step. The ideal
engine integrates the state equation itself; ngspice, with the back end named by --referee, is asked at the largest
voltage.
"""

import argparse
from pathlib import Path

from matplotlib.figure import Figure

from hvae_mnn import Options, build_netlist, simulate

parser = argparse.ArgumentParser()
parser.add_argument("checkpoint", type=Path)
parser.add_argument("--volts", type=float, nargs="+", default=[0.05, 0.1, 0.11, 0.12, 0.15])
parser.add_argument("--steps", type=int, default=40)
parser.add_argument("--read-time", type=float, default=1e-5)
parser.add_argument("--referee", choices=["behavioural", "osdi"], default="osdi")
parser.add_argument("--out", type=Path, default=Path("disturb"))
given = parser.parse_args()


def disturbed(volts: float, engine: str) -> tuple[float, float]:
    """Largest drift of a state, and the share of tokens that agree with the digital model."""
    manifest = build_netlist(
        given.checkpoint,
        given.out / f"netlist-{volts:g}",
        device_backend=given.referee if engine == "ngspice" else "behavioural",
        read_voltage=volts,
        read_s=given.read_time,
        allow_disturb=True,
    )
    options = Options(engine=engine)
    result = simulate(manifest, steps=given.steps, options=options, out=given.out / f"{engine}-{volts:g}")
    devices = result.summary["devices"]
    agreement = result.summary["token_agreement"]
    print(
        f"{engine:8} {volts * 1e3:4.0f} mV: {devices['moved']:6} of {devices['count']} states moved,"
        f" by up to {devices['max_drift']:.1e}; tokens that agree {agreement:6.1%}"
    )
    return devices["max_drift"], agreement


ideal = [disturbed(volts, "ideal") for volts in given.volts]
referee = disturbed(max(given.volts), "ngspice")

figure = Figure(figsize=(8, 3.5), layout="constrained")
drift, agreement = figure.subplots(1, 2)
millivolts = [1e3 * volts for volts in given.volts]
drift.plot(millivolts, [point[0] for point in ideal], "o-", label="state equation")
drift.plot(1e3 * max(given.volts), referee[0], "x", ms=10, label=f"ngspice, {given.referee}")
agreement.plot(millivolts, [100 * point[1] for point in ideal], "o-")
agreement.plot(1e3 * max(given.volts), 100 * referee[1], "x", ms=10)
for axes in (drift, agreement):
    axes.axvline(100, color="0.6", ls=":")
    axes.set_xlabel("read voltage of the largest input (mV)")
drift.set_ylabel(f"largest |x - x0| after {given.steps} steps")
agreement.set(ylabel="tokens that agree (%)", ylim=(0, 105))
drift.legend()
figure.savefig(given.out / "read_disturb.png", dpi=150)
print(f"wrote {given.out / 'read_disturb.png'}")
