"""Allowed contents of a netlist folder: everything that builds write, and no commands for ngspice to execute."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from hvae_mnn.crossbar.hardware.file import read_hardware
from hvae_mnn.crossbar.hardware.spec import SCHEMES, Amplifier, Cells, Tiling
from hvae_mnn.crossbar.hardware.wires import Wires
from hvae_mnn.crossbar.network import LayerExport
from hvae_mnn.devices.presets import HP_TIO2
from hvae_mnn.errors import ManifestError
from hvae_mnn.files import seal, sha256
from hvae_mnn.gates import recurrent_layers
from hvae_mnn.models.peephole import PeepholeLSTM
from hvae_mnn.netlist.build import write_netlists
from hvae_mnn.netlist.folder import read_manifest

PAPER = read_hardware("paper")
AMPLIFIER = Amplifier("transimpedance", feedback_ohm=2e4, gain=500.0, offset_v=-1e-4)
HARDWARE = {
    "paper": PAPER,
    **{
        scheme: replace(PAPER, cells=Cells(scheme), wires=Wires(4.0, 6.0, 3.0), tiling=Tiling(3, 2))
        for scheme in SCHEMES
    },
    "amplifiers": replace(PAPER, cells=Cells("differential_pair"), amplifier=AMPLIFIER),
    "clipping": replace(PAPER, amplifier=replace(AMPLIFIER, swing_v=0.3), tiling=Tiling(2, 2)),
    "pulses": replace(PAPER, cells=Cells("reference_column"), coding="pulse_width"),
    "pulses-amplifiers": replace(PAPER, coding="pulse_width", amplifier=AMPLIFIER),
    "sinh": replace(PAPER, cells=Cells("reference_column", read_law="sinh", sinh_per_volt=8.0)),
    "other-device": replace(PAPER, device=HP_TIO2),
    "own-device": replace(PAPER, device=replace(PAPER.device, r_off_ohm=150e3, window_p=3)),
}
MODULES = {
    "lstm": lambda: nn.LSTM(3, 2),
    "gru": lambda: nn.GRU(3, 2),
    "rnn": lambda: nn.RNN(3, 2),
    "peephole": lambda: PeepholeLSTM(3, 2),
    "two-way": lambda: nn.GRU(2, 2, num_layers=2, bidirectional=True),
}
BACKENDS = ("static", "behavioural", "osdi")
UNLIKE = {"amplifiers", "clipping", "pulses", "pulses-amplifiers", "sinh"}
"""Hardware whose memristors cannot move."""


def build(folder: Path, module: str = "lstm", hardware: str = "paper", backend: str = "static") -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        layers = recurrent_layers(MODULES[module](), "net")
    attached = {"checkpoint.pt": Path(__file__)}
    if backend == "osdi":
        attached["memristor.osdi"] = Path(__file__)  # a program; nothing here runs it
    exports = [LayerExport(layer) for layer in layers]
    write_netlists(folder, exports, HARDWARE[hardware], {}, attached, backend=backend)
    return folder


KINDS = [
    *((name, "paper", "static") for name in MODULES),
    *(("lstm", name, "static") for name in HARDWARE),
    *(("peephole", name, "static") for name in UNLIKE),
    *itertools.product(("lstm", "gru"), set(HARDWARE) - UNLIKE, BACKENDS[1:]),
]


@pytest.mark.parametrize(("module", "hardware", "backend"), sorted(set(KINDS)))
def test_every_kind_of_build_is_opened(tmp_path, module, hardware, backend):
    manifest = read_manifest(build(tmp_path / "net", module, hardware, backend))
    assert manifest.device_backend == backend


def test_the_committed_build_is_opened():
    assert read_manifest(Path(__file__).parents[2] / "netlists" / "golden").name == "golden"


def sealed(folder: Path, name: str, text: str) -> None:
    """Write a file, and renew its hash and the manifest's fingerprint."""
    (folder / name).write_text(text, newline="")
    path = folder / "manifest.json"
    stored = json.loads(path.read_text())
    stored["files"][name] = sha256(folder / name)
    stored["sha256"] = seal(stored)
    path.write_text(json.dumps(stored))


PULSES_OF_OLD = """\
meas tran q0 integ i(Vsi0)
meas tran q1 integ i(Vsi1)
let qi0=-5e-05*(q0-q1)
print qi0
"""


def test_a_pulse_deck_of_version_0_1_is_opened(tmp_path):
    folder = build(tmp_path / "net", "lstm", "pulses")
    text = (folder / "net_i.cir").read_text()
    old = text.replace("PWL(0 0.05 ", "PWL(0 0 1e-10 0.05 ").replace(".endc\n", f"{PULSES_OF_OLD}.endc\n")
    assert old != text
    sealed(folder, "net_i.cir", old)
    read_manifest(folder)


