"""Exclusive folders and temporary files of running processes, and removal of those that dead processes left.

The owner of a file or folder holds its `flock`. The system releases the lock whenever the process ends, so a file
with one of this package's temporary names and without a lock has no owner and can be removed. Unlike process numbers,
this also works across machines and containers.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import stat
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

from hvae_mnn.errors import RunError, StorageError

LOCK = ".hvae-mnn.lock"
"""Name of the lock file in a folder while a process works on it."""
_PREFIX = "hvae-mnn-tmp-"
"""Prefix of the names of everything that may be removed without an owner, and of nothing else."""
_OURS = re.compile(rf"\.?{_PREFIX}[a-z0-9_]{{8}}(\.part|\.lock)?")
_BEFORE_OWNERS = re.compile(r"\.(.+)\.[a-z0-9_]{8}\.part")
"""Names of file parts in version 0.1; only their age shows whether they have an owner."""
_OLD_S = 3600.0
_LOOKED_AT_S = 0.5
"""Longest time, in seconds, that a process holds a lock only to test whether it is free."""
_tidied: set[Path] = set()
"""Folders from which this process has removed files of dead processes."""


@contextlib.contextmanager
def alone(folder: Path, doing: str = "being run") -> Iterator[None]:
    """Hold the existing `folder` for this process alone; `doing` appears in the message of a second process.

    Files of dead processes in the folder are removed. Raises `RunError` if another process holds it, `StorageError` if
    it is not writable.
    """
    with _holding(Path(folder) / LOCK, Path(folder), doing):
        tidy(folder)
        yield


@contextlib.contextmanager
def alone_at(path: Path, doing: str = "being written") -> Iterator[None]:
    """Hold the name `path`, which need not exist, for this process alone, with a lock beside it; its parent must exist.

    Raises as `alone`.
    """
    path = Path(path)
    digest = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:8]
    with _holding(path.with_name(f".{_PREFIX}{digest}.lock"), path, doing):
        yield


@contextlib.contextmanager
def _holding(lock: Path, what: Path, doing: str) -> Iterator[None]:
    try:
        handle = _locked(lock)
    except OSError as error:
        raise StorageError(
            f"cannot write to {lock.parent}: {error.strerror or error}; choose a folder that you may write to"
        ) from error
    if handle is None:
        raise RunError(f"{what} is {doing} by another process; wait for it, or choose another --out")
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            if _is(handle, lock):
                lock.unlink()  # removed before the lock: a process that waits for this file checks again
        os.close(handle)


def is_held(folder: Path) -> bool:
    """Whether a process currently holds `folder` with `alone`."""
    try:
        handle = os.open(Path(folder) / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not _try_lock(handle, fcntl.LOCK_SH)
    finally:
        os.close(handle)


def is_vacant(folder: Path) -> bool:
    """Whether `folder` contains only locks and temporary files of this package.

    Raises `OSError` if it cannot be read.
    """
    return all(name == LOCK or _OURS.fullmatch(name) for name in os.listdir(folder))


def _locked(path: Path) -> int | None:
    """A locked handle of `path`, made if necessary; None if another process holds the lock."""
    until = time.monotonic() + _LOOKED_AT_S
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        if not _try_lock(handle):
            os.close(handle)
            if time.monotonic() > until:
                return None
            time.sleep(_LOOKED_AT_S / 10)
        elif _is(handle, path):
            return handle
        else:
            os.close(handle)  # its owner removed it between the two calls


def _try_lock(handle: int, kind: int = fcntl.LOCK_EX) -> bool:
    """Whether the lock was free; a file system without locks counts as free of other processes."""
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _is(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except OSError:
        return False


@contextlib.contextmanager
def temporary_file(folder: Path) -> Iterator[Path]:
    """An empty hidden file in `folder` that is removed at the end, if it still has its name.

    Raises `OSError` if it cannot be made.
    """
    while True:
        handle, name = tempfile.mkstemp(prefix=f".{_PREFIX}", suffix=".part", dir=folder)
        if _try_lock(handle) and _is(handle, Path(name)):
            break
        os.close(handle)  # another process has just removed it
    path = Path(name)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)


@contextlib.contextmanager
def temporary_folder(parent: Path | None = None) -> Iterator[Path]:
    """An empty folder that is removed at the end: in the system's folder for temporary files, or hidden in `parent`.

    Files of dead processes beside it are removed. Raises `StorageError` if it cannot be made.
    """
    where = Path(parent) if parent is not None else temporary_root()
    tidy_once(where)
    prefix, suffix = (f".{_PREFIX}", ".part") if parent is not None else (_PREFIX, "")
    while True:
        try:
            path = Path(tempfile.mkdtemp(prefix=prefix, suffix=suffix, dir=where))
            handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            if where.is_dir():
                continue  # another process has just removed it
            raise StorageError(f"there is no folder {where} for temporary files; set TMPDIR to one") from None
        except OSError as error:
            raise StorageError(
                f"cannot make a temporary folder in {where}: {error.strerror or error}; free the disk or set TMPDIR"
            ) from error
        if _try_lock(handle) and _is(handle, path):
            break
        os.close(handle)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(handle)


def temporary_folder_of(owner: object, parent: Path | None = None) -> tuple[Path, Callable[[], object]]:
    """As `temporary_folder`, for the lifetime of an object: the folder, and a function that removes it earlier."""
    stack = contextlib.ExitStack()
    path = stack.enter_context(temporary_folder(parent))
    return path, weakref.finalize(owner, stack.close)


def temporary_root() -> Path:
    """The system's folder for temporary files. Raises `StorageError` if no such folder is writable."""
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError as error:
        raise StorageError(f"{error.strerror}: free the disk, or set TMPDIR to a folder you may write to") from error


