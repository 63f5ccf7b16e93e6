"""Progress: a bar where a person watches, silence elsewhere, a function of one's own wherever it is given."""

from __future__ import annotations

import builtins
import os
import pty
import subprocess
import sys

import pytest

from hvae_mnn.bars import Bar, watched, watching_console

WORK = """
from hvae_mnn.bars import watched
with watched({progress}, lambda bar: bar.show) as tell:
    print("told" if tell else "silent")
    for done in range(1, 4):
        if tell:
            tell("solving tiles", done, 3)
"""


def run_in_terminal(code: str) -> tuple[str, str]:
    """What a Python program prints on stdout, a pipe, and on stderr, a terminal."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, env=environment, text=True) as process:
        os.close(theirs)
        seen = b""
        try:
            while part := os.read(ours, 4096):
                seen += part
        except OSError:  # the program closed its end
            pass
        printed = process.stdout.read()
    os.close(ours)
    assert process.returncode == 0, seen
    return printed, seen.decode()


def test_a_terminal_on_stderr_gets_a_bar_that_is_erased():
    printed, seen = run_in_terminal(WORK.format(progress=True))
    assert printed == "told\n"
    assert "solving tiles" in seen
    assert "3/3" in seen
    assert seen.endswith("\x1b[2K")  # the last thing is to erase the line


def test_false_is_silent_in_a_terminal():
    assert run_in_terminal(WORK.format(progress=False)) == ("silent\n", "")


def test_a_pipe_gets_nothing():
    command = [sys.executable, "-c", WORK.format(progress=True)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("silent\n", "")


def test_a_function_is_called_as_it_is():
    calls = []
    with watched(lambda *told: calls.append(told), pytest.fail) as tell:
        tell("stepping", 1, 2)
    assert calls == [("stepping", 1, 2)]


def test_a_notebook_gets_a_bar(monkeypatch, capsys):
    shell = type("ZMQInteractiveShell", (), {})  # the class by which Jupyter's shell is known
    monkeypatch.setattr(builtins, "get_ipython", shell, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    with watched(True, lambda bar: bar.show) as tell:
        tell("solving tiles", 1, 3)
    assert "solving tiles" in capsys.readouterr().err


def test_each_stage_has_its_own_count(monkeypatch):
    shell = type("ZMQInteractiveShell", (), {})
    monkeypatch.setattr(builtins, "get_ipython", shell, raising=False)
    console = watching_console()
    assert console is not None
    with Bar(console, 30.0) as bar:
        bar.show("posteriors", 60, 64)
        bar.show("reconstructions", 5, 64)
        (task,) = bar._live.tasks
        assert (task.description, task.completed, task.total) == ("reconstructions", 5, 64)
        bar.show("[bold]markup", 6, 64)
        (same,) = bar._live.tasks
        assert (same.id, same.description) == (task.id, "[bold]markup")
