"""Every numbered example runs, as it is told to in its first lines, in an empty folder."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import hvae_mnn

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(folder, example, *arguments):
    """What the example prints; every warning is an error in it, too."""
    interpreter = ["sh"] if example.endswith(".sh") else [sys.executable, "-W", "error", *IGNORED]
    environment = {**os.environ, "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    done = subprocess.run(
        [*interpreter, EXAMPLES / example, *map(str, arguments)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# PySpice 1.5's own; see pyproject.toml.
IGNORED = ["-W", "ignore:invalid escape sequence", "-W", "ignore:pkg_resources is deprecated"]


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_examples_use_public_names_only(path):
    used = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "hvae_mnn":
            assert node.module == "hvae_mnn", ast.unparse(node)
            used |= {alias.name for alias in node.names}
        if isinstance(node, ast.Import):
            assert not any(alias.name.split(".")[0] == "hvae_mnn" for alias in node.names), ast.unparse(node)
    assert used
    assert used <= set(hvae_mnn.__all__)


def test_every_example_is_tested():
    tested = set(re.findall(r'"(\d\d_\w+\.(?:py|sh))"', Path(__file__).read_text(encoding="utf-8")))
    assert {path.name for path in EXAMPLES.iterdir() if path.is_file()} == tested


@pytest.mark.spice
@pytest.mark.slow
def test_command_line(tmp_path):
    printed = run(tmp_path, "01_command_line.sh", tmp_path / "here")
    assert "the main job runs here" in printed
    assert len(re.findall(r"^i\(vsf\d+\) = ", printed, re.MULTILINE)) == 4
    summary = json.loads((tmp_path / "here/runs/first/summary.json").read_text(encoding="utf-8"))
    assert summary["engine"] == "ngspice"
    assert summary["steps"] == 10
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


@pytest.mark.spice
@pytest.mark.slow
def test_notebook_in_five_lines(tmp_path, make_checkpoint):
    printed = run(tmp_path, "02_notebook_in_five_lines.py", make_checkpoint("gru"))
    assert re.search(r"tokens that agree: \d+%", printed)
    assert len(list(tmp_path.glob("runs/*/summary.json"))) == 1


@pytest.mark.spice
@pytest.mark.slow
@pytest.mark.parametrize(("kind", "units"), [("LSTM", 4), ("GRU", 4), ("RNN", 1)])
def test_own_recurrent_network(tmp_path, kind, units):
    printed = run(tmp_path, "03_own_recurrent_network.py", kind, tmp_path)
    assert printed.count("ngspice against torch") == units
    assert (tmp_path / "my_network/manifest.json").is_file()


@pytest.mark.spice
@pytest.mark.slow
def test_converters(tmp_path, make_checkpoint):
    checkpoint = make_checkpoint("rnn")
    printed = run(tmp_path, "04_converters.py", checkpoint, "--steps", 12, "--bits", 4, 10, "--out", tmp_path / "out")
    rows = re.findall(r"^(ideal|ngspice) +(\d+) bits: .* ([\d.]+)%, rms error (\S+)$", printed, re.MULTILINE)
    assert [row[:2] for row in rows] == [("ideal", "4"), ("ideal", "10"), ("ngspice", "4"), ("ngspice", "10")]
    errors = [float(row[3]) for row in rows]
    assert errors[0] > 10 * errors[1]
    assert errors[:2] == errors[2:]  # the circuit and eq. 12 give the same codes
    assert (tmp_path / "out/converters.png").stat().st_size > 10_000


@pytest.mark.spice
@pytest.mark.slow
def test_read_disturb(tmp_path, make_checkpoint):
    arguments = ("--steps", 6, "--volts", 0.05, 0.2, "--referee", "behavioural", "--out", tmp_path / "out")
    printed = run(tmp_path, "05_read_disturb.py", make_checkpoint("rnn"), *arguments)
    rows = re.findall(r"^(ideal|ngspice) +(\d+) mV: +(\d+) of \d+ states moved, by up to (\S+);", printed, re.MULTILINE)
    assert [row[:2] for row in rows] == [("ideal", "50"), ("ideal", "200"), ("ngspice", "200")]
    assert rows[0][2] == "0"
    assert rows[1][2] == rows[2][2] != "0"
    assert float(rows[1][3]) == pytest.approx(float(rows[2][3]), rel=0.05)
    assert (tmp_path / "out/read_disturb.png").stat().st_size > 10_000


@pytest.mark.spice
@pytest.mark.slow
def test_wires_and_tiles(tmp_path, make_checkpoint):
    arguments = ("--steps", 5, "--ohms", 1, 100, "--tile", 4, "--tiles-verified", 2, "--out", tmp_path / "out")
    printed = run(tmp_path, "06_wires_and_tiles.py", make_checkpoint("rnn"), *arguments)
    rows = re.findall(r"^(\w+) +(\d+) Ohm: a read is off by up to +([\d.]+)%", printed, re.MULTILINE)
    assert [row[1] for row in rows] == ["1", "100"] * 3
    assert len({row[0] for row in rows}) == 3
    assert all(float(second[2]) > float(first[2]) for first, second in zip(rows[::2], rows[1::2], strict=True))
    referee = re.findall(r"ngspice on 2 of \d+ tiles: (\S+) from it at most", printed)
    assert len(referee) == 3
    assert max(map(float, referee)) < 1e-9


@pytest.mark.spice
@pytest.mark.slow
def test_accuracy_against_noise(tmp_path, make_checkpoint):
    arguments = ("--updates", 4, "--sentences", 6, "--seeds", 2, "--out", tmp_path / "out")
    printed = run(tmp_path, "07_accuracy_against_noise.py", make_checkpoint("lstm"), *arguments)
    rows = re.findall(r"^(\w+) +(\w+|spread [\d.]+) +next word right: [\d.]+%$", printed, re.MULTILINE)
    assert set(rows) >= {("trained", "digital"), ("finetuned", "spread 0.15"), ("trained", "unigram")}
    assert float(re.findall(r"ngspice on 2 arrays of a point: (\S+) from it at most", printed)[0]) < 1e-9
    assert (tmp_path / "out/accuracy-spread.png").stat().st_size > 10_000
