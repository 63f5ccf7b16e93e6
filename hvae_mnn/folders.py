"""Folders that commands write to: their kind, their owner, and exclusive access by one process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from hvae_mnn.errors import RunError
from hvae_mnn.files import disk_errors, require_room
from hvae_mnn.owned import alone, is_vacant
from hvae_mnn.reading import absolute, is_folder, is_missing, shown

RUNS = Path("runs")
"""Default folder of runs."""
_LEAST_BYTES = 2**16
"""Smallest size of a run's files, in bytes: a disk with less room counts as full before the work begins."""
_MARKS = {
    "manifest.json": "netlists",
    "run.json": "a simulation",
    "sweep.toml": "a sweep",
    "reproduction.json": "a reproduction of the paper's tables",
    "best.pt": "a trained model",
    "last.pt": "a training run",
    "verify.json": "a verification",
    "cost.json": "the cost of a token",
    "ir_drop.json": "a study of wires",
    "generation.json": "generated sentences",
}
"""Files that mark a folder's kind, and the name of that kind. No command writes into a folder of another kind."""


def check_writable(folder: Path) -> None:
    """Raise `StorageError` for a folder that cannot be made or written to, or is on a full disk. Call it before the
    work, since the folder itself is made afterwards."""
    existing = absolute(folder)
    while is_missing(existing) and existing != existing.parent:
        existing = existing.parent
    if is_folder(existing):  # a path that is not a folder is refused later, when the folder is made
        require_room(existing, _LEAST_BYTES, folder)


def refuse_other(folder: Path, *own: str) -> None:
    """Raise `RunError` for a folder with a mark other than `own`."""
    with disk_errors(folder):
        for mark, what in _MARKS.items():
            if mark not in own and (Path(folder) / mark).exists():
                raise RunError(f"{shown(folder)} holds {what} ({mark}); choose another --out")


@contextlib.contextmanager
def taken(folder: Path, doing: str, *own: str) -> Iterator[None]:
    """Hold `folder`, made if necessary, for this process alone; `doing` is that of `alone`, `own` that of
    `refuse_other`.

    After an error it is removed if it is empty. Raises `RunError` if it is of another kind or another process holds it,
    `StorageError` if it is not writable.
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
    """After an error, remove a run's folder if it is empty, so that its name stays free. Decks of a failed simulation
    stay."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            folder.rmdir()
        raise


@contextlib.contextmanager
def new_folder(out: Path | None, default: Path, remedy: str = "choose another --out") -> Iterator[Path]:
    """A folder for a new run, held for this process alone: `out`, or else `default`, with a number appended if that
    name is taken.

    After an error it is removed if it is empty. Raises `RunError` with the remedy if `out` is not empty or another
    process holds it, `StorageError` if it cannot be made.
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
    """Whether the folder does not exist, or contains only files that a killed process may have left."""
    with disk_errors(folder):
        try:
            return is_vacant(folder)
        except FileNotFoundError:
            return True
        except NotADirectoryError:
            return False


def newest_first(root: Path, mark: str) -> list[Path]:
    """Files named `mark` in the folders of `root`, newest first. Hidden folders are work in progress and are
    skipped."""
    dated = []
    for path in root.glob(f"*/{mark}"):
        with contextlib.suppress(OSError):  # removed meanwhile
            if not path.parent.name.startswith("."):
                dated.append((path.stat().st_mtime_ns, path))
    return [path for _, path in sorted(dated, reverse=True)]


def new_run(
    out: Path | None, name: str, remedy: str = "choose another --out"
) -> contextlib.AbstractContextManager[Path]:
    """`new_folder` for `out`, or by default for `runs/<name>`."""
    return new_folder(out, RUNS / name, remedy)
