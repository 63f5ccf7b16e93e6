"""The compiled device: built once, kept whole, and every way it can be missing is one line with the remedy."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess

import numpy as np
import pytest
import torch
from torch import nn

from hvae_mnn import build_netlist
from hvae_mnn.cli.main import main
from hvae_mnn.devices.presets import AIST, DEFAULT_PRESET, HP_TIO2, PRESETS
from hvae_mnn.engines.ngspice import NgspiceEngine, array_decks
from hvae_mnn.errors import EnvironmentProblem, SimulatorError
from hvae_mnn.files import cache_folder
from hvae_mnn.netlist.device_lines import control_prologue, device_header, device_line, model_file
from hvae_mnn.spice import osdi
from hvae_mnn.spice.backends import backend_problem
from hvae_mnn.spice.batch import run_deck
from hvae_mnn.spice.probe import osdi_refusal, probe

pytestmark = pytest.mark.spice

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """A cache of the test's own, and nothing remembered from elsewhere."""
    monkeypatch.setenv("HVAE_MNN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.delenv(osdi.READY_MADE, raising=False)
    osdi.osdi_library.cache_clear()
    yield
    osdi.osdi_library.cache_clear()


def counting_compiler(tmp_path, name="counting-cc", pick_source=""):
    """A program that notes every call and hands it on to cc."""
    script = tmp_path / name
    calls = tmp_path / f"{name}.calls"
    script.write_text(
        f'#!/bin/sh\ncase "$*" in --version) echo "{name} 1";; *memristor_osdi.c|*.va) echo x >> {calls}; {pick_source}'
        'exec cc "$@";; *) exec cc "$@";; esac\n'
    )
    script.chmod(0o755)
    return script, lambda: len(calls.read_text().split()) if calls.exists() else 0


@needs_compiler
def test_it_is_built_once_and_again_when_the_file_was_damaged(tmp_path, monkeypatch):
    script, calls = counting_compiler(tmp_path)
    monkeypatch.setenv("CC", str(script))
    first = osdi.osdi_library("aist")
    osdi.osdi_library.cache_clear()
    assert osdi.osdi_library("hp") == first
    assert calls() == 1
    assert cache_folder("osdi") in first.parents
    first.write_bytes(first.read_bytes()[:1000])
    osdi.osdi_library.cache_clear()
    assert osdi.osdi_library("aist") == first
    assert calls() == 2
    assert osdi_refusal(first) is None


@needs_compiler
def test_another_source_or_compiler_is_another_library(tmp_path, monkeypatch):
    first = osdi._recipe("aist")
    script, _ = counting_compiler(tmp_path)
    monkeypatch.setenv("CC", f"{script} -g")
    second = osdi._recipe("aist")
    assert second.command[1] == "-g"
    changed = tmp_path / "changed.c"
    changed.write_text(first.source.read_text() + "/* another */\n")
    digests = {recipe.digest() for recipe in (first, second, dataclasses.replace(first, source=changed))}
    assert len(digests) == 3


def test_without_compiler_and_openvaf_the_remedy_is_named_and_behavioural_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CC", "no-such-compiler")
    message = osdi.osdi_problem()
    assert message is not None
    assert "no C compiler (no-such-compiler) and no openvaf" in message
    assert "apt-get install gcc" in message
    assert "\n" not in message
    assert backend_problem("osdi") == message
    assert backend_problem("behavioural") is None
    with torch.random.fork_rng():
        module = nn.RNN(2, 2)
    with pytest.raises(EnvironmentProblem, match="behavioural back end") as caught:
        build_netlist(module, tmp_path / "n", device_backend="osdi")
    assert caught.value.exit_code == 2
    assert not (tmp_path / "n").exists()
    engine = NgspiceEngine(array_decks(build_netlist(module, tmp_path / "b", device_backend="behavioural")))
    assert np.isfinite(engine.currents({"rnn_h": np.full((1, 5), 0.04)})["rnn_h"]).all()
    engine.close()
    main(["doctor"])  # a note, no problem: it would end with exit code 1
    assert "devices: osdi" in capsys.readouterr().out


def test_without_compiler_openvaf_builds_the_verilog_a(tmp_path, monkeypatch):
    """openvaf itself is in no package; this one checks what it is given, and compiles the C instead."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler to stand in for openvaf's")
    source = model_file("memristor_osdi.c")
    pick = f'test -f "$3" || exit 3; echo "$3" > {tmp_path}/given; cc -O2 -shared -fPIC "$1" "$2" {source}; exit; '
    openvaf, calls = counting_compiler(tmp_path, "openvaf", pick)
    monkeypatch.setenv("CC", "no-such-compiler")
    monkeypatch.setenv("PATH", f"{openvaf.parent}:{os.environ['PATH']}")
    assert osdi_refusal(osdi.osdi_library("hp")) is None
    assert (tmp_path / "given").read_text().strip().endswith("hp.va")
    assert osdi.osdi_library("aist") != osdi.osdi_library("hp")
    assert calls() == 2


def test_a_compiler_that_fails_is_quoted(tmp_path, monkeypatch):
    script = tmp_path / "failing-cc"
    script.write_text('#!/bin/sh\necho "stdbool.h: No such file or directory" >&2\nexit 1\n')
    script.chmod(0o755)
    monkeypatch.setenv("CC", str(script))
    with pytest.raises(EnvironmentProblem, match=r"stdbool\.h: No such file.*behavioural"):
        osdi.osdi_library("aist")
    assert not list(cache_folder("osdi").rglob("*.osdi"))


@pytest.mark.parametrize("kind", ["no program", "open quotation"])
def test_a_compiler_that_cannot_be_run_is_named(tmp_path, monkeypatch, kind):
    script = tmp_path / "junk"
    script.write_text("#junk")
    script.chmod(0o755)
    monkeypatch.setenv("CC", str(script) if kind == "no program" else '"cc')
    assert "behavioural" in str(osdi.osdi_problem())
    assert probe().osdi  # found out without a compiler


@needs_compiler
@pytest.mark.parametrize("home", ["none", "/proc/nowhere"])
def test_without_a_cache_it_is_built_for_this_process(tmp_path, monkeypatch, home):
    """Where there is no home, and where the home takes no files."""
    monkeypatch.delenv("HVAE_MNN_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    if home == "none":
        monkeypatch.setattr(osdi, "cache_folder", lambda kind: None)
    monkeypatch.setenv("HOME", home)
    script, calls = counting_compiler(tmp_path)
    monkeypatch.setenv("CC", str(script))
    first = osdi.osdi_library("aist")
    osdi.osdi_library.cache_clear()
    assert osdi.osdi_library("hp") == first
    assert calls() == 1
    assert osdi_refusal(first) is None


def test_a_title_that_speaks_of_errors_is_no_error(tmp_path):
    spec = dataclasses.replace(AIST, name="my_error")
    header = [f"* {spec.name}", *device_header(spec, "behavioural")]
    assert one_device(spec, "behavioural", tmp_path, 0.05, header=header, title="my_error devices")["v(x)"][-1] > 0


def test_an_ngspice_without_osdi_is_named(monkeypatch):
    monkeypatch.setattr(osdi, "probe", lambda: dataclasses.replace(probe(), osdi=False, version="39.3"))
    with pytest.raises(
        EnvironmentProblem, match=r"ngspice 39\.3 cannot load compiled devices.*make system.*behavioural"
    ):
        osdi.osdi_library("aist")
    assert backend_problem("behavioural") is None


@needs_compiler
@pytest.mark.parametrize("content", ["other version", "no library"])
def test_a_compiled_file_that_ngspice_refuses_is_named(tmp_path, monkeypatch, content):
    library = tmp_path / "other.osdi"
    if content == "no library":
        library.write_text("no library\n")
    else:
        text = model_file("memristor_osdi.c").read_text().replace("OSDI_VERSION_MINOR = 3", "OSDI_VERSION_MINOR = 2")
        (tmp_path / "other.c").write_text(text)
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, tmp_path / "other.c"], check=True)
    monkeypatch.setenv(osdi.READY_MADE, str(library))
    with pytest.raises(EnvironmentProblem, match=r"refuses .*other\.osdi: .*OSDI 0\.3.*behavioural"):
        osdi.osdi_library("aist")


def test_a_ready_made_library_that_is_missing_is_named(monkeypatch):
    monkeypatch.setenv(osdi.READY_MADE, "nowhere.osdi")
    with pytest.raises(EnvironmentProblem, match=r"HVAE_MNN_OSDI names nowhere\.osdi, which is not a file"):
        osdi.osdi_library("aist")


def one_device(spec, backend, tmp_path, volts, x0=0.3, header=None, title="one device"):
    lines = [
        title,
        *(header or device_header(spec, backend)),
        f"V1 te 0 DC {volts!r}",
        device_line("m", "te", "0", "x", spec, backend, x0),
        ".control",
        *control_prologue(backend),
        "op",
        "write one.raw v(x) i(v1)",
        ".endc",
        ".end",
    ]
    return run_deck("\n".join(lines) + "\n", tmp_path, "one", spec, backend)


@needs_compiler
def test_ngspice_refuses_a_parameter_outside_its_range(tmp_path):
    header = [line.replace("ron=5000.0", "ron=-5.0") for line in device_header(AIST, "osdi")]
    with pytest.raises(SimulatorError, match=r"(?i)ron.* out of bounds"):
        one_device(AIST, "osdi", tmp_path, 0.05, header=header)


@pytest.mark.parametrize("backend", ["behavioural", "osdi"])
@pytest.mark.parametrize("spec", [AIST, HP_TIO2, dataclasses.replace(AIST, r_off_ohm=150e3, window_p=3)])
def test_an_operating_point_holds_the_state_even_above_threshold(tmp_path, spec, backend):
    if backend == "osdi" and osdi.osdi_problem():
        pytest.skip(osdi.osdi_problem())
    for volts in (0.05, -0.5, 0.5):
        found = one_device(spec, backend, tmp_path, volts)
        assert found["v(x)"][-1] == pytest.approx(0.3, rel=1e-10)
        assert found["i(v1)"][-1] == pytest.approx(-volts / spec.resistance(0.3), rel=1e-9)


@pytest.mark.parametrize("law", ["aist", "hp"])
def test_the_defaults_of_all_models_are_the_presets(law):
    """A subcircuit's line gives only what differs from them."""
    text = model_file(f"{law}.lib").read_text()
    line = text[text.index(".subckt") : text.index(".param")].replace("\n+", "")
    scale = {"k": 1e3, "m": 1e-3, "u": 1e-6, "n": 1e-9, "f": 1e-15}
    found = {}
    for word in line.split():
        name, _, value = word.partition("=")
        if value:
            found[name] = float(value[:-1]) * scale[value[-1]] if value[-1] in scale else float(value)
    spec = PRESETS[DEFAULT_PRESET[law]]
    assert found == pytest.approx({**spec.spice_parameters(), "x0": spec.x_init}, rel=1e-12)