def tidy_once(folder: Path) -> None:
    """`tidy` a folder once per process, for frequent calls."""
    folder = Path(os.path.abspath(folder))
    if folder not in _tidied:
        _tidied.add(folder)
        tidy(folder)


def tidy(folder: Path) -> None:
    """Remove the files that dead processes, also of version 0.1, left in an output folder."""
    remove_abandoned(folder)
    _remove_parts_of_old(folder)


def _remove_parts_of_old(folder: Path) -> None:
    """Remove parts that version 0.1 left more than an hour ago and whose complete files exist."""
    with contextlib.suppress(OSError):
        names = set(os.listdir(folder))
        for name in names:
            match = _BEFORE_OWNERS.fullmatch(name)
            if match and match[1] in names:
                status = os.lstat(folder / name)
                ours = stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid()
                if ours and time.time() - status.st_mtime > _OLD_S:
                    os.unlink(folder / name)


def remove_abandoned(folder: Path) -> list[Path]:
    """Remove this package's temporary files and folders in `folder` without an owner, and return their paths.

    Only files of this user are removed, and links are not followed. Raises nothing: files that cannot be removed stay.
    """
    removed = []
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if _OURS.fullmatch(entry.name) and not entry.is_symlink():
                path = Path(entry.path)
                with contextlib.suppress(OSError):
                    if _remove_unowned(path, entry.is_dir(follow_symlinks=False)):
                        removed.append(path)
    return removed


def _remove_unowned(path: Path, is_folder: bool) -> bool:
    # Some network file systems lock only files that are open for writing.
    kind = os.O_RDONLY | os.O_DIRECTORY if is_folder else os.O_RDWR | os.O_NONBLOCK
    handle = os.open(path, os.O_NOFOLLOW | os.O_CLOEXEC | kind)
    try:
        if os.fstat(handle).st_uid != os.geteuid():
            return False
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # OSError: it has an owner, or the owner is unknown
        if not _is(handle, path):
            return False
        if is_folder:
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()
        return True
    finally:
        os.close(handle)
