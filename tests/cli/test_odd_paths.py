"""Paths that lead to no file, or to none that ends: one line, exit code 2, at once, and nothing left behind."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from hvae_mnn.cli.main import main

SECONDS = 60
"""A bound on hangs, generous on a busy machine."""
FILES = {
    "evaluate": ("evaluate", "X"),
    "build-netlist": ("build-netlist", "X"),
    "build-netlist --hardware": ("build-netlist", "best.pt", "--hardware", "X"),
    "build-netlist --device": ("build-netlist", "best.pt", "--device", "X.toml"),
    "finetune": ("finetune", "X"),
    "finetune --hardware": ("finetune", "best.pt", "--hardware", "X"),
    "finetune --noise": ("finetune", "best.pt", "--noise", "X"),
    "program npy": ("program", "X.npy"),
    "program csv": ("program", "X.csv"),
    "program --device": ("program", "--random", "2", "2", "--device", "X.toml"),
    "iv": ("iv", "--device", "X.toml"),
    "ir-drop": ("ir-drop", "--device", "X.toml"),
    "hardware show": ("hardware", "show", "X"),
    "hardware check": ("hardware", "check", "X"),
    "sweep": ("sweep", "X"),
}
FOLDERS = {
    "train --data-dir": ("train", "--out", "out", "--data-dir", "X"),
    "evaluate --data-dir": ("evaluate", "best.pt", "--data-dir", "X"),
    "finetune --data-dir": ("finetune", "best.pt", "--data-dir", "X"),
    "simulate": ("simulate", "X"),
    "simulate --data-dir": ("simulate", "net", "--data-dir", "X"),
    "simulate --resume": ("simulate", "--resume", "--out", "X"),
    "verify": ("verify", "X"),
    "verify --point": ("verify", "X", "--point", "abc"),
    "verify-point": ("verify-point", "X", "abc"),
    "cost": ("cost", "X"),
    "plot crossbar": ("plot", "crossbar", "X"),
    "plot converters": ("plot", "converters", "X"),
    "plot accuracy-vs-noise": ("plot", "accuracy-vs-noise", "X"),
    "program": ("program", "X"),
}
OUTPUTS = {
    "train": ("train", "--out", "X"),
    "evaluate": ("evaluate", "best.pt", "--importance-samples", "0", "--sentences", "2", "--out", "X"),
    "build-netlist": ("build-netlist", "best.pt", "--out", "X"),
    "finetune": ("finetune", "best.pt", "--out", "X"),
    "simulate": ("simulate", "net", "--engine", "ideal", "--out", "X"),
    "iv": ("iv", "--backend", "reference", "--out", "X"),
    "ir-drop": ("ir-drop", "--sizes", "4", "--spice-sizes", "none", "--tiles", "1", "--out", "X"),
    "program": ("program", "--random", "2", "2", "--out", "X"),
    "plot crossbar": ("plot", "crossbar", "net", "--out", "X"),
}


@contextlib.contextmanager
def in_time():
    def stop(*_):
        raise TimeoutError("it hangs")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def bench(tmp_path_factory, make_checkpoint):
    """A folder with a checkpoint and netlists."""
    folder = tmp_path_factory.mktemp("bench")
    shutil.copy(make_checkpoint("rnn"), folder / "best.pt")
    with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()):
        main(["build-netlist", "best.pt", "--out", "net"])
    return folder


@pytest.fixture
def fails(bench, capsys, monkeypatch):
    """Run a command that must fail; returns its message. What lies in the folder must be the same afterwards."""
    monkeypatch.chdir(bench)
    monkeypatch.setenv("COLUMNS", "200")

    def run(arguments, code=2):
        before = sorted(bench.rglob("*"))
        with pytest.raises(SystemExit) as caught, in_time():
            main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        assert caught.value.code == code, printed.err
        assert "Traceback" not in printed.err
        assert sorted(bench.rglob("*")) == before, "something was left behind"
        message = printed.err.strip()
        assert message.startswith("error: "), message
        assert len(message.splitlines()) == 1, message
        assert len(message) < 1000
        return message

    return run


@pytest.fixture
def put(bench):
    """Make something odd at a name in the folder; it is gone afterwards."""
    made = []

    def make(kind, name):
        path = Path(name)
        if kind == "fifo":
            os.mkfifo(path)
        elif kind == "socket":
            with socket.socket(socket.AF_UNIX) as server:
                server.bind(name)
        else:
            path.symlink_to({"zero": "/dev/zero", "loop": path.name, "broken": "nowhere", "stdin": "/dev/stdin"}[kind])
        made.append(bench / name)

    yield make
    for path in made:
        path.unlink(missing_ok=True)


@pytest.mark.parametrize("kind", ["fifo", "zero", "socket", "loop"])
@pytest.mark.parametrize("command", FILES)
def test_what_is_no_regular_file_is_refused_at_once(fails, put, command, kind):
    arguments = FILES[command]
    name = next(one for one in arguments if one.startswith("X"))
    put(kind, name)
    message = fails(arguments)
    assert name in message
    assert ("symbolic links" if kind == "loop" else "is a pipe, a socket or a device") in message


@pytest.mark.parametrize("kind", ["fifo", "zero", "loop", "broken"])
@pytest.mark.parametrize("command", FOLDERS)
def test_what_is_no_folder_is_refused_at_once(fails, put, command, kind):
    put(kind, "X")
    assert "X" in fails(FOLDERS[command])


@pytest.mark.parametrize("kind", ["fifo", "zero", "loop"])
@pytest.mark.parametrize("command", OUTPUTS)
def test_no_folder_can_be_made_there(fails, put, command, kind):
    put(kind, "X")
    assert "X" in fails(OUTPUTS[command])


@pytest.mark.parametrize("command", [*FILES.values(), *FOLDERS.values(), *OUTPUTS.values()], ids=str)
def test_names_that_are_too_long(fails, command):
    long = [one.replace("X", "x" * 300) for one in command]
    assert "bytes at most" in fails(long) or "name too long" in fails(long)


@pytest.mark.parametrize(
    "name", ["manifest.json", "conductances.safetensors", "decoder_h.inc", "decoder.cir", "checkpoint.pt"]
)
@pytest.mark.parametrize("kind", ["fifo", "zero", "loop"])
def test_a_file_of_a_netlist_folder_that_is_none(fails, bench, put, name, kind):
    shutil.copytree(bench / "net", bench / "own")
    try:
        (bench / "own" / name).unlink()
        put(kind, f"own/{name}")
        assert name in fails(["simulate", "own", "--engine", "ideal"])
    finally:
        shutil.rmtree(bench / "own")


CLOSED = (
    ("evaluate", "closed/best.pt"),
    ("build-netlist", "unreadable.pt"),
    ("build-netlist", "closed/best.pt"),
    ("simulate", "closed/net"),
    ("simulate", "closed"),
    ("simulate", "--resume", "--out", "closed"),
    ("simulate", "net", "--data-dir", "closed"),
    ("train", "--out", "closed/run"),
    ("train", "--out", "closed"),
    ("train", "--out", "run", "--data-dir", "closed"),
    ("build-netlist", "best.pt", "--out", "closed/net"),
    ("build-netlist", "best.pt", "--out", "closed"),
    ("build-netlist", "best.pt", "--hardware", "closed/chip.toml"),
    ("finetune", "best.pt", "--noise", "closed/noise.toml"),
    ("finetune", "best.pt", "--out", "closed"),
    ("program", "closed/t.npy"),
    ("program", "closed"),
    ("program", "--random", "2", "2", "--out", "closed/run"),
    ("iv", "--device", "closed/mine.toml"),
    ("hardware", "show", "closed/chip.toml"),
    ("sweep", "closed/sweep.toml"),
    ("sweep", "sweep.toml"),
    ("plot", "converters", "closed"),
    ("plot", "crossbar", "closed"),
    ("plot", "accuracy-vs-noise", "closed"),
    ("verify", "closed"),
    ("cost", "closed"),
)
"""Command lines of a user who may not look into the folder `closed`."""
SCRIPT = """
import contextlib, io, sys
from hvae_mnn.cli.main import main
for line in sys.stdin:
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            main(line.split())
            code = 0
        except SystemExit as done:
            code = done.code
        except BaseException as error:
            code, _ = repr(error), said.write("Traceback")
    print(code, said.getvalue().strip().replace(chr(10), " // "), flush=True)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_folders_that_a_user_may_not_look_into(bench, tmp_path):
    folder = tmp_path / "shared"
    shutil.copytree(bench, folder)
    (folder / "closed").mkdir(mode=0)
    shutil.copy(folder / "best.pt", folder / "unreadable.pt")
    (folder / "unreadable.pt").chmod(0)
    (folder / "sweep.toml").write_text('models = { net = "closed/net.pt" }\n[baseline]\nname = "x"\n')
    for place in (folder, *folder.parents):
        if place.stat().st_uid == 0 and str(place).startswith("/tmp/"):
            place.chmod(0o777)
    command = ["setpriv", "--reuid", "12345", "--clear-groups", sys.executable, "-c"]
    if subprocess.run([*command, "import hvae_mnn.cli.main"], capture_output=True, check=False).returncode:
        pytest.skip("another user may not run this Python")
    lines = "\n".join(" ".join(arguments) for arguments in CLOSED)
    environment = dict(os.environ, HOME="/nonexistent", HVAE_MNN_CACHE=str(folder / "cache"), COLUMNS="200")
    done = subprocess.run(
        [*command, SCRIPT], input=lines, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    found = dict(zip(CLOSED, done.stdout.splitlines(), strict=True))
    wrong = {
        arguments: said
        for arguments, said in found.items()
        if not said.startswith("2 error: ") or " // " in said or "Traceback" in said
    }
    assert not wrong, done.stderr[-2000:]
