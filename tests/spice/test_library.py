"""The shared library: how it is started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

KILLED = """
import os, signal
from hvae_mnn.spice import library
with library._empty_spiceinit():
    os.kill(os.getpid(), signal.{name})
    print("held back", flush=True)
print("not reached", flush=True)
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_during_the_start_leaves_no_folder(tmp_path, name):
    done = subprocess.run(
        [sys.executable, "-c", KILLED.format(name=name)],
        env=os.environ | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (-signal.Signals[name], "held back\n")
    assert list(tmp_path.iterdir()) == []
