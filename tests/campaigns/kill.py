"""The kill campaign: commands that are killed at random moments, and then resumed.

    python -m tests.campaigns.kill --seed 1 --count 100

A command that was killed up to three times, by SIGKILL or SIGTERM, alone or with all of its processes, is rerun to its
end. Its result must be that of an undisturbed run but for times, and nothing may be left behind: no process after a
kill, no temporary file or folder and no lock after an end in order, and after the last run. A finding is printed with
the folder that shows it; the exit code is 1 then.
"""

from __future__ import annotations

import argparse
import contextlib
import getpass
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.campaigns.kill_cases import Case, content, differences, prepare

_ROOT = Path(__file__).parents[2]
_MARK = "HVAE_MNN_KILL_CAMPAIGN"
"""Environment variable by which the processes of one case are told apart from all others."""
_TRACES = ("hvae-mnn-tmp", "hvae-mnn-old", ".part", ".lock", ".old")
"""What names of temporary files and folders have in them."""
_OF_TORCH = f"torchinductor_{getpass.getuser()}"
"""An empty folder that importing parts of torch makes, in undisturbed runs as well."""
_RUN_LIMIT_S, _END_LIMIT_S = 600.0, 30.0
"""Longest time for a command, and for its processes to end after it; both for a busy machine."""
_ANOTHER_KILL, _MOST_KILLS = 0.4, 3
"""Part of the resumed runs that are killed as well, and how often at most."""
_STARTING = 0.2
"""Part of the kills that come before a run has written anything; the others are even over the rest of its time."""
_SIGNALS = (signal.SIGKILL, signal.SIGTERM)
_KINDS = {"differs": "result", "left": "left", "alive": "alive", "end": "end"}
"""Findings by kind, and their columns: of the result, of files, of processes, of how a command ended."""


@dataclass
class Outcome:
    """What came of one case."""

    case: str
    kills: list[str] = field(default_factory=list)
    """Those that met a running process: signal and moment."""
    quarters: list[int] = field(default_factory=list)
    """Of an undisturbed run, in which they came: 0 to 3."""
    resumed: int = 0
    """Starts that found something of a killed run."""
    findings: list[tuple[str, str]] = field(default_factory=list)
    """What must not be: one of the kinds, and what it is."""

    def add(self, kind: str, what: str) -> None:
        """Take in a finding."""
        self.findings.append((kind, what))


