"""What a command leaves behind: processes, temporary folders, parts of files, locks."""

from __future__ import annotations

import contextlib
import os
import re
import time
from pathlib import Path

MARK = "HVAE_MNN_CAMPAIGN"
"""Environment variable by which all processes of a run are known."""
_PATIENCE_S = 30.0
_KEPT = re.compile("torchinductor_.*")
"""What PyTorch makes in TMPDIR, once and for all."""


def survivors(mark: str, patience_s: float = _PATIENCE_S) -> list[int]:
    """Processes with that mark that do not end within some seconds."""
    until = time.monotonic() + patience_s
    while (alive := _marked(mark)) and time.monotonic() < until:
        time.sleep(0.02)
    return alive


def _marked(mark: str) -> list[int]:
    found, sought = [], f"{MARK}={mark}".encode()
    for name in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):  # it ended meanwhile, or is another user's
            if sought in Path(f"/proc/{name}/environ").read_bytes().split(b"\0"):
                found.append(int(name))
    return found


def left_behind(work: Path) -> list[str]:
    """Everything in the folder for temporary files, and every hidden file, part or lock in the working folder."""
    found = [path for path in (work / "tmp").iterdir() if not _KEPT.fullmatch(path.name)]
    for path in work.rglob("*"):
        if path.is_relative_to(work / "tmp"):
            continue
        if path.name.startswith(".") or path.suffix in (".part", ".lock", ".old"):
            found.append(path)
    return sorted(str(path.relative_to(work)) for path in found)
