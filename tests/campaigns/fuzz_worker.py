"""Spoils files and reads them, one after the other, within limits on time and memory; one line of JSON for each.

python -m tests.campaigns.fuzz_worker ORIGINALS SCRATCH SEED FIRST COUNT STEP
"""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import sys
import time
import traceback
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import pyarrow as pa
import torch

from hvae_mnn.errors import HvaeMnnError, UncheckedFileWarning
from tests.campaigns.fuzz_mutations import CANARY, put_oddity, spoilt_bytes
from tests.campaigns.fuzz_originals import VARIANTS
from tests.campaigns.fuzz_readers import READERS, Reader, digest
from tests.campaigns.fuzz_seals import netlist

SECONDS = 15
"""Of the processor, for one input."""
MEMORY = 3 * 2**29
"""Bytes of addresses besides those in use before the first input."""
_RESEALED, _ODD = 0.4, 0.03
"""Parts of the inputs that are spoilt by their structure, and that are no files."""


class _Hung(BaseException):
    """The time is up."""


def _time_is_up(_: int, __: FrameType | None) -> None:
    raise _Hung


@dataclass
class Outcome:
    """What came of one input."""

    number: int
    reader: str
    file: str
    way: str
    result: str
    """`refused`, `same`, `absent`, `accepted` (a user's file, or one with right checksums), `warned` (no checksum), or
    a finding: `different`, `error`, `hung`, `code`."""
    message: str = ""
    seconds: float = 0.0


class Bench:
    """Scratch copies of the originals, and what their readers make of them unspoilt."""

    def __init__(self, originals: Path, scratch: Path) -> None:
        self.originals, self.scratch = originals, scratch
        self._known: dict[tuple[str, str], dict[str, str]] = {}
        shutil.copytree(originals, scratch, symlinks=True)
        found = [(reader, variant) for reader in READERS for variant in VARIANTS]
        self.there = {
            (reader.name, variant): self._files(reader, variant)
            for reader, variant in found
            if self._files(reader, variant)
        }

    def _files(self, reader: Reader, variant: str) -> list[str]:
        folder = self.originals / variant / reader.folder
        return sorted({str(path.relative_to(folder)) for one in reader.files for path in folder.glob(one)})

    def restore(self, reader: Reader, variant: str) -> None:
        """Put the reader's folder back."""
        folder = self.scratch / variant / reader.folder
        source = self.originals / variant / reader.folder
        own = {path.relative_to(source) for path in source.rglob("*")} if reader.folder != "." else {Path("best.pt")}
        if reader.folder != ".":
            for path in sorted(folder.rglob("*"), reverse=True):
                if path.relative_to(folder) not in own:
                    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        for name in own:
            _copy(source / name, folder / name)

    def expected(self, reader: Reader, variant: str) -> dict[str, str]:
        """Digests of what is read where nothing is spoilt."""
        key = reader.name, variant
        if key not in self._known:
            folder = self.scratch / variant / reader.folder
            found = reader.read(folder, self.originals / variant / reader.folder)
            self._known[key] = {name: digest(value) for name, value in found.items()}
            assert self._known[key], f"{reader.name} reads nothing"
            self.restore(reader, variant)
        return self._known[key]


def _copy(source: Path, target: Path) -> None:
    """Put a file back, whatever is there now."""
    if source.is_dir():
        if target.is_symlink() or (target.exists() and not target.is_dir()):
            target.unlink()
        target.mkdir(exist_ok=True)
        return
    if target.is_symlink() or not target.is_file():
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)
    data = source.read_bytes()
    if not target.exists() or target.read_bytes() != data:
        target.write_bytes(data)


