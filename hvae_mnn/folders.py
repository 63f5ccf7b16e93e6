"""Folders that a command writes to: what they hold, whose they are, and that one process at a time has them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from hvae_mnn.errors import RunError
from hvae_mnn.files import disk_errors, require_room
from hvae_mnn.owned import alone, is_vacant
from hvae_mnn.reading import absolute, is_folder, is_missing, shown

RUNS = Path("runs")
"""Where runs go by default."""
_LEAST_BYTES = 2**16
"""What a run writes at the least: a disk without so much room is full, which is noticed before the work."""
_MARKS = {
    "manifest.json": "netlists",
    "run.json": "a simulation",
    "sweep.toml": "a sweep",
    "best.pt": "a trained model",
    "last.pt": "a training run",
    "verify.json": "a verification",
    "cost.json": "the cost of a token",
    "ir_drop.json": "a study of wires",
}
"""A file that tells what a folder is for, and what that is. No command writes into a folder that is for something
else."""


def check_place(folder: Path) -> None:
    """Raise `StorageError` for a folder that cannot be made or written to, or lies on a full disk: before the work
    whose results go there, since the folder itself is made after it."""
    place = absolute(folder)
    while is_missing(place) and place != place.parent:
        place = place.parent
    if is_folder(place):  # what is none is refused when the folder is made
        require_room(place, _LEAST_BYTES, folder)


def refuse_other(folder: Path, *own: str) -> None:
    """Raise `RunError` for a folder that is for something else than what the marks `own` stand for."""
    with disk_errors(folder):
        for mark, what in _MARKS.items():
            if mark not in own and (Path(folder) / mark).exists():
                raise RunError(f"{shown(folder)} holds {what} ({mark}); choose another --out")


@contextlib.contextmanager
def taken(folder: Path, doing: str, *own: str) -> Iterator[None]:
    """Hold `folder`, made if need be, for this process alone; `doing` and `own` are those of `alone`, `refuse_other`.

    After an error it is removed if nothing is in it. Raises `RunError` when it is for something else or another process
    has it, `StorageError` when it cannot be written to.
    """
    refuse_other(folder, *own)
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with removed_if_empty(folder), alone(folder, doing):
        refuse_other(folder, *own)
        require_room(folder, _LEAST_BYTES)
        yield


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
def new_folder(out: Path | None, default: Path, remedy: str = "choose another --out") -> Iterator[Path]:
    """A folder for a new run, held for this process alone: `out`, or `default`, with a number behind it when that is
    taken.

    After an error it is removed if nothing is in it. Raises `RunError` with the remedy when `out` holds something or
    another process has it, `StorageError` when it cannot be made.
    """
    with contextlib.ExitStack() as stack:
        number = 1
        while True:
            name = default.name if number == 1 else f"{default.name}-{number}"
            folder = default.with_name(name) if out is None else out
            if _is_free(folder):
                with disk_errors(folder):
                    folder.mkdir(parents=True, exist_ok=True)
                try:
                    stack.enter_context(removed_if_empty(folder))
                    stack.enter_context(alone(folder))
                    if _is_free(folder):
                        require_room(folder, _LEAST_BYTES)
                        break
                except RunError:
                    if out is not None:
                        raise
                stack.close()
            if out is not None:
                raise RunError(f"{shown(out)} exists and is not empty; {remedy}")
            number += 1
        yield folder


def _is_free(folder: Path) -> bool:
    """Whether there is no such folder, or nothing in it but what a killed process may have left."""
    with disk_errors(folder):
        try:
            return is_vacant(folder)
        except FileNotFoundError:
            return True
        except NotADirectoryError:
            return False


def newest_first(root: Path, mark: str) -> list[Path]:
    """The files called `mark` in folders in `root`, the one written last first; hidden folders are somebody's work."""
    found = []
    for path in root.glob(f"*/{mark}"):
        with contextlib.suppress(OSError):  # gone meanwhile
            if not path.parent.name.startswith("."):
                found.append((path.stat().st_mtime_ns, path))
    return [path for _, path in sorted(found, reverse=True)]


def new_run(
    out: Path | None, name: str, remedy: str = "choose another --out"
) -> contextlib.AbstractContextManager[Path]:
    """`new_folder` for `out`, or by default for `runs/<name>`."""
    return new_folder(out, RUNS / name, remedy)
