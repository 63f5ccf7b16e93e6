"""Points of every kind: ngspice on the chip's netlists gives the currents of the sweep's engine."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from hvae_mnn.crossbar.hardware.file import hardware_to_dict, read_hardware
from hvae_mnn.crossbar.hardware.spec import Amplifier, ConverterSpec, Tiling
from hvae_mnn.crossbar.hardware.wires import Wires
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
from hvae_mnn.errors import InputError
from hvae_mnn.files import sha256
from hvae_mnn.models.checkpoint import load_checkpoint
from hvae_mnn.netlist.build import write_network
from hvae_mnn.netlist.folder import read_manifest
from hvae_mnn.studies.referee.array import ArrayCase
from hvae_mnn.sweeps import verify as verification
from hvae_mnn.sweeps.point import chip_of
from hvae_mnn.sweeps.sentences import choose_text, further_text, text_sha256
from hvae_mnn.sweeps.task import ModelChoice, Task
from hvae_mnn.sweeps.verify import verify_point

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
        checkpoint = load_checkpoint(path)
        text = choose_text(checkpoint, None, "test", 6)
        lines = further_text(checkpoint, text, "point", hardware)
        model = ModelChoice("lstm", str(path), sha256(path))
        return Task(
            kind="point",
            model=model,
            text=text,
            metrics=("top1",),
            seed=seed,
            hardware=hardware_to_dict(hardware),
            noise=nonidealities_to_dict(noise),
            further_text=text_sha256(lines) if lines else "",
        )

    return make


@pytest.mark.parametrize("kind", POINTS)
def test_ngspice_gives_what_the_sweep_had(make_point, kind, tmp_path):
    changes, noise = POINTS[kind]
    task = make_point(changes, noise, 11)
    result = verify_point(task, steps=3, out=tmp_path / "out")
    assert result.passed, result.verdicts
    assert result.worst < 1e-9
    assert len(result.verdicts) == 12
    assert (max(verdict.noise for verdict in result.verdicts) > 0) == noise.read_noise.is_on
    summary = json.loads((tmp_path / "out" / "verify.json").read_text())
    assert summary["task"]["key"] == task.key
    # The netlists are a regular build.
    assert read_manifest(tmp_path / "out" / "netlist").hardware.wires.word_ohm == pytest.approx(
        hardware_word_ohm(task, noise)
    )


def hardware_word_ohm(task, noise):
    temperature = noise.temperature
    warm = 1 + temperature.wire_per_kelvin * (temperature.kelvin - temperature.reference_kelvin)
    return task.hardware["wires"]["word_ohm"] * warm


def test_the_proof_fails_for_another_draw(make_point, tmp_path, monkeypatch):
    """Netlists of one seed do not pass for those of another."""
    changes, noise = POINTS["programming"]
    other = chip_of(make_point(changes, noise, 2)).mapped
    monkeypatch.setattr(verification, "write_network", lambda mapped, *rest: write_network(other, *rest))
    result = verify_point(make_point(changes, noise, 1), steps=1, arrays=2, out=tmp_path / "out")
    assert not result.passed
    assert result.worst > 1e-3


def test_the_proof_fails_without_the_noise(make_point, tmp_path, monkeypatch):
    task = make_point(*POINTS["read noise"], 1)
    monkeypatch.setattr(verification, "ArrayCase", lambda deck, volts, noise: ArrayCase(deck, volts, None))
    assert not verify_point(task, steps=1, arrays=2, out=tmp_path / "out").passed


def test_pulses_in_a_nonlinear_circuit_are_refused(make_point, tmp_path):
    hardware = read_hardware("paper")
    cells = replace(hardware.cells, read_law="sinh", sinh_per_volt=20.0)
    described = hardware_to_dict(replace(hardware, coding="pulse_width", cells=cells))
    task = replace(make_point(*POINTS["programming"], 1), hardware=described)
    with pytest.raises(InputError, match="pulses in a nonlinear circuit"):
        verify_point(task, out=tmp_path / "out")


def test_a_baseline_has_no_circuit(make_point, tmp_path):
    task = replace(make_point(*POINTS["programming"], 1), kind="digital")
    with pytest.raises(InputError, match="baseline without a circuit"):
        verify_point(task, out=tmp_path / "out")
