"""The kill campaign: commands that are killed at random moments, and then resumed.

    python -m tests.campaigns.kill --seed 1 --count 100

A command that was killed, by SIGKILL or SIGTERM, alone or with all of its processes, is rerun to its end. Its result
must be that of an undisturbed run but for times, and nothing may be left behind: no temporary file or folder, no lock,
no process. A finding is printed with the folder that shows it; the exit code is 1 then.
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
_SECOND_KILL = 0.25
"""Part of the resumed runs that are killed as well."""
_SIGNALS = (signal.SIGKILL, signal.SIGTERM)


@dataclass
class Outcome:
    """What came of one case."""

    case: str
    kills: list[str] = field(default_factory=list)
    """Those that met a running process: signal and moment."""
    findings: list[str] = field(default_factory=list)
    """What must not be."""


class Campaign:
    """Runs cases in folders of their own in `folder`."""

    def __init__(self, folder: Path, seed: int, only: str | None = None) -> None:
        """Runs every case once, undisturbed; `only`: the name of the one case to run."""
        self.folder, self.seed = folder, seed
        (folder / "base").mkdir(parents=True)
        self.cases = [case for case in prepare(folder / "base") if only in (None, case.name)]
        self.expected: dict[str, dict[str, Any]] = {}
        self.seconds: dict[str, float] = {}
        for place, case in enumerate(self.cases):
            own, began = self._place(f"undisturbed-{place}"), time.monotonic()
            code = _start(case.arguments, own).wait(_RUN_LIMIT_S)
            if code:
                raise RuntimeError(f"{case.name} fails undisturbed: {_said(own)}")
            self.seconds[case.name] = time.monotonic() - began
            self.expected[case.name] = content(own / "work" / case.result)
        self.outcomes: list[Outcome] = []

    def kill(self, number: int) -> Outcome:
        """Kill a case at moments that follow from seed and number, rerun it to its end, and look at what is there."""
        case, chance = self.cases[number % len(self.cases)], random.Random(f"{self.seed} {number}")
        own, outcome = self._place(str(number)), Outcome(case.name)
        arguments: tuple[str, ...] | None = case.arguments
        sign = _SIGNALS[number // len(self.cases) % 2]
        for _ in range(1 + (chance.random() < _SECOND_KILL)):
            if arguments is not None:
                arguments = self._killed(case, arguments, own, sign, chance, outcome)
        if arguments is not None:
            code = _start(arguments, own).wait(_RUN_LIMIT_S)
            if code:
                outcome.findings.append(f"the rerun ends with exit code {code}: {_said(own)}")
            else:
                outcome.findings += differences(self.expected[case.name], content(own / "work" / case.result))
        _check_processes(own, outcome, "at the end")
        _check_files(own, outcome)
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
    ) -> tuple[str, ...] | None:
        """Run a command and kill it; returns how to rerun it, None if it was faster."""
        moment, whole = chance.uniform(0.0, self.seconds[case.name]), chance.random() < 0.5
        process = _start(arguments, own)
        try:
            if process.wait(moment):
                outcome.findings.append(f"it ends with exit code {process.returncode}: {_said(own)}")
            return None
        except subprocess.TimeoutExpired:
            outcome.kills.append(f"{sign.name}{' to all' if whole else ''} after {moment:.2f} s")
        (os.killpg if whole else os.kill)(process.pid, sign)
        code = process.wait(_END_LIMIT_S)
        if code not in (0, -sign, 128 + sign) or "Traceback" in _said(own):
            outcome.findings.append(f"{outcome.kills[-1]} it ends with {code}: {_said(own)}")
        _check_processes(own, outcome, outcome.kills[-1])
        return case.again(own / "work") if code else None

    def table(self) -> str:
        """A line per command."""
        lines = [f"{'command':<20}{'cases':>7}{'kills':>7}{'SIGKILL':>9}{'SIGTERM':>9}{'findings':>10}"]
        for name in [*(case.name for case in self.cases), "all"]:
            chosen = [one for one in self.outcomes if name in (one.case, "all")]
            kills = [kill for one in chosen for kill in one.kills]
            counts = [sum(kill.startswith(sign.name) for kill in kills) for sign in _SIGNALS]
            findings = sum(len(one.findings) for one in chosen)
            lines.append(f"{name:<20}{len(chosen):>7}{len(kills):>7}{counts[0]:>9}{counts[1]:>9}{findings:>10}")
        return "\n".join(lines)

    def _place(self, name: str) -> Path:
        """A folder for a case: where it works, its temporary files, its cache."""
        own = self.folder / name
        for part in ("work", "tmp", "cache"):
            (own / part).mkdir(parents=True)
        return own


def _start(arguments: tuple[str, ...], own: Path) -> subprocess.Popen[bytes]:
    environment = dict(os.environ, PYTHONPATH=str(_ROOT), MPLBACKEND="agg", OMP_NUM_THREADS="1")
    environment |= {_MARK: str(own), "TMPDIR": str(own / "tmp"), "HVAE_MNN_CACHE": str(own / "cache")}
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


def _said(own: Path) -> str:
    return (own / "stderr").read_text(encoding="utf-8", errors="replace").strip()[-1000:]


def _check_processes(own: Path, outcome: Outcome, when: str) -> None:
    """Every process of the case ends soon by itself."""
    deadline = time.monotonic() + _END_LIMIT_S
    while alive := _processes(own):
        if time.monotonic() > deadline:
            outcome.findings.append(f"{when}: still running: {'; '.join(alive.values())}")
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


def _check_files(own: Path, outcome: Outcome) -> None:
    """The last command has removed what the killed ones left."""
    for path in sorted(own.rglob("*")):
        if (path.parent == own / "tmp" and path.name != _OF_TORCH) or any(trace in path.name for trace in _TRACES):
            outcome.findings.append(f"left behind: {path.relative_to(own)}")


def main() -> int:
    """The command line; exit code 1 for findings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1, help="random seed for the moments")
    parser.add_argument("--count", type=int, default=100, help="kills at the least")
    parser.add_argument("--minutes", type=float, default=60.0, help="begin no further case after that")
    parser.add_argument("--only", help="name of the one case to run")
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
        for finding in outcome.findings:
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
