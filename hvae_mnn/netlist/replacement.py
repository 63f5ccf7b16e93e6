"""Replaces a netlist folder by a newer one, in one step of the operating system.

On systems without such a step, the older folder is first renamed. If the process is killed between the two steps,
`recover` gives the older folder its name back at the next start.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hvae_mnn.errors import HvaeMnnError
from hvae_mnn.files import disk_errors, read_json
from hvae_mnn.owned import alone_at, temporary_folder, tidy
from hvae_mnn.reading import absolute

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # of linux/fcntl.h and linux/fs.h
_CANNOT = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP}
_LEFT = re.compile(r"\.(?P<name>.+)(?P<kind>\.hvae-mnn-old|\.[a-z0-9_]{8}\.(?:old|part))")
"""Temporary name of an older folder; names that end in eight letters and `.old` or `.part` are of version 0.1."""
_BUILT = {".cir", ".inc", ".lib", ".osdi", ".pt", ".safetensors", ".json"}
_OLD_S = 3600.0


@contextlib.contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `folder` that replaces `folder` on success and is removed on failure.

    If `folder` is a link, the link stays, and its target is replaced. Raises `RunError` if another process writes
    `folder`, `StorageError` if the disk is full or not writable.
    """
    with disk_errors(folder):
        target = absolute(folder) if folder.is_symlink() else folder
        target.parent.mkdir(parents=True, exist_ok=True)
        tidy(target.parent)
        recover(target.parent, target.name)
        with alone_at(target, "being built"), temporary_folder(target.parent) as temporary:
            yield temporary
            temporary.chmod(0o755)
            _move_to(temporary, target)


def _move_to(new: Path, target: Path) -> None:
    """Move `new` to `target`. An older folder at `target` is then at `new`, or removed."""
    if not target.exists():
        new.rename(target)
    elif not exchange(new, target):
        aside = target.with_name(f".{target.name}.hvae-mnn-old")
        try:
            target.rename(aside)
            new.rename(target)
        except BaseException:
            if not target.exists():
                aside.rename(target)
            raise
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def exchange(first: Path, second: Path) -> bool:
    """Exchange two paths in one step; False if the system cannot do that. Raises `OSError`."""
    call = _renameat2()
    if call is None:
        return False
    if call(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _CANNOT:
        return False
    raise OSError(code, os.strerror(code), str(first), None, str(second))


@functools.cache
def _renameat2() -> Any:
    """The C library's `renameat2`, or None if there is none."""
    try:
        return ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return None


def recover(root: Path, name: str | None = None) -> None:
    """Repair what killed processes left in `root`: the folder called `name`, or all folders.

    A renamed netlist folder gets its name back, or is removed if a newer folder has that name. Nothing is raised:
    folders that another process is writing, or that cannot be changed, stay as they are.
    """
    left: dict[str, list[Path]] = {}
    with contextlib.suppress(OSError):
        for entry in os.listdir(root):
            match = _LEFT.fullmatch(entry)
            if match and name in (None, match["name"]):
                left.setdefault(match["name"], []).append(root / entry)
    for target, paths in left.items():
        with contextlib.suppress(HvaeMnnError, OSError), alone_at(root / target, "being repaired"):
            _repair(root / target, paths)


def _repair(folder: Path, left: list[Path]) -> None:
    ours = [path for path in left if not path.is_symlink() and path.is_dir() and path.stat().st_uid == os.geteuid()]
    for path in sorted(ours, key=lambda path: path.stat().st_mtime_ns, reverse=True):
        if path.suffix == ".part":
            if _is_old_part(path):
                shutil.rmtree(path, ignore_errors=True)
        elif not _is_build(path):
            continue
        elif folder.exists():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.rename(folder)


def _is_build(folder: Path) -> bool:
    """Whether a folder holds netlists of this package, of any version."""
    try:
        return str(read_json(folder / "manifest.json", "manifest").get("format")).startswith("hvae-mnn-netlist/")
    except HvaeMnnError:
        return False


def _is_old_part(folder: Path) -> bool:
    """Whether a folder holds only files of a build and was not changed for an hour."""
    paths = list(folder.iterdir())
    latest = max(path.lstat().st_mtime for path in (folder, *paths))
    return all(path.suffix in _BUILT for path in paths) and time.time() - latest > _OLD_S
