"""The kill campaign: every long command, killed at random moments, and then taken up again.

    python -m tests.campaigns.kill --seed 1 --count 100

`kill -9` and SIGTERM, each sent to the process alone and to its whole group, at moments spread over the duration of an
undisturbed run. A round kills one run once to three times and then lets it come to its end, as a person would: by the
same command, or by its `--resume`. Its result must be that of the undisturbed run but for times; no process may live
on; what was ended by SIGTERM leaves nothing behind, and after the last start nothing of anybody is left.

A finding is printed with its round, whose working folder is kept; the exit code is 1 then.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hvae_mnn.errors import HvaeMnnError
from hvae_mnn.netlist.manifest import read_manifest
from tests.campaigns.kill_cases import CASES, TRAIN, Case, builds_needed, lay_out
from tests.campaigns.kill_compare import differences
from tests.campaigns.kill_traces import MARK, left_behind, survivors

_ROOT = Path(__file__).parents[2]
_WAYS = [(number, to) for number in (signal.SIGKILL, signal.SIGTERM) for to in ("process", "group")]
_MOST = 3
"""Kills of one run."""
_IN_ORDER_S = 120.0
"""A command that was sent SIGTERM and has not ended by then hangs."""
_LIMIT_S = 900.0
"""Longest time for a run to its end."""
_STARTING = 0.2
"""Part of the kills that come before a run has written anything."""


@dataclass
class Figures:
    """What became of a case."""

    seconds: float = 0.0
    """Of the undisturbed run."""
    first_s: float = 0.0
    """After which it had written something."""
    rounds: int = 0
    ways: Counter[str] = field(default_factory=Counter)
    """Kills by way."""
    quarters: Counter[int] = field(default_factory=Counter)
    """Kills by the quarter of the undisturbed duration."""
    late: int = 0
    """Signals that came after the end."""
    resumed: int = 0
    """Starts that found something of a killed run."""
    findings: list[str] = field(default_factory=list)

    @property
    def kills(self) -> int:
        """Of running processes."""
        return self.ways.total() - self.late


class Campaign:
    """A working folder, and what was found in it."""

    def __init__(self, work: Path, seed: int) -> None:
        """`work` must not exist."""
        self.work, self.seed = work, seed
        self.found = {name: Figures() for name in CASES}
        lay_out(work)

    def start(self, command: Sequence[str], mark: str) -> subprocess.Popen[str]:
        """A command in the working folder, in a process group of its own, with every signal as it is by default."""
        environment = {
            **os.environ,
            MARK: mark,
            "TMPDIR": str(self.work / "tmp"),
            "HVAE_MNN_CACHE": str(self.work / "cache"),
            "PYTHONPATH": str(_ROOT),
        }
        mine = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGTERM, signal.SIGHUP)}
        try:
            with (self.work / "said").open("w") as said:
                return subprocess.Popen(
                    command,
                    cwd=self.work,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=said,
                    text=True,
                    start_new_session=True,
                )
        finally:
            for number, handler in mine.items():
                signal.signal(number, handler)

    def said(self) -> str:
        """What the last command printed on stderr."""
        return (self.work / "said").read_text(errors="replace").strip()

    def to_the_end(self, command: Sequence[str]) -> float:
        """Run a command undisturbed; returns its seconds. Raises `RuntimeError` when it fails."""
        mark, began = uuid.uuid4().hex, time.monotonic()
        process = self.start(command, mark)
        try:
            process.wait(_LIMIT_S)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if process.returncode:
            raise RuntimeError(f"exit code {process.returncode}: {self.said()[-600:]}")
        took = time.monotonic() - began
        if alive := survivors(mark):
            raise RuntimeError(f"processes {alive} are left of a run that came to its end")
        return took

    def undisturbed(self, case: Case) -> None:
        """The result that all others of this case are compared with, and the time that it takes."""
        self.clear(case)
        figures, began = self.found[case.name], time.monotonic()
        process = self.start(case.command(self.work, again=False), "undisturbed")
        while process.poll() is None:
            if not figures.first_s and self._begun(case):
                figures.first_s = time.monotonic() - began
            time.sleep(0.005)
        figures.seconds = time.monotonic() - began
        if process.returncode:
            raise RuntimeError(f"{case.name}: exit code {process.returncode}: {self.said()[-600:]}")
        shutil.copytree(self.work / case.result, self.reference(case), dirs_exist_ok=True)

    def _begun(self, case: Case) -> bool:
        """Whether a run has written something: in its folder, or a temporary one beside it."""
        result = self.work / case.result
        return result.parent.exists() and any(
            path == result or ".hvae-mnn-tmp-" in path.name for path in result.parent.iterdir()
        )

    def reference(self, case: Case) -> Path:
        """Where the undisturbed result is."""
        return self.work.with_name(f"{self.work.name}-undisturbed") / case.name

    def clear(self, case: Case) -> None:
        """Bring the working folder to where a run begins."""
        shutil.rmtree(self.work / case.result, ignore_errors=True)
        case.prepare(self.work)

    def round(self, case: Case, number: int, most: int) -> None:
        """Kill a run up to `most` times, let it end, and compare."""
        figures = self.found[case.name]
        chance = random.Random(f"{self.seed} {case.name} {number}")
        self.clear(case)
        figures.rounds += 1
        done: list[str] = []
        problems: list[str] = []
        for _ in range(min(most, chance.randint(1, _MOST))):
            problems += self._kill(case, chance, done)
        problems += self._finish(case)
        for problem in problems:
            figures.findings.append(f"{case.name}, round {number} ({'; '.join(done)}): {problem}")

    def _kill(self, case: Case, chance: random.Random, done: list[str]) -> list[str]:
        """One start that is killed; returns what is wrong."""
        figures = self.found[case.name]
        way, to = chance.choice(_WAYS)
        span = (0.0, figures.first_s) if chance.random() < _STARTING else (figures.first_s, figures.seconds)
        moment = chance.uniform(*span)
        figures.resumed += self._begun(case) and case.name != "rebuild"
        mark = uuid.uuid4().hex
        process = self.start(case.command(self.work, again=bool(done)), mark)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(moment)
        late = process.poll() is not None
        figures.ways[f"{way.name} {to}"] += 1
        figures.quarters[min(3, int(4 * moment / figures.seconds))] += not late
        figures.late += late
        done.append(f"{way.name} to the {to} after {moment:.2f} s{', too late' if late else ''}")
        with contextlib.suppress(ProcessLookupError):
            (os.kill if to == "process" else os.killpg)(process.pid, way)
        return self._after(case, process, way, late, mark)

    def _after(self, case: Case, process: subprocess.Popen[str], way: int, late: bool, mark: str) -> list[str]:
        """What is wrong after a kill."""
        problems = []
        try:
            code = process.wait(_IN_ORDER_S)
        except subprocess.TimeoutExpired:
            problems.append(f"it does not end on {signal.Signals(way).name}")
            os.killpg(process.pid, signal.SIGKILL)
            code = process.wait()
        # SIGTERM may come before the command listens, and after it has come to its end.
        allowed = {-way, 128 + way, 0} if way == signal.SIGTERM or late else {-way, 0}
        said = self.said()
        finished = late and code == 2 and "is finished" in said
        if code not in allowed and not finished:
            problems.append(f"exit code {code}: {said[-600:]}")
        if "Traceback" in said:
            problems.append(f"a traceback: {said[-600:]}")
        if alive := survivors(mark):
            problems.append(f"processes {alive} live on")
        if code == 128 + way and (left := left_behind(self.work)):
            problems.append(f"ended in order, it left {', '.join(left)}")
        if case.name == "rebuild":
            try:
                read_manifest(self.work / case.result)
            except HvaeMnnError as error:
                problems.append(f"the build is gone: {error}")
        return problems

    def _finish(self, case: Case) -> list[str]:
        """The last start; returns what is wrong with what there is then."""
        self.found[case.name].resumed += self._begun(case) and case.name != "rebuild"
        problems = []
        try:
            self.to_the_end(case.command(self.work, again=True))
        except RuntimeError as error:
            if "is finished" not in str(error):  # the signal came too late
                return [str(error)]
        except subprocess.TimeoutExpired:
            return [f"it does not come to its end within {_LIMIT_S:g} s"]
        problems += differences(self.reference(case), self.work / case.result)
        if left := left_behind(self.work):
            problems.append(f"at the end there is {', '.join(left)}")
        return problems

    def run(self, names: Sequence[str], count: int, minutes: float) -> None:
        """Kill `count` times in all, or until the time is up; the cases take turns."""
        until = time.monotonic() + 60 * minutes
        self.undisturbed(TRAIN)
        for arguments in builds_needed():
            self.to_the_end([sys.executable, "-m", "hvae_mnn", *arguments])
        shutil.copytree(self.work / "model", self.work.with_name(f"{self.work.name}-undisturbed") / "model")
        for name in names:
            if name != TRAIN.name:
                self.undisturbed(CASES[name])
        number = 0
        while (left := count - self.total("kills")) > 0 and time.monotonic() < until:
            name = names[number % len(names)]
            self.round(CASES[name], number, left)
            if self.found[name].findings and name == TRAIN.name:  # what the others stand on
                shutil.rmtree(self.work / "model")
                shutil.copytree(self.work.with_name(f"{self.work.name}-undisturbed") / "model", self.work / "model")
            number += 1

    def total(self, what: str) -> int:
        """Over all cases."""
        return sum(getattr(figures, what) for figures in self.found.values())

    def findings(self) -> list[str]:
        """Everything that must not be."""
        return [line for figures in self.found.values() for line in figures.findings]

    def table(self) -> str:
        """A line per case."""
        heads = [f"{way.name.removeprefix('SIG')} {to}" for way, to in _WAYS]
        lines = [
            f"{'command':<18}{'alone':>8}{'rounds':>8}{'kills':>7}"
            + "".join(f"{head:>14}" for head in heads)
            + f"{'by quarter':>16}{'late':>6}{'resumed':>9}{'findings':>10}"
        ]
        for name, figures in self.found.items():
            if figures.rounds:
                quarters = " ".join(str(figures.quarters[place]) for place in range(4))
                lines.append(
                    f"{name:<18}{figures.seconds:>7.1f}s{figures.rounds:>8}{figures.kills:>7}"
                    + "".join(f"{figures.ways[f'{way.name} {to}']:>14}" for way, to in _WAYS)
                    + f"{quarters:>16}{figures.late:>6}{figures.resumed:>9}{len(figures.findings):>10}"
                )
        total = f"{'all':<18}{'':>8}{self.total('rounds'):>8}{self.total('kills'):>7}" + " " * (14 * len(_WAYS))
        return "\n".join(
            [*lines, f"{total}{'':>16}{self.total('late'):>6}{self.total('resumed'):>9}{len(self.findings()):>10}"]
        )


def campaign(folder: Path, seed: int, count: int, minutes: float, names: Sequence[str] = tuple(CASES)) -> Campaign:
    """Kill `count` times in a new folder below `folder`."""
    made = Campaign(folder / "work", seed)
    made.run(names, count, minutes)
    return made


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=100, help="kills of running processes")
    parser.add_argument("--minutes", type=float, default=60.0, help="no round begins after that")
    parser.add_argument("--case", action="append", choices=list(CASES), help="one of them only; may be repeated")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="hvae-mnn-kill-"))
    began = time.monotonic()
    made = campaign(folder, given.seed, given.count, given.minutes, given.case or tuple(CASES))
    print(made.table())
    print(f"seed {given.seed}, {made.total('kills')} kills, {time.monotonic() - began:.0f} s")
    for line in made.findings():
        print(f"finding: {line}")
    if made.findings():
        print(f"the working folder is {folder / 'work'}")
        sys.exit(1)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
