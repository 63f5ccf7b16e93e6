"""A netlist folder takes the place of an older one, in one step of the system.

Where the system has no such step, the older one moves aside first. A process that is killed between the two leaves it
there, and `recover` puts it back under its name at the next start.
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
"""What stands aside; and, ending in eight letters and `.old` or `.part`, what version 0.1 left."""
_BUILT = {".cir", ".inc", ".lib", ".osdi", ".pt", ".safetensors", ".json"}
_OLD_S = 3600.0


@contextlib.contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `folder` that takes its place on success, and vanishes on failure.

    A link at `folder` stays a link: what it points to is replaced. Raises `RunError` when another process writes
    `folder`, `StorageError` when the disk is full or not writable.
    """
    with disk_errors(folder):
        target = absolute(folder) if folder.is_symlink() else folder
        target.parent.mkdir(parents=True, exist_ok=True)
        tidy(target.parent)
        recover(target.parent, target.name)
        with alone_at(target, "being built"), temporary_folder(target.parent) as temporary:
            yield temporary
            temporary.chmod(0o755)
            _take_place(temporary, target)


def _take_place(new: Path, target: Path) -> None:
    """What was at `target` is left at `new`, or gone."""
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
    """Let two paths change places in one step; False where the system cannot. Raises `OSError`."""
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
    """Of the C library; None where it has none."""
    try:
        return ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return None


def recover(root: Path, name: str | None = None) -> None:
    """Put right what killed processes left in `root`, of the folder called `name` or of all.

    A netlist folder that stands aside gets its name back, or is removed where a newer one has it. Nothing is raised:
    what another process is at work on, or cannot be changed, stays.
    """
    left: dict[str, list[Path]] = {}
    with contextlib.suppress(OSError):
        for found in os.listdir(root):
            match = _LEFT.fullmatch(found)
            if match and name in (None, match["name"]):
                left.setdefault(match["name"], []).append(root / found)
    for own, paths in left.items():
        with contextlib.suppress(HvaeMnnError, OSError), alone_at(root / own, "being put right"):
            _put_right(root / own, paths)


def _put_right(folder: Path, left: list[Path]) -> None:
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
    """Whether a folder holds netlists of ours, of any version."""
    try:
        return str(read_json(folder / "manifest.json", "manifest").get("format")).startswith("hvae-mnn-netlist/")
    except HvaeMnnError:
        return False


def _is_old_part(folder: Path) -> bool:
    """Whether a folder holds what a build writes, nothing else, and nobody has touched it for an hour."""
    paths = list(folder.iterdir())
    latest = max(path.lstat().st_mtime for path in (folder, *paths))
    return all(path.suffix in _BUILT for path in paths) and time.time() - latest > _OLD_S