def spoil(bench: Bench, rng: random.Random) -> tuple[Reader, str, str, str]:
    """Choose a reader, one of its files, and a way; do it."""
    reader = rng.choices(READERS, [reader.share for reader in READERS])[0]
    variants = [name for name in VARIANTS if (reader.name, name) in bench.there]
    while not variants:
        reader = rng.choice(READERS)
        variants = [name for name in VARIANTS if (reader.name, name) in bench.there]
    variant = rng.choice(variants)
    bench.expected(reader, variant)
    file = rng.choice(bench.there[reader.name, variant])
    path = bench.scratch / variant / reader.folder / file
    chance = rng.random()
    if chance < _ODD:
        return reader, variant, file, put_oddity(rng, path)
    if (
        reader.reseal is not None
        and chance < _ODD + _RESEALED
        and not (path.suffix == ".json" and "tables" in reader.name)
    ):
        try:
            return reader, variant, file, f"resealed: {reader.reseal(rng, path)}"
        except Exception:  # of what cannot be written, nothing is read
            bench.restore(reader, variant)
    other = bench.originals / VARIANTS[VARIANTS.index(variant) - 1] / reader.folder / file
    data = path.read_bytes()
    of_other = other.read_bytes() if other.is_file() else data
    new, way = spoilt_bytes(rng, data, of_other)
    path.write_bytes(new)
    if new == of_other and new != data:
        way = f"resealed: {way}, which gives the whole file of another run"
    return reader, variant, file, way


def judge(bench: Bench, number: int, seed: int) -> Outcome:
    """One input: spoilt, read, judged, put back."""
    rng = random.Random(f"{seed}/{number}")
    reader, variant, file, way = spoil(bench, rng)
    _print({"begin": number, "reader": reader.name, "file": f"{variant}/{reader.folder}/{file}", "way": way})
    folder, original = (root / variant / reader.folder for root in (bench.scratch, bench.originals))
    found = Outcome(number, f"{reader.name}", f"{variant}/{reader.folder}/{file}", way, "")
    start = time.process_time()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            signal.setitimer(signal.ITIMER_PROF, SECONDS)
            read = {name: digest(value) for name, value in reader.read(folder, original).items()}
            signal.setitimer(signal.ITIMER_PROF, 0)
            found.result = _result(read, bench.expected(reader, variant), reader, way, said)
        except HvaeMnnError as error:
            found.result, found.message = "refused", str(error)
        except _Hung:
            found.result, found.message = "hung", traceback.format_exc(limit=-3)
        except BaseException:  # of what a reader must not raise
            found.result, found.message = "error", traceback.format_exc()
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
    found.seconds = time.process_time() - start
    if Path(CANARY).exists():
        Path(CANARY).unlink()
        found.result = "code"
    return found


def _result(
    read: dict[str, str], expected: dict[str, str], reader: Reader, way: str, said: list[warnings.WarningMessage]
) -> str:
    if not read:
        return "absent"
    if all(expected.get(name) == value for name, value in read.items()):
        return "same"
    if CANARY in way and "line" in way and reader.reseal is netlist:
        return "code"  # ngspice would have run it
    if not reader.is_ours or way.startswith("resealed"):
        return "accepted"
    return "warned" if any(issubclass(one.category, UncheckedFileWarning) for one in said) else "different"


def main(originals: Path, scratch: Path, seed: int, numbers: range) -> None:
    """Judge the inputs of these numbers, and print an outcome for each."""
    torch.set_num_threads(1)
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    bench = Bench(originals, scratch)
    os.chdir(scratch)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    signal.signal(signal.SIGPROF, _time_is_up)
    for number in numbers:
        _print({"begin": number, "reader": "?", "file": "?", "way": "spoiling it"})
        found = judge(bench, number, seed)
        if found.result in FINDINGS:
            _keep(bench, found)
        reader = next(reader for reader in READERS if reader.name == found.reader)
        bench.restore(reader, found.file.partition("/")[0])
        _print(asdict(found) | {"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024})


FINDINGS = ("different", "error", "hung", "code")


def _keep(bench: Bench, found: Outcome) -> None:
    """Keep the input beside the scratch folder."""
    path = bench.scratch / found.file
    kept = bench.scratch.parent / "findings" / str(found.number)
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(parents=True)
    if path.is_file():
        shutil.copy(path, kept / path.name)
        if path.name != "manifest.json" and (path.parent / "manifest.json").is_file():
            shutil.copy(path.parent / "manifest.json", kept)
    (kept / "outcome.txt").write_text(json.dumps(asdict(found), indent=1) + "\n" + found.message, encoding="utf-8")


def _print(value: dict[str, Any]) -> None:
    print(json.dumps(value), flush=True)


if __name__ == "__main__":
    folder, place, *given = sys.argv[1:]
    first, count, step = map(int, given[1:])
    main(Path(folder), Path(place), int(given[0]), range(first, count, step))
