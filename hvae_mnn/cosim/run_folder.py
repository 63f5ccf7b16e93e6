"""Where a run's files go."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
from collections.abc import Iterator
from pathlib import Path

from hvae_mnn.errors import RunError
from hvae_mnn.files import disk_errors

RUNS = Path("runs")


def new_folder(out: Path | None, name: str, remedy: str = "choose another --out") -> Path:
    """A folder for a new run: `out`, or `runs/<name>` with a number behind it when that is taken.

    Raises `RunError` with the remedy when `out` holds something, `StorageError` when it cannot be made.
    """
    if out is None:
        for number in itertools.count(1):
            folder = RUNS / (name if number == 1 else f"{name}-{number}")
            with disk_errors(folder), contextlib.suppress(FileExistsError):
                folder.mkdir(parents=True)
                return folder
    assert out is not None
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunError(f"{out} exists and is not empty; {remedy}")
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    return out


@contextlib.contextmanager
def removed_if_empty(folder: Path) -> Iterator[None]:
    """After an error, remove a run's folder if nothing is in it: it would only take the name. Decks of a failed
    simulation stay."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            folder.rmdir()
        raise


@contextlib.contextmanager
def alone(folder: Path, name: str) -> Iterator[None]:
    """Hold a run for this process alone, by its file `name`; raises `RunError` when another one has it. The system lets
    go at the end of the process, however it ends."""
    with (folder / name).open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RunError(f"{folder} is being run by another process; wait for it, or choose another --out") from None
        yield
