"""Every settings file and table that a user writes is text in one sense: a byte order mark is no part of it."""

from __future__ import annotations

import shutil

import pytest

from hvae_mnn.crossbar.hardware.file import hardware_to_dict, read_hardware
from hvae_mnn.crossbar.nonidealities.file import read_nonidealities
from hvae_mnn.devices.presets import find_device
from hvae_mnn.errors import InputError
from hvae_mnn.reproduction.plan import read_plan
from hvae_mnn.studies.programming.targets import find_targets
from hvae_mnn.sweeps.file import read_sweep
from hvae_mnn.sweeps.grid import make_plan

MARK = b"\xef\xbb\xbf"
SWEEP = """models = { net = "net.pt" }
sentences = 5
[[grid]]
name = "g"
axes = { "noise.stuck.on" = [0, 0.1] }
"""
PLAN = """table = "table2"
title = "t"
rows = ["lm"]
[profiles.cpu]
embedding = 4
hidden = 4
latent = 2
epochs = 1
seeds = 1
[profiles.cpu.corpora.grammar]
"""
READERS = {
    "device.toml": ('base = "aist"\nread_v = 0.04\n', find_device),
    "noise.toml": ("[programming]\nerror = 'lognormal'\nsigma = 0.1\n", read_nonidealities),
    "hardware.toml": (
        'base = "paper"\n[device]\nread_voltage = 0.04\n',
        lambda path: hardware_to_dict(read_hardware(path)),
    ),
    "sweep.toml": (SWEEP, lambda path: list(make_plan(read_sweep(path)).tasks)),
    "plan.toml": (PLAN, lambda path: read_plan("table2", path)),
    "targets.csv": (
        "1e-5,2e-5\n3e-5,4e-5\n",
        lambda path: find_targets(path, None, None, 0).arrays["targets"].tolist(),
    ),
}


@pytest.fixture(params=list(READERS))
def file(request, tmp_path, monkeypatch, make_checkpoint):
    """A file's path, its text, and what reads it."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(make_checkpoint("rnn"), tmp_path / "net.pt")
    return (tmp_path / request.param, *READERS[request.param])


@pytest.mark.parametrize(
    "change", [lambda data: MARK + data, lambda data: data.replace(b"\n", b"\r\n"), lambda data: data.rstrip(b"\n")]
)
def test_a_byte_order_mark_and_line_ends_change_nothing(file, change):
    path, text, read = file
    path.write_text(text, encoding="utf-8")
    expected = read(path)
    path.write_bytes(change(text.encode()))
    assert read(path) == expected


@pytest.mark.parametrize(
    ("encoding", "message"),
    [("utf-16", "is UTF-16 text"), ("utf-32", "is UTF-32 text"), ("utf-16-le", "line 1: a zero byte")],
)
def test_other_encodings_are_named_in_one_line(file, encoding, message):
    path, text, read = file
    path.write_text(text, encoding=encoding)
    with pytest.raises(InputError, match=message) as caught:
        read(path)
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)


def test_a_table_with_the_line_ends_of_old_macs(tmp_path):
    path = tmp_path / "targets.csv"
    path.write_bytes(b"1e-5,2e-5\r3e-5,4e-5\r")
    assert find_targets(path, None, None, 0).arrays["targets"].tolist() == [[1e-5, 2e-5], [3e-5, 4e-5]]
