"""SIGTERM and SIGHUP end a command as Ctrl-C does: with an exit code, how to resume, and nothing left behind."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from hvae_mnn.cli.main import main

SWEEP = """
name = "s"
models = { net = "net.pt" }
sentences = 2
metrics = ["top1"]
[[grid]]
name = "g"
axes = { "noise.stuck.on" = { from = 0, to = 0.5, points = 40 } }
"""
NOISE = ["--set", "programming.error=lognormal", "--set", "programming.sigma=0.1"]
SMALL = ["--embedding", "8", "--hidden", "10", "--latent", "4"]
COMMANDS = {
    "train": (["train", *SMALL, "--data-dir", "text", "--out", "out", "--epochs", "9999"], "out/last.pt"),
    "finetune": (["finetune", "net.pt", *NOISE, "--updates", "9999", "--out", "out"], "out/last.pt"),
    "simulate": (["simulate", "netlists/net", "--steps", "5000", "--out", "out"], "out/journal.bin"),
    "simulate with workers": (
        ["simulate", "netlists/net", "--steps", "5000", "--out", "out", "--workers", "2"],
        "out/journal.bin",
    ),
    "sweep": (["sweep", "s.toml", "--out", "out", "--workers", "2"], "out/parts/*.parquet"),
    "verify": (["verify", "netlists/net", "--steps", "2000", "--out", "out"], "tmp/hvae-mnn-tmp-*/tile.cir"),
}
"""What is run, and a file that is there in the middle of it."""
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch, make_checkpoint):
    """The working folder, with a checkpoint, its netlists, a text and a sweep's file in it."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(make_checkpoint("rnn"), tmp_path / "net.pt")
    (tmp_path / "s.toml").write_text(SWEEP)
    (tmp_path / "tmp").mkdir()
    (tmp_path / "text").mkdir()
    for split in ("train", "valid"):
        (tmp_path / "text" / f"{split}.txt").write_text("the old sailor sings\na young dog runs\n" * 20)
    return tmp_path


def alive(mark):
    """Processes that carry a mark in their environment."""
    found = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{name}/environ", "rb") as file:
            if mark.encode() in file.read().split(b"\0"):
                found.append(int(name))
    return found


@pytest.fixture
def started(work):
    """A function that starts a command in a process group of its own, and returns it in the middle of its work."""
    processes = []

    def start(command, sign, before=()):
        environment = {**os.environ, "TMPDIR": str(work / "tmp"), "HVAE_MNN_TEST": str(work)}
        mine = {number: signal.signal(number, signal.SIG_DFL) for number in ENDING}  # which it inherits
        process = subprocess.Popen(
            [*before, sys.executable, "-m", "hvae_mnn", *command],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            start_new_session=True,
        )
        for number, handler in mine.items():
            signal.signal(number, handler)
        processes.append(process)
        while not [path for path in work.glob(sign) if path.stat().st_size]:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.01)
        return process

    yield start
    for process in processes:
        with process:
            if process.poll() is None:  # afterwards its number may be another's
                os.killpg(process.pid, signal.SIGKILL)


def hidden(folder):
    return [path for path in folder.rglob("*") if path.name.startswith(".")]


@pytest.mark.spice
@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_nothing_is_left_behind(work, started, name):
    command, sign = COMMANDS[name]
    if "netlists/net" in command:
        main(["build-netlist", "net.pt", "--name", "net"])
    # Every signal, to the process or to its whole group, with some of the commands: all of them take the same way.
    place = list(COMMANDS).index(name)
    number = (signal.SIGHUP, signal.SIGTERM)[place % 2]
    process = started(command, sign)
    (os.kill, os.killpg)[place // 2 % 2](process.pid, number)
    _, said = process.communicate()
    assert process.returncode == 128 + number, said
    lines = said.strip().splitlines()
    assert lines[-1] == f"ended by {number.name}"
    assert "Traceback" not in said
    assert "error" not in said
    if name != "verify":
        assert "resume" in lines[-2], said
    until = time.monotonic() + 60
    while alive(f"HVAE_MNN_TEST={work}"):  # Dask's tracker of resources takes a moment to notice
        assert time.monotonic() < until
        time.sleep(0.05)
    # PyTorch makes a folder for what it compiles, whatever happens.
    assert [path for path in (work / "tmp").iterdir() if not path.name.startswith("torchinductor")] == []
    assert hidden(work) == []


def test_a_signal_that_is_ignored_stays_ignored(work, started):
    """Under nohup, a command lives on when the terminal is closed."""
    command, sign = COMMANDS["train"]
    process = started(command, sign, before=["nohup"])
    process.send_signal(signal.SIGHUP)
    written = (work / sign).stat().st_mtime_ns
    while (work / sign).stat().st_mtime_ns == written:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 143


SLOW = """
import sys, time; from hvae_mnn.cli.signals import ending_in_order
with ending_in_order() as ended:
    try:
        print("working", flush=True); time.sleep(600)
    except KeyboardInterrupt:
        print(ended, ended.code, flush=True); time.sleep(600)
"""


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_second_signal_ends_at_once(second):
    mine = {number: signal.signal(number, signal.SIG_DFL) for number in ENDING}
    process = subprocess.Popen([sys.executable, "-c", SLOW], stdout=subprocess.PIPE, text=True)
    for number, handler in mine.items():
        signal.signal(number, handler)
    with process:
        assert process.stdout.readline() == "working\n"
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGTERM)  # the same, sent twice by the way, is one
        assert process.stdout.readline() == "ended by SIGTERM 143\n"
        time.sleep(0.6)
        assert process.poll() is None
        process.send_signal(second)
        assert process.wait() == -second


SWALLOWING = """
import time; from hvae_mnn.cli.signals import ending_in_order
class Last:
    def __del__(self):
        print("working", flush=True); time.sleep(600)
with ending_in_order() as ended:
    try:
        last = Last(); del last
        time.sleep(600)
    except KeyboardInterrupt:
        print(ended, flush=True)
"""


def test_a_signal_that_comes_while_an_object_is_finalized_is_not_lost():
    """Python prints and forgets what is raised in `__del__`; training went on then."""
    process = subprocess.Popen(
        [sys.executable, "-c", SWALLOWING], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout.readline() == "working\n"
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=60) == ("ended by SIGTERM\n", "")


WITHIN_EXEC = """
import atexit, sys, time; from hvae_mnn.cli.signals import ending_in_order, leave_with_code
with ending_in_order() as ended:
    leave_with_code(ended)
    atexit.register(print, "cleaned up", flush=True)
    try:
        exec("print('working', flush=True); time.sleep(600)")
    except KeyboardInterrupt:
        sys.exit(ended.code)
"""


def test_the_exit_code_is_the_signals_wherever_it_comes():
    """Python ends by SIGINT when it comes while a dataclass is made, and half of an import is that."""
    process = subprocess.Popen([sys.executable, "-c", WITHIN_EXEC], stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout.readline() == "working\n"
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=60)[0] == "cleaned up\n"
    assert process.returncode == 143


def test_the_callers_handlers_come_back():
    mine = {number: signal.getsignal(number) for number in ENDING}, sys.unraisablehook
    with pytest.raises(SystemExit):
        main(["train"])
    assert ({number: signal.getsignal(number) for number in ENDING}, sys.unraisablehook) == mine
