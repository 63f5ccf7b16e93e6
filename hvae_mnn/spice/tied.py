"""Commands that end with the process that started them, even if it is killed.

This file is also the program that starts such a command: it asks the system to be killed when its parent's thread
ends, and then becomes the command. It imports nothing of the package, so that it starts within milliseconds.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import threading
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1  # of linux/prctl.h
CANNOT_START = 127
"""Exit code when the command cannot be started; the reason is on stderr."""


def tied(command: Sequence[str]) -> list[str]:
    """The command that runs `command`, an absolute path and its arguments, until this thread ends.

    Start it and wait for it in one thread. On a system without such a request, this is the plain command.
    """
    if not sys.platform.startswith("linux"):
        return list(command)
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *command]


def end_at_hangup(handle: int) -> None:
    """Kill this process as soon as no process has the other end of the pipe `handle` open."""

    def wait() -> None:
        hangup = select.poll()
        hangup.register(handle, 0)  # reported even without a request
        hangup.poll()
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


def _become(parent: int, command: Sequence[str]) -> None:
    library = ctypes.CDLL(None)
    library.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL))
    if os.getppid() != parent:  # it died before the request
        return
    try:
        os.execv(command[0], list(command))  # noqa: S606 - there is none to be had, and none is wanted
    except OSError as error:
        sys.stderr.write(f"{error.strerror}\n")
        sys.exit(CANNOT_START)


if __name__ == "__main__":
    _become(int(sys.argv[1]), sys.argv[2:])
