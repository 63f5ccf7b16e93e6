"""Text of the programming deck: voltages of every line at every pulse, wires, switches, saved vectors."""

from __future__ import annotations

import re

import numpy as np
import pytest

from hvae_mnn.devices.half_select import BIAS_SCHEMES
from hvae_mnn.devices.presets import AIST
from hvae_mnn.netlist.programming_deck import EDGE_S, GAP_S, WiredArray, programming_deck, schedule

X0 = np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]])
SECONDS = np.array([[1e-3, 0.0, -2e-3], [0.0, 3e-3, 0.0]])
PARTS = {"V/3": (1 / 3, -1 / 3), "V/2": (1 / 2, 0), "1T1R": (None, None)}
"""Voltages of cells in the selected row or column, and of all others, as fractions of the amplitude."""


def array(scheme="V/3", wire_ohm=2.0, backend="behavioural"):
    return WiredArray(AIST, backend, scheme, 0.15, wire_ohm, 1e-5)


def waveforms(text):
    """(times, volts) by source name."""
    joined = text.replace("\n+ ", " ")
    by_source = {name.lower(): ([0.0], [0.0]) for name in re.findall(r"^V(\w+) \w+ 0 DC 0$", joined, re.MULTILINE)}
    for name, points in re.findall(r"^V(\w+) \w+ 0 PWL\( (.*) \)$", joined, re.MULTILINE):
        values = np.array(points.split(), dtype=float)
        assert (np.diff(values[::2]) > 0).all(), "times must rise"
        by_source[name.lower()] = (values[::2], values[1::2])
    return by_source


@pytest.mark.parametrize("scheme", BIAS_SCHEMES)
def test_every_cell_sees_its_part_of_every_pulse(scheme):
    text = programming_deck(array(scheme), X0, SECONDS, "p")
    sources, plan = waveforms(text), schedule(array(scheme), SECONDS)
    assert plan.cells.tolist() == [[0, 0], [0, 2], [1, 1]]
    for (r, c), begin, width in zip(plan.cells, plan.begin_s, plan.width_s, strict=True):
        assert width == SECONDS[r, c]
        for time in (begin + 2 * EDGE_S, begin + abs(width) / 2, begin + abs(width) - EDGE_S):
            volts = {name: np.interp(time, *points) for name, points in sources.items()}
            for i, j in np.ndindex(SECONDS.shape):
                seen = volts[f"w{i}"] - volts[f"b{j}"]
                on_line, rest = PARTS[scheme]
                if (i, j) == (r, c):
                    assert seen == pytest.approx(np.sign(width) * 0.15)
                elif scheme == "1T1R":
                    # Cells whose switch is closed see nothing; the others may see anything.
                    assert volts[f"g{j}"] == (j == c)
                    assert seen == 0 or j != c
                else:
                    part = on_line if i == r or j == c else rest
                    assert seen == pytest.approx(np.sign(width) * 0.15 * part)


@pytest.mark.parametrize("scheme", BIAS_SCHEMES)
def test_between_pulses_everything_rests_and_then_each_row_is_read_alone(scheme):
    sources = waveforms(programming_deck(array(scheme), X0, SECONDS, "p"))
    plan = schedule(array(scheme), SECONDS)
    lines = {name: points for name, points in sources.items() if name[0] in "wb"}
    for time in [0, *(plan.begin_s - GAP_S / 4), *(plan.read_s - GAP_S / 4), plan.stop_s]:
        assert all(np.interp(time, *points) == 0 for points in lines.values())
    for row, time in enumerate(plan.sample_s):
        volts = {name: np.interp(time, *points) for name, points in sources.items()}
        assert {name: value for name, value in volts.items() if value and name[0] in "wb"} == {f"w{row}": 0.05}
        assert all(volts[f"g{j}"] == 1 for j in range(3) if scheme == "1T1R")
    # A pulse is as wide at half its height as it was asked to be.
    times, volts = sources["w0"]
    np.testing.assert_allclose(times[1:5] - times[1], [0, EDGE_S, 1e-3, 1e-3 + EDGE_S], atol=1e-15)
    assert volts[2] == pytest.approx({"V/2": 0.075}.get(scheme, 0.15))


def test_wires_run_from_the_drivers_along_the_cells():
    lines = programming_deck(array(), X0, SECONDS, "p").splitlines()
    wires = {tuple(line.split()[1:]) for line in lines if line.startswith("R")}
    expected = {("w0", "w0_0"), ("w0_0", "w0_1"), ("w0_1", "w0_2"), ("w1", "w1_0"), ("w1_0", "w1_1"), ("w1_1", "w1_2")}
    expected |= {(f"b0_{j}", f"b1_{j}") for j in range(3)} | {(f"b1_{j}", f"b{j}") for j in range(3)}
    assert wires == {(*pair, "2.0") for pair in expected}
    devices = [line.split() for line in lines if line.startswith("XD")]
    assert devices[4] == ["XD1_1", "w1_1", "b1_1", "x1_1", "aist", "x0=0.5"]
    assert len(devices) == 6
    ideal = programming_deck(array(wire_ohm=0.0), X0, SECONDS, "p")
    assert "XD1_2 w1 b2 x1_2 aist x0=0.6" in ideal
    assert "\nR" not in ideal


def test_a_transistor_per_cell_is_a_switch_that_its_column_closes():
    lines = programming_deck(array("1T1R", backend="osdi"), X0, SECONDS, "p").splitlines()
    assert "S1_2 w1_2 t1_2 g2 0 gate" in lines
    assert any(line.startswith("ND1_2 t1_2 b1_2 x1_2 ") and line.endswith(" x0=0.6") for line in lines)
    assert any(line.startswith("pre_osdi") for line in lines)


def test_what_is_kept_begins_with_the_read():
    text = programming_deck(array(), X0, SECONDS, "some")
    plan = schedule(array(), SECONDS)
    step, stop, start, largest = (float(part) for part in re.search(r"^\.tran (.*)$", text, re.MULTILINE)[1].split())
    assert (start, stop) == (plan.read_s[0], plan.stop_s)
    # Without a largest step ngspice would take a fiftieth of the read for all pulses.
    assert step == largest == pytest.approx(3e-3 / 25)
    assert text.count(".save v(x") == 6
    assert text.count(".save i(vb") == 3
    assert "write some.raw" in text


def test_a_deck_without_pulses_only_reads():
    plan = schedule(array(), np.zeros((2, 3)))
    assert plan.cells.shape == (0, 2)
    assert plan.read_s[0] == pytest.approx(GAP_S)
    sources = waveforms(programming_deck(array(), X0, np.zeros((2, 3)), "p"))
    assert all(not np.any(sources[f"b{j}"][1]) for j in range(3))
    assert np.interp(plan.sample_s[1], *sources["w1"]) == 0.05
