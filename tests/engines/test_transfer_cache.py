"""The cache of solved arrays: keys depend on everything that determines a solution; damaged files are replaced."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from hvae_mnn.crossbar.hardware.file import read_hardware
from hvae_mnn.crossbar.hardware.spec import Amplifier, Cells, Tiling
from hvae_mnn.crossbar.hardware.wires import Wires
from hvae_mnn.crossbar.layout import ArrayLayout
from hvae_mnn.engines.exact import ExactEngine
from hvae_mnn.engines.transfer_cache import TransferCache
from hvae_mnn.errors import CacheWarning

WIRED = replace(
    read_hardware("paper"), cells=Cells("reference_column"), wires=Wires(100.0, 200.0, 50.0), tiling=Tiling(3, 2)
)
MEMRISTORS = np.random.default_rng(0).uniform(1e-5, 1e-4, (7, 5))
VOLTS = {"a": np.random.default_rng(1).uniform(-0.05, 0.05, (4, 7))}


def engine(folder, hardware=WIRED, memristors=MEMRISTORS):
    cache = TransferCache(folder)
    made = ExactEngine({"a": memristors}, {"a": ArrayLayout(7, 5, hardware)}, cache=cache)
    return made, cache


def test_a_second_engine_takes_the_first_ones_solution(tmp_path):
    first, _ = engine(tmp_path)
    second, cache = engine(tmp_path)
    assert first.facts()["arrays_from_cache"] == 0
    assert second.facts()["arrays_from_cache"] == 1
    assert not cache.damaged
    np.testing.assert_array_equal(first.currents(VOLTS)["a"], second.currents(VOLTS)["a"])


def test_amplifiers_that_clip_are_kept_and_counted_too(tmp_path):
    clipping = replace(WIRED, amplifier=Amplifier("transimpedance", 1e4, 1e3, swing_v=0.02))
    counted: list[tuple[int, int]] = []
    layouts = {"a": ArrayLayout(7, 5, clipping)}
    first = ExactEngine(
        {"a": MEMRISTORS}, layouts, cache=TransferCache(tmp_path), progress=lambda *done: counted.append(done)
    )
    second, _ = engine(tmp_path, clipping)
    assert [made.facts()["arrays_from_cache"] for made in (first, second)] == [0, 1]
    assert counted == [(number + 1, len(counted)) for number in range(len(counted))]
    assert len(counted) == 4  # tiles of 3 x 3, 3 x 2, 1 x 3 and 1 x 2 bit lines
    np.testing.assert_array_equal(first.currents(VOLTS)["a"], second.currents(VOLTS)["a"])


@pytest.mark.parametrize(
    "other",
    [
        replace(WIRED, wires=Wires(100.0, 200.0, 51.0)),
        replace(WIRED, wires=Wires(101.0, 200.0, 50.0)),
        replace(WIRED, tiling=Tiling(3, 3)),
        replace(WIRED, cells=Cells("fixed_resistor_per_cell")),
        replace(WIRED, amplifier=Amplifier("transimpedance", 1e4, 1e3)),
        replace(WIRED, device=replace(WIRED.device, g_max=9e-5)),  # the reference column's resistors
    ],
)
def test_other_hardware_has_another_key(tmp_path, other):
    engine(tmp_path)
    fresh, _ = engine(tmp_path, other)
    assert fresh.facts()["arrays_from_cache"] == 0
    alone, _ = engine(None, other)
    np.testing.assert_array_equal(fresh.currents(VOLTS)["a"], alone.currents(VOLTS)["a"])


def test_another_conductance_has_another_key(tmp_path):
    engine(tmp_path)
    changed = MEMRISTORS.copy()
    changed[3, 3] = np.nextafter(changed[3, 3], 1)
    assert engine(tmp_path, memristors=changed)[0].facts()["arrays_from_cache"] == 0


@pytest.mark.parametrize("damage", ["cut", "bit", "empty", "text"])
def test_a_damaged_file_is_noticed_and_rebuilt(tmp_path, damage):
    expected = engine(tmp_path)[0].currents(VOLTS)["a"]
    (path,) = tmp_path.iterdir()
    good = path.read_bytes()
    bad = {
        "cut": good[:-9],
        "empty": b"",
        "text": b"not a tensor",
        "bit": good[:-3] + bytes([good[-3] ^ 1]) + good[-2:],
    }
    path.write_bytes(bad[damage])
    again, cache = engine(tmp_path)
    assert cache.damaged == [path]
    assert again.facts()["arrays_from_cache"] == 0
    np.testing.assert_array_equal(again.currents(VOLTS)["a"], expected)
    third, cache = engine(tmp_path)
    assert not cache.damaged
    assert third.facts()["arrays_from_cache"] == 1


def test_bits_do_not_depend_on_what_else_is_solved_or_cached(tmp_path):
    # More than 256 bit lines, and a batch that is not full: where threads and batches could have a say.
    rng = np.random.default_rng(5)
    hardware = replace(WIRED, tiling=Tiling(), wires=Wires(1.0, 1.0))
    layouts = {"a": ArrayLayout(6, 260, hardware), "b": ArrayLayout(6, 260, hardware)}
    memristors = {name: rng.uniform(1e-5, 1e-4, (6, 260)) for name in layouts}
    volts = {name: rng.uniform(-0.05, 0.05, (3, 6)) for name in layouts}
    expected = ExactEngine(memristors, layouts, cache=TransferCache(tmp_path)).currents(volts)
    for name in layouts:
        alone = ExactEngine({name: memristors[name]}, {name: layouts[name]}).currents({name: volts[name]})
        np.testing.assert_array_equal(alone[name], expected[name])
    before = torch.get_num_threads()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try:
            again = ExactEngine(memristors, layouts).currents(volts)
        finally:
            torch.set_num_threads(before)
        np.testing.assert_array_equal(again["a"], expected["a"])


def test_a_cache_that_cannot_be_written_is_no_hindrance(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.warns(CacheWarning, match="solved arrays are not kept for the next run") as told:
        made, _ = engine(blocked / "cache")
    assert len(told) == 1
    np.testing.assert_array_equal(made.currents(VOLTS)["a"], engine(None)[0].currents(VOLTS)["a"])