class Campaign:
    """Runs cases in folders of their own in `folder`."""

    def __init__(self, folder: Path, seed: int, only: Collection[str] | None = None) -> None:
        """Runs every case once, undisturbed; `only`: the names of the cases to run, of all others none."""
        self.folder, self.seed = folder, seed
        (folder / "base").mkdir(parents=True)
        self.cases = [case for case in prepare(folder / "base") if not only or case.name in only]
        self.expected: dict[str, dict[str, Any]] = {}
        self.seconds: dict[str, float] = {}
        self.first: dict[str, float] = {}
        """Seconds until a run has written something."""
        for place, case in enumerate(self.cases):
            self._undisturbed(case, self._place(f"undisturbed-{place}", case))
        self.outcomes: list[Outcome] = []

    def _undisturbed(self, case: Case, own: Path) -> None:
        """Run a case to its end: what all others are compared with."""
        before, began = _written(own), time.monotonic()
        process = _start(case.arguments, own)
        while process.poll() is None:
            if case.name not in self.first and _written(own) != before:
                self.first[case.name] = time.monotonic() - began
            time.sleep(0.005)
        if process.returncode:
            raise RuntimeError(f"{case.name} fails undisturbed: {_said(own)}")
        self.seconds[case.name] = time.monotonic() - began
        self.expected[case.name] = content(own / "work" / case.result)

    def kill(self, number: int) -> Outcome:
        """Kill a case at moments that follow from seed and number, rerun it to its end, and look at what is there."""
        case, chance = self.cases[number % len(self.cases)], random.Random(f"{self.seed} {number}")
        own, outcome = self._place(str(number), case), Outcome(case.name)
        before = _written(own)
        arguments = case.arguments
        turn, place = divmod(number, len(self.cases))
        sign = _SIGNALS[(turn + place) % 2]
        for kill in range(_MOST_KILLS):
            if not kill or chance.random() < _ANOTHER_KILL:
                arguments = self._killed(case, arguments, own, sign, chance, outcome)
                outcome.resumed += _written(own) != before
        code = _wait(_start(arguments, own), _RUN_LIMIT_S, outcome, "the rerun")
        if code and "is finished" not in _said(own):  # killed after its end, there is nothing to resume
            outcome.add("end", f"the rerun ends with exit code {code}: {_said(own)}")
        else:
            for line in differences(self.expected[case.name], content(own / "work" / case.result)):
                outcome.add("differs", line)
        _check_processes(own, outcome, "at the end")
        _check_files(own, outcome, "at the end")
        self.outcomes.append(outcome)
        if not outcome.findings:
            shutil.rmtree(own)
        return outcome

    def _killed(
        self,
        case: Case,
        arguments: tuple[str, ...],
        own: Path,
        sign: signal.Signals,
        chance: random.Random,
        outcome: Outcome,
    ) -> tuple[str, ...]:
        """Run a command and kill it, if it is not faster; returns how to rerun it."""
        first, last = self.first[case.name], self.seconds[case.name]
        moment = chance.uniform(*((0.0, first) if chance.random() < _STARTING else (first, last)))
        whole = chance.random() < 0.5
        process = _start(arguments, own)
        try:
            code = process.wait(moment)
            if code and "is finished" not in _said(own):
                outcome.add("end", f"undisturbed it ends with exit code {code}: {_said(own)}")
            return case.again(own / "work")
        except subprocess.TimeoutExpired:
            outcome.kills.append(f"{sign.name}{' to all' if whole else ''} after {moment:.2f} s")
            outcome.quarters.append(int(4 * moment / last))
        when = outcome.kills[-1]
        (os.killpg if whole else os.kill)(process.pid, sign)
        # SIGTERM may come before the command listens, and after it has come to its end.
        code = _wait(process, _END_LIMIT_S, outcome, when)
        if code not in (0, -sign, 128 + sign) or "Traceback" in _said(own):
            outcome.add("end", f"{when} it ends with {code}: {_said(own)}")
        _check_processes(own, outcome, when)
        if code == 128 + sign:
            _check_files(own, outcome, when)
        if lost := case.lost(own / "work"):
            outcome.add("differs", f"{when} {lost}")
        return case.again(own / "work")

    def table(self) -> str:
        """A line per command."""
        heads = ["cases", "kills", "SIGKILL", "SIGTERM", "to all", "1st qu", "2nd qu", "3rd qu", "4th qu", "resumed"]
        lines = [f"{'command':<18}" + "".join(f"{head:>8}" for head in [*heads, *_KINDS.values()])]
        for name in [*(case.name for case in self.cases), "all"]:
            chosen = [one for one in self.outcomes if name in (one.case, "all")]
            kills = [kill for one in chosen for kill in one.kills]
            figures = [
                len(chosen),
                len(kills),
                *(sum(kill.startswith(sign.name) for kill in kills) for sign in _SIGNALS),
            ]
            figures += [sum("to all" in kill for kill in kills)]
            figures += [sum(one.quarters.count(quarter) for one in chosen) for quarter in range(4)]
            figures += [sum(one.resumed for one in chosen)]
            figures += [sum(kind == found for one in chosen for found, _ in one.findings) for kind in _KINDS]
            lines.append(f"{name:<18}" + "".join(f"{figure:>8}" for figure in figures))
        return "\n".join(lines)

    def _place(self, name: str, case: Case) -> Path:
        """A folder for a case: where it works, its temporary files, its cache."""
        own = self.folder / name
        for part in ("work", "tmp", "cache"):
            (own / part).mkdir(parents=True)
        case.begin(own / "work")
        return own


