"""Points of a sweep of every kind: ngspice on the draw's own netlists gives what the sweep's engine gave."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from hvae_mnn.crossbar.hardware import Amplifier, ConverterSpec, Tiling
from hvae_mnn.crossbar.hardware_file import hardware_to_dict, read_hardware
from hvae_mnn.crossbar.nonidealities.file import nonidealities_to_dict
from hvae_mnn.crossbar.nonidealities.spec import (
    DeviceSpread,
    Drift,
    Nonidealities,
    Programming,
    ReadNoise,
    StuckCells,
    Temperature,
)
from hvae_mnn.crossbar.wires import Wires
from hvae_mnn.errors import InputError
from hvae_mnn.experiments.task import ModelChoice, Task
from hvae_mnn.experiments.text import choose_text
from hvae_mnn.experiments.verify_point import verify_point
from hvae_mnn.files import sha256
from hvae_mnn.netlist.manifest import read_manifest
from hvae_mnn.vae.checkpoint import load_checkpoint

WIRED = Wires(word_ohm=3.0, bit_ohm=2.0, driver_ohm=50.0)
POINTS = {
    "programming": ({}, Nonidealities(programming=Programming("lognormal", 0.2))),
    "read noise": (
        {"scheme": "reference_column"},
        Nonidealities(read_noise=ReadNoise(thermal=True, bandwidth_hz=1e9, flicker=1e-3, low_hz=1e3)),
    ),
    "stuck, warm wires": (
        {"scheme": "differential_pair", "wires": WIRED, "tiling": Tiling(7, 3, "after_adc")},
        Nonidealities(stuck=StuckCells(0.05, 0.1), temperature=Temperature(kelvin=380.0)),
    ),
    "pulses, spread, drift, amplifiers": (
        {"scheme": "reference_column", "wires": WIRED, "amplifier": Amplifier("transimpedance", 2e3, 500.0, 1e-3)},
        Nonidealities(
            programming=Programming("pulses", max_pulses=5),
            spread=DeviceSpread(0.05, 0.1, 0.02, 0.03),
            drift=Drift(3600.0, 1.0, 0.02, 0.01),
            read_noise=ReadNoise(thermal=True, bandwidth_hz=1e9),
        ),
    ),
    "converters": (
        {"wires": WIRED, "adc": ConverterSpec(6, noise_lsb=0.5, inl_lsb=0.4), "dac": ConverterSpec(5, noise_lsb=0.3)},
        Nonidealities(programming=Programming("gaussian", 0.05)),
    ),
}


@pytest.fixture
def make_point(make_checkpoint):
    def make(changes, noise, seed):
        path = make_checkpoint("lstm")
        hardware = read_hardware("paper")
        scheme = changes.get("scheme", hardware.cells.scheme)
        others = {key: value for key, value in changes.items() if key != "scheme"}
        hardware = replace(hardware, cells=replace(hardware.cells, scheme=scheme), **others)
        text = choose_text(load_checkpoint(path), None, "test", 6)
        model = ModelChoice("lstm", str(path), sha256(path))
        return Task("point", model, text, ("top1",), seed, hardware_to_dict(hardware), nonidealities_to_dict(noise))

    return make


@pytest.mark.parametrize("kind", POINTS)
def test_ngspice_gives_what_the_sweep_had(make_point, kind, tmp_path):
    changes, noise = POINTS[kind]
    task = make_point(changes, noise, 11)
    found = verify_point(task, steps=3, out=tmp_path / "out")
    assert found.passed, found.verdicts
    assert found.worst < 1e-9
    assert len(found.verdicts) == 12
    assert (max(verdict.noise for verdict in found.verdicts) > 0) == noise.read_noise.is_on
    summary = json.loads((tmp_path / "out" / "verify.json").read_text())
    assert summary["task"]["key"] == task.key
    # What was written is a build like any other.
    assert read_manifest(tmp_path / "out" / "netlist").hardware.wires.word_ohm == pytest.approx(
        hardware_word_ohm(task, noise)
    )


def hardware_word_ohm(task, noise):
    temperature = noise.temperature
    warm = 1 + temperature.wire_per_kelvin * (temperature.kelvin - temperature.reference_kelvin)
    return task.hardware["wires"]["word_ohm"] * warm


def test_another_draw_is_another_circuit(make_point, tmp_path):
    """The proof can fail: netlists of one seed are not those of another."""
    changes, noise = POINTS["programming"]
    for seed in (1, 2):
        verify_point(make_point(changes, noise, seed), steps=1, arrays=1, out=tmp_path / str(seed))
    one, other = ((tmp_path / str(seed) / "netlist" / "decoder_i.inc").read_bytes() for seed in (1, 2))
    assert one != other


def test_a_baseline_has_no_circuit(make_point, tmp_path):
    task = replace(make_point(*POINTS["programming"], 1), kind="digital")
    with pytest.raises(InputError, match="baseline without a circuit"):
        verify_point(task, out=tmp_path / "out")
