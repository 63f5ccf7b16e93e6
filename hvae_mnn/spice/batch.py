"""Batch runs of decks: `ngspice -n -b` in the folder of the deck and its device models."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hvae_mnn.devices.memristor import MemristorSpec
from hvae_mnn.devices.moving import Backend
from hvae_mnn.errors import EnvironmentProblem, SimulatorError
from hvae_mnn.files import replacing, write_text
from hvae_mnn.netlist.device_lines import OSDI_FILE, library, model_file
from hvae_mnn.owned import temporary_folder
from hvae_mnn.spice.osdi import osdi_library
from hvae_mnn.spice.tied import tied

Array = NDArray[np.float64]
_FAILED = ("timestep too small", "simulation(s) aborted", "singular matrix", "out of bounds", "fatal error")
_SHOWN_LINES = 8
_ASCII = "SPICE_ASCIIRAWFILE"
"""Environment variable that makes ngspice write raw files as text."""


def place_models(folder: Path, spec: MemristorSpec, backend: Backend) -> None:
    """Put the device models of a deck into its folder: the subcircuit, or the compiled library."""
    name, source = (
        (library(spec), model_file(library(spec))) if backend == "behavioural" else (OSDI_FILE, osdi_library(spec.law))
    )
    with replacing(folder / name) as temporary:
        shutil.copyfile(source, temporary)


@contextlib.contextmanager
def deck_folder(kind: str) -> Iterator[Path]:
    """A temporary folder for decks. After a `SimulatorError` it stays as `hvae-mnn-<kind>-...`, which nothing removes,
    and the error names it."""
    with temporary_folder() as folder:
        try:
            yield folder
        except SimulatorError as error:
            kept = folder.with_name(f"hvae-mnn-{kind}-{folder.name[-8:]}")
            folder.rename(kept)
            raise SimulatorError(str(error).replace(folder.name, kept.name)) from None


def run_deck(
    text: str, folder: Path, name: str, spec: MemristorSpec, backend: Backend, timeout_s: float = 600
) -> dict[str, Array]:
    """Write `folder/name.cir`, run it, and return the vectors of the `folder/name.raw` that its control block writes.

    Names are in lower case: `time`, `v(te)`, `i(vdrive)`; each vector is (T,). Raises `EnvironmentProblem` without the
    ngspice command or the back end, and `SimulatorError` with the deck, the last lines of the log and the command.
    """
    folder.mkdir(parents=True, exist_ok=True)
    place_models(folder, spec, backend)
    (raw,) = run_text(text, folder, name, [name], timeout_s)
    return read_raw(raw)


def run_text(text: str, folder: Path, name: str, raws: Sequence[str], timeout_s: float = 600) -> list[Path]:
    """Write `folder/name.cir`, run it, and return every `folder/<raw>.raw` that it writes. Its included files are in
    `folder` already. Raises as `run_deck`."""
    command = shutil.which("ngspice")
    if command is None:
        raise EnvironmentProblem("the ngspice command was not found; install it: make system")
    deck, paths = folder / f"{name}.cir", [folder / f"{raw}.raw" for raw in raws]
    write_text(deck, text)
    for path in paths:
        path.unlink(missing_ok=True)
    try:
        # -n: no .spiceinit may change the result
        done = subprocess.run(
            tied([command, "-n", "-b", deck.name]),
            cwd=folder,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
            env={name: value for name, value in os.environ.items() if name != _ASCII},
        )
    except subprocess.TimeoutExpired:
        raise SimulatorError(
            f"ngspice did not finish {deck} within {timeout_s:g} s; run it again: {_again(deck)}"
        ) from None
    log = [line for line in (done.stdout + "\n" + done.stderr).splitlines() if line.strip()]
    if done.returncode or not all(path.is_file() for path in paths) or any(_failed(line) for line in log):
        told = [line for line in log if _failed(line)] or log
        tail = "\n  ".join(line.strip()[:300] for line in told[-_SHOWN_LINES:])
        raise SimulatorError(f"ngspice failed on {deck}; run it again: {_again(deck)}\nwhat it said:\n  {tail}")
    return paths


def _failed(line: str) -> bool:
    text = line.strip().lower()
    # ngspice echoes a deck's title, which may be any text.
    return not text.startswith("circuit:") and (text.startswith("error") or any(sign in text for sign in _FAILED))


def _again(deck: Path) -> str:
    return f"cd {shlex.quote(str(deck.parent))} && ngspice -n -b {deck.name}"


def read_raw(path: Path) -> dict[str, Array]:
    """The vectors of the last plot in an ngspice raw file, by lower-case name, each (T,)."""
    from spicelib import RawRead

    raw: Any = RawRead(str(path), dialect="ngspice", verbose=False)
    return {name.lower(): np.array(raw.get_wave(name), dtype=np.float64) for name in raw.get_trace_names()}


def read_point(path: Path) -> dict[str, float]:
    """Values of an operating point in a binary ngspice raw file, by lower-case name.

    spicelib reads the whole file for every name, which takes minutes for a tile of 64 x 64.
    """
    head, _, values = path.read_bytes().partition(b"Binary:\n")
    lines = head.decode("ascii", "replace").splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("Variables:")) + 1
    names = [line.split()[1].lower() for line in lines[first:]]
    if len(values) != 8 * len(names):
        raise SimulatorError(f"{path} holds {len(values)} bytes; allowed: {8 * len(names)}, one operating point")
    return dict(zip(names, np.frombuffer(values).tolist(), strict=True))
