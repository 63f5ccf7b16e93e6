"""The fuzz campaign: every reader, on files that were spoilt in thousands of ways.

    python -m tests.campaigns.fuzz --seed 1 --count 10000

An input is refused with an error of ours, or read as what it was before; nothing else is raised, nothing hangs, memory
stays within bounds, and nothing in it is run. A finding is printed with the file that shows it, and the command that
repeats it; the exit code is 1 then.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.campaigns import fuzz_originals

FINDINGS = ("different", "error", "hung", "code", "crashed")
_RESULTS = ("refused", "same", "absent", "accepted", "warned", *FINDINGS)
_PATIENCE_S = 120.0
"""Without a word from a worker; its own limit is on the processor's time, and does not see one that sleeps."""
_START_S = 600.0
_ROOT = Path(__file__).parents[2]
_WORKER = ["-m", "tests.campaigns.fuzz_worker"]


@dataclass
class Campaign:
    """What came of all inputs."""

    seed: int
    outcomes: list[dict[str, Any]] = field(default_factory=list)
    peak_mib: int = 0

    @property
    def findings(self) -> list[dict[str, Any]]:
        """Those that must not be."""
        return [one for one in self.outcomes if one["result"] in FINDINGS]

    def table(self) -> str:
        """A line per reader."""
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        slowest: dict[str, float] = defaultdict(float)
        for one in self.outcomes:
            counts[one["reader"]][one["result"]] += 1
            slowest[one["reader"]] = max(slowest[one["reader"]], one["seconds"])
        shown = [name for name in _RESULTS if any(count[name] for count in counts.values()) or name in FINDINGS]
        lines = [f"{'reader':<22}{'inputs':>8}" + "".join(f"{name:>10}" for name in shown) + f"{'slowest':>10}"]
        for name in sorted(counts):
            row = "".join(f"{counts[name][result]:>10}" for result in shown)
            lines.append(f"{name:<22}{counts[name].total():>8}{row}{slowest[name]:>9.2f}s")
        total: Counter[str] = sum(counts.values(), Counter())
        row = "".join(f"{total[result]:>10}" for result in shown)
        lines.append(f"{'all':<22}{total.total():>8}{row}{max(slowest.values(), default=0):>9.2f}s")
        return "\n".join([*lines, f"largest memory of a worker: {self.peak_mib} MiB"])


class _Worker:
    """A process that tries every `step`th input; started again after one that it did not survive."""

    def __init__(self, folder: Path, place: int, seed: int, numbers: range, told: queue.Queue[Any]) -> None:
        self.folder, self.place, self.seed, self.numbers, self.told = folder, place, seed, numbers, told
        self.attempt, self.current, self.heard = 0, None, time.monotonic()
        self.at: dict[str, Any] = {}
        self.start()

    def start(self) -> None:
        scratch = self.folder / f"worker-{self.place}-{self.attempt}"
        shutil.rmtree(self.folder / f"worker-{self.place}-{self.attempt - 1}", ignore_errors=True)
        self.attempt += 1
        numbers = self.numbers
        given = [self.folder / "originals", scratch, self.seed, numbers.start, numbers.stop, numbers.step]
        environment = dict(os.environ, OMP_NUM_THREADS="1", MPLBACKEND="agg", PYTHONPATH=str(_ROOT))
        with (self.folder / f"worker-{self.place}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *_WORKER, *map(str, given)],
                stdout=subprocess.PIPE,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd=_ROOT,
                env=environment,
            )
        self.heard, self.current = time.monotonic() + _START_S - _PATIENCE_S, None
        threading.Thread(target=self._listen, args=(self.process,), daemon=True).start()

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                self.told.put((self, process, json.loads(line)))
        self.told.put((self, process, None))

    def go_on(self) -> bool:
        """Start again behind the present input; False if it was the last, or there was none."""
        if self.current is None:
            raise RuntimeError(f"a worker does not start; see {self.folder}/worker-{self.place}.log")
        self.numbers = range(self.current + self.numbers.step, self.numbers.stop, self.numbers.step)
        if self.numbers:
            self.start()
        return bool(self.numbers)


def run(
    folder: Path, seed: int, numbers: range, *, workers: int = 1, quick: bool = False, say: Any = print
) -> Campaign:
    """Try the inputs of these numbers; everything is kept in `folder`."""
    fuzz_originals.make(folder / "originals", quick=quick)
    campaign, told = Campaign(seed), queue.Queue[Any]()
    steps = [numbers[place::workers] for place in range(workers)]
    alive = [_Worker(folder, place, seed, step, told) for place, step in enumerate(steps) if step]
    began = said = time.monotonic()
    while alive:
        try:
            worker, process, heard = told.get(timeout=1)
        except queue.Empty:
            heard = worker = None
        if worker is not None and process is worker.process:
            before = len(campaign.findings)
            _take(campaign, worker, heard, alive)
            for one in campaign.findings[before:]:
                say(_finding(one, folder, seed))
        for one in alive:
            if time.monotonic() - one.heard > _PATIENCE_S:
                one.process.kill()
        if time.monotonic() - said > 15:
            said = time.monotonic()
            say(f"{len(campaign.outcomes)} of {len(numbers)} inputs, {said - began:.0f} s")
    return campaign


def _finding(one: dict[str, Any], folder: Path, seed: int) -> str:
    lines = [
        f"FINDING {one['result']}: {one['reader']}, {one['file']}, {one['way']}",
        f"kept in {folder}/findings/{one['number']}; again:",
        f"python -m tests.campaigns.fuzz --seed {seed} --only {one['number']}",
        *one["message"].strip().splitlines()[-8:],
    ]
    return "\n  ".join(lines)


def _take(campaign: Campaign, worker: _Worker, heard: dict[str, Any] | None, alive: list[_Worker]) -> None:
    """Note what a worker tells; None: it has ended."""
    worker.heard = time.monotonic()
    if heard is None:
        code = worker.process.wait()
        if code:
            result = "hung" if code == -9 else "crashed"
            outcome = {"result": result, "message": f"the worker ended with code {code}", "seconds": 0.0}
            campaign.outcomes.append({"number": worker.current, **worker.at, **outcome})
        if not code or not worker.go_on():
            alive.remove(worker)
    elif "begin" in heard:
        worker.current = heard.pop("begin")
        worker.at = heard
    else:
        campaign.peak_mib = max(campaign.peak_mib, heard.pop("peak"))
        campaign.outcomes.append(heard)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--only", type=int, help="one input, by its number")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--quick", action="store_true", help="leave out what takes ngspice")
    given = parser.parse_args()
    numbers = range(given.count) if given.only is None else range(given.only, given.only + 1)
    folder = Path(tempfile.mkdtemp(prefix="hvae-mnn-fuzz-"))
    began = time.monotonic()
    campaign = run(folder, given.seed, numbers, workers=given.workers, quick=given.quick)
    print(campaign.table())
    print(f"seed {given.seed}, {len(numbers)} inputs, {time.monotonic() - began:.0f} s with {given.workers} workers")
    if campaign.findings:
        print(f"{len(campaign.findings)} findings; they are kept in {folder}/findings")
        sys.exit(1)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