HOSTILE_COMMANDS = [
    "shell touch pwned",
    "!touch pwned",
    "system touch pwned",
    "source other.cir",
    "codemodel ./other.cm",
    "osdi other.osdi",
    "pre_osdi memristor.osdi",
    "pre_osdi ./other.osdi",
    "op; shell touch pwned",
    "print i(vsi0) > /tmp/pwned",
    "print `touch pwned`",
    "print $HOME",
    "print i(vsi0)|sh",
    "let x=1;shell touch pwned",
    "echo x > y",
    "write other.raw",
    "set noaskquit",
    "set num_threads=1 noaskquit",
    "wrdata other i(vsi0)",
    "cd /",
    "OP",
    "  shell touch pwned",
    "*#shell touch pwned",
    "op\x00",
    "print Ω",
]
HOSTILE_LINES = [
    ".include /etc/passwd",
    ".include other.inc",
    ".include net_i.inc other",
    ".lib other.lib x",
    ".inc net_i.inc",
    "*#shell touch pwned",
    "*ng_script",
    "* comment\r.control",
    "Ax [a] [b] model",
    '.model model d_process(process_file="./other")',
    ".options klu\tshell",
    "Bx x0 0 V={1}",
    "Bx x0 0 V='1'",
    "Vx x0 0 DC 1 external",
    "+ 3",
    ".csparam x=1",
    ".func f(x) {x}",
    ".title *ng_script",
]


@pytest.mark.parametrize("deck", ["net.cir", "net_f.cir"])
@pytest.mark.parametrize("line", HOSTILE_COMMANDS)
def test_a_command_that_no_build_writes_is_refused_even_with_the_right_hashes(tmp_path, deck, line):
    folder = build(tmp_path / "net")
    text = (folder / deck).read_text()
    number = text[: text.index("op\n")].count("\n") + 1
    sealed(folder, deck, text.replace("op\n", f"{line}\nop\n"))
    with pytest.raises(ManifestError, match=rf"{deck}, line {number}: .* is not a line of a deck; not run"):
        read_manifest(folder)


@pytest.mark.parametrize("position", ["first", "before .control", "last"])
@pytest.mark.parametrize("line", HOSTILE_LINES)
def test_a_line_that_no_build_writes_is_refused_even_with_the_right_hashes(tmp_path, line, position):
    folder = build(tmp_path / "net")
    text = (folder / "net_f.cir").read_text()
    if position == "first":
        text = f"{line}\n{text}"
    elif position == "last":
        text += f"{line}\n"
    else:
        text = text.replace(".control\n", f"{line}\n.control\n")
    sealed(folder, "net_f.cir", text)
    with pytest.raises(ManifestError, match=r"net_f\.cir.* is not (a line|the title) of a deck; not run"):
        read_manifest(folder)


def test_a_deck_without_an_end_of_line_is_refused(tmp_path):
    folder = build(tmp_path / "net")
    sealed(folder, "net_f.cir", (folder / "net_f.cir").read_text() + "shell touch pwned")
    with pytest.raises(ManifestError, match="'shell touch pwned' is not a line of a deck"):
        read_manifest(folder)


@pytest.mark.parametrize(
    ("hardware", "backend", "name"), [("paper", "behavioural", "aist.lib"), ("amplifiers", "static", "tia.lib")]
)
def test_a_model_that_is_not_ours_is_refused_even_with_the_right_hashes(tmp_path, hardware, backend, name):
    folder = build(tmp_path / "net", "lstm", hardware, backend)
    read_manifest(folder)
    sealed(folder, name, (folder / name).read_text() + "* changed\n")
    with pytest.raises(ManifestError, match=rf"{name} is not the model of this version"):
        read_manifest(folder)


@pytest.mark.parametrize("name", [".spiceinit", "spice.rc"])
def test_a_start_up_file_of_ngspice_in_the_folder_is_refused(tmp_path, name):
    folder = build(tmp_path / "net")
    (folder / name).write_text("shell touch pwned\n")
    with pytest.raises(ManifestError, match=rf"{name} is executed by ngspice"):
        read_manifest(folder)
    (folder / name).unlink()
    (folder / name).symlink_to("nowhere")
    with pytest.raises(ManifestError, match=rf"{name} is executed by ngspice"):
        read_manifest(folder)


def test_every_documented_run_of_a_deck_reads_no_spiceinit():
    root = Path(__file__).parents[2]
    texts = [
        path
        for folder in ("docs", "examples", "hvae_mnn", "netlists", "device_models")
        for path in (root / folder).rglob("*")
    ]
    unsafe = []
    for path in [
        *root.glob("*.md"),
        *(path for path in texts if path.suffix in (".md", ".py", ".sh", ".cir", ".inc", ".lib")),
    ]:
        unsafe += [f"{path}: {line}" for line in path.read_text().splitlines() if "ngspice -b" in line]
    assert not unsafe
