"""What a command prints: on streams that lack characters, are full, closed, or read by nobody."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hvae_mnn import build_netlist
from hvae_mnn.cli import main as cli
from hvae_mnn.cli.main import COMMANDS, main
from hvae_mnn.cli.streams import GuardedStream, guarded_streams

WORDS = ["你好", "世界", "±", "Ω²", "naïve"]


def command(*arguments: str, **options) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-m", "hvae_mnn", *arguments], check=False, **options)


def encoded(name: str) -> io.TextIOWrapper:
    """A strict stream, as Python makes stdout."""
    return io.TextIOWrapper(io.BytesIO(), encoding=name, errors="strict")


def text_of(stream: io.TextIOWrapper) -> str:
    stream.flush()
    return stream.buffer.getvalue().decode(stream.encoding)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_can_be_read_in_any_encoding(monkeypatch, encoding, name):
    out = encoded(encoding)
    monkeypatch.setattr(sys, "stdout", out)
    main([*filter(None, [name]), "--help"])
    assert "Usage" in text_of(out)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_results_in_words_that_the_encoding_lacks_are_printed(tmp_path, monkeypatch, encoding):
    monkeypatch.chdir(tmp_path)
    for split in ("train", "valid", "test"):
        lines = [" ".join(WORDS), " ".join(WORDS[::-1])] * 3
        Path(f"{split}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    out, err = encoded(encoding), encoded(encoding)
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    sizes = [part for name in ("embedding", "hidden", "latent") for part in (f"--{name}", "3")]
    main(["train", "--preset", "tiny", "--epochs", "1", "--data-dir", ".", "--out", "ck", *sizes])
    main(["build-netlist", "ck/best.pt", "--out", "net"])
    main(["simulate", "net", "--engine", "exact", "--steps", "4", "--data-dir", ".", "--out", "run"])
    with pytest.raises(SystemExit) as ended:
        main(["simulate", "netz-你好"])
    assert ended.value.code == 2
    assert "error: " in text_of(err)
    printed = text_of(out)
    assert "\\u4f60\\u597d" in printed
    assert ("±" in printed) == (encoding == "cp1252")
    assert ("\\xb1" in printed) == (encoding == "ascii")
    assert json.loads(Path("run/summary.json").read_text())["steps"] == 4


def test_the_environment_decides_the_encoding_of_a_real_process(tmp_path):
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = command("hardware", "show", "netz-你好", env=environment, cwd=tmp_path, capture_output=True)
    assert done.returncode == 2
    assert b"netz-\\u4f60\\u597d" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.fixture
def netlist(make_checkpoint, tmp_path):
    return build_netlist(make_checkpoint("rnn"), tmp_path / "net").folder


def lines(text: bytes) -> list[str]:
    return text.decode().splitlines()


def test_a_full_stdout_costs_what_is_printed_and_nothing_else(netlist, tmp_path):
    arguments = ("simulate", str(netlist), "--engine", "exact", "--steps", "3", "--out", "run")
    with open("/dev/full", "wb") as full:
        done = command(*arguments, cwd=tmp_path, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1
    (line,) = lines(done.stderr)
    assert line.startswith("error: stdout cannot be written: No space left on device")
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["steps"] == 3


def test_a_reader_that_went_away_is_one_line():
    reading, writing = os.pipe()
    os.close(reading)
    done = command("hardware", "show", "paper", stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert done.returncode == 1
    (line,) = lines(done.stderr)
    assert line.startswith("error: stdout cannot be written: Broken pipe")


@pytest.mark.parametrize(
    ("streams", "code", "told"),
    [
        (">&-", 1, 1),
        (">printed 2>&-", 0, 0),
        (">printed 2>/dev/full", 0, 0),
        (">&- 2>&-", 1, 0),
        ("<&- >&- 2>&-", 1, 0),
    ],
)
def test_closed_streams(tmp_path, streams, code, told):
    script = f'"$0" -m hvae_mnn hardware show paper {streams}'
    done = subprocess.run(["sh", "-c", script, sys.executable], cwd=tmp_path, capture_output=True, check=False)
    assert (done.returncode, len(lines(done.stderr))) == (code, told)
    if code == 0:
        assert "paper" in (tmp_path / "printed").read_text()


def test_children_do_not_get_files_in_the_place_of_closed_streams(tmp_path):
    code = (
        "import os, sys\n"
        "from hvae_mnn.cli.streams import guarded_streams\n"
        "with guarded_streams():\n"
        "    opened = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)\n"
        "    os.set_inheritable(opened, True)\n"
        "    os.system('echo printed by a child')\n"
        "    os._exit(opened <= 2)\n"
    )
    script = '"$0" -c "$1" "$2" >&- 2>&- <&-'
    path = tmp_path / "file"
    done = subprocess.run(["sh", "-c", script, sys.executable, code, str(path)], check=False)
    assert done.returncode == 0
    assert path.read_bytes() == b""


def test_what_fails_after_the_loss_keeps_its_own_exit_code(tmp_path):
    with open("/dev/full", "wb") as full:
        done = command("hardware", "show", "nowhere", cwd=tmp_path, stdout=full, stderr=full)
    assert done.returncode == 2


def test_the_streams_of_before_are_put_back():
    before = sys.stdout, sys.stderr
    with guarded_streams() as stdout:
        assert sys.stdout is stdout
        assert isinstance(sys.stderr, GuardedStream)
    assert (sys.stdout, sys.stderr) == before


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(24, "Too many open files"), "error: too many files are open; raise the limit (ulimit -n)"),
        (BlockingIOError(11, "Resource temporarily unavailable"), "error: no more processes or threads may be started"),
        (RuntimeError("can't start new thread"), "error: no more processes or threads may be started"),
        (MemoryError(), "error: memory ran out"),
        (PermissionError(13, "Permission denied", "/some/file"), "error: /some/file: Permission denied"),
        (OSError(28, "No space left on device"), "error: the disk is full"),
    ],
)
def test_what_the_machine_refuses_is_one_line(monkeypatch, capsys, error, line):
    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(cli.cli, "main", fails)
    with pytest.raises(SystemExit) as ended:
        main(["doctor"])
    assert ended.value.code == 2
    (told,) = capsys.readouterr().err.splitlines()
    assert told.startswith(line)


def test_an_error_of_the_program_is_not_hidden(monkeypatch):
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(cli.cli, "main", fails)
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        main(["doctor"])