def _written(own: Path) -> dict[str, int]:
    """What is in a case's working folder, with the moments of the last changes."""
    found = {}
    for path in (own / "work").rglob("*"):
        with contextlib.suppress(OSError):  # gone meanwhile
            found[str(path)] = path.stat().st_mtime_ns
    return found


def _wait(process: subprocess.Popen[bytes], limit_s: float, outcome: Outcome, when: str) -> int:
    """Exit code of a process, which is ended when it takes longer."""
    try:
        return process.wait(limit_s)
    except subprocess.TimeoutExpired:
        outcome.add("end", f"{when} it has not ended within {limit_s:g} s")
        process.kill()
        return process.wait()


def _start(arguments: tuple[str, ...], own: Path) -> subprocess.Popen[bytes]:
    environment = dict(os.environ, PYTHONPATH=str(_ROOT), MPLBACKEND="agg", OMP_NUM_THREADS="1")
    environment |= {_MARK: str(own), "TMPDIR": str(own / "tmp"), "HVAE_MNN_CACHE": str(own / "cache")}
    # A signal that this process ignores, its children would ignore as well.
    mine = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        with (own / "stderr").open("wb") as stderr:
            return subprocess.Popen(
                [sys.executable, "-m", "hvae_mnn", *arguments],
                cwd=own / "work",
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                start_new_session=True,
            )
    finally:
        for number, handler in mine.items():
            signal.signal(number, handler)


def _said(own: Path) -> str:
    return (own / "stderr").read_text(encoding="utf-8", errors="replace").strip()[-1000:]


def _check_processes(own: Path, outcome: Outcome, when: str) -> None:
    """Every process of the case ends soon by itself."""
    deadline = time.monotonic() + _END_LIMIT_S
    while alive := _processes(own):
        if time.monotonic() > deadline:
            outcome.add("alive", f"{when} these live on: {'; '.join(alive.values())}")
            for pid in alive:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return
        time.sleep(0.05)


def _processes(own: Path) -> dict[int, str]:
    """The case's processes that are there: number, and command line."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # ended meanwhile, or another user's
            if f"{_MARK}={own}\0".encode() in (folder / "environ").read_bytes():
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                found[int(folder.name)] = line[:200]
    return found


def _check_files(own: Path, outcome: Outcome, when: str) -> None:
    """Nothing is left of a command that ended in order, nor of those that were killed before it."""
    for path in sorted(own.rglob("*")):
        if (path.parent == own / "tmp" and path.name != _OF_TORCH) or any(trace in path.name for trace in _TRACES):
            outcome.add("left", f"{when} there is {path.relative_to(own)}")


def main() -> int:
    """The command line; exit code 1 for findings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1, help="random seed for the moments")
    parser.add_argument("--count", type=int, default=100, help="kills at the least")
    parser.add_argument("--minutes", type=float, default=60.0, help="begin no further case after that")
    parser.add_argument("--only", action="append", metavar="NAME", help="run this case alone; may be repeated")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="hvae-mnn-kill-"))
    began, number = time.monotonic(), 0
    campaign = Campaign(folder, given.seed, given.only)
    print("undisturbed: " + ", ".join(f"{name} {seconds:.1f} s" for name, seconds in campaign.seconds.items()))
    while sum(len(one.kills) for one in campaign.outcomes) < given.count:
        if time.monotonic() - began > 60 * given.minutes:
            print(f"stopped after {given.minutes:g} minutes")
            break
        outcome = campaign.kill(number)
        for _, finding in outcome.findings:
            print(f"case {number}, {outcome.case}, {', '.join(outcome.kills)}: {finding}\n  see {folder / str(number)}")
        number += 1
    print(campaign.table())
    print(f"{(time.monotonic() - began) / 60:.1f} minutes")
    if any(outcome.findings for outcome in campaign.outcomes):
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
