"""How much programming spread does a network stand, and how much of the loss can be trained away?

python examples/07_accuracy_against_noise.py checkpoints/demo/best.pt [--spread 0.15] [--updates 200] [--sentences 200]
    [--seeds 5] [--out spread]

The network is finetuned on hardware that is drawn anew for every batch. A sweep runs both networks over the spread,
with several draws each; its figure shows them beside the digital model. ngspice then proves that one of the points is
the circuit that it says. Rerun it to resume.
"""

import argparse
from pathlib import Path

from hvae_mnn import Nonidealities, Programming, finetune, plot_accuracy, sweep, verify_point


def main() -> None:
    """Everything, in its order."""
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--spread", type=float, default=0.15)
    parser.add_argument("--updates", type=int, default=200)
    parser.add_argument("--sentences", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("spread"))
    given = parser.parse_args()

    tuned = finetune(
        given.checkpoint,
        noise=Nonidealities(programming=Programming("lognormal", given.spread)),
        out=given.out / "finetuned",
        resume=True,
        updates=given.updates,
        clip_weights=3.0,
    )
    file = given.out / "spread.toml"
    file.write_text(
        f"""
name = "spread"
seeds = {given.seeds}
sentences = {given.sentences}
metrics = ["top1", "ppl"]
models = {{ trained = "{given.checkpoint.resolve()}", finetuned = "{tuned.checkpoint.resolve()}" }}
set = {{ "noise.programming.error" = "lognormal" }}

[[grid]]
name = "spread"
[grid.axes]
"noise.programming.sigma" = [0.02, {given.spread / 2:g}, {given.spread:g}]
""",
        encoding="utf-8",
    )
    result = sweep(file, out=given.out / "sweep")
    for path in plot_accuracy(result.folder, out=given.out).files:
        print(f"wrote {path}")
    for task in result.plan.tasks.values():
        sigma = task.noise["programming"]["sigma"] if task.noise else 0.0
        if sigma in (0.0, given.spread) and task.seed in (None, 0):
            found = result.finished[task.key].outcome.metrics["top1"]
            what = f"spread {sigma:g}" if task.noise else task.kind
            print(f"{task.model.label:10} {what:14} next word right: {found:.1%}")
    point = next(task for task in result.plan.tasks.values() if task.kind == "point")
    verified = verify_point(result.folder, point.key, arrays=2, steps=1, out=given.out / "verify")
    print(f"ngspice on {len(verified.verdicts)} arrays of a point: {verified.worst:.1e} from it at most")


if __name__ == "__main__":  # workers of a sweep are processes, which read this file again
    main()
