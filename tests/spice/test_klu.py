"""Wired tiles on an ngspice without KLU. None can be installed beside the other one, so the probe's finding is
replaced."""

from __future__ import annotations

import dataclasses
from dataclasses import replace

import pytest

from hvae_mnn.crossbar.hardware.file import read_hardware
from hvae_mnn.crossbar.hardware.spec import SCHEMES, Cells, Tiling
from hvae_mnn.crossbar.hardware.wires import Wires
from hvae_mnn.crossbar.layout import ArrayLayout
from hvae_mnn.engines import ngspice
from hvae_mnn.engines.array_process import ArrayDeck
from hvae_mnn.errors import EnvironmentProblem
from hvae_mnn.parallel.cluster import Cluster
from hvae_mnn.spice.probe import probe

pytestmark = pytest.mark.spice


@pytest.mark.parametrize("scheme", SCHEMES)
def test_wires_above_32_by_32_need_klu(scheme, monkeypatch, tmp_path):
    found = dataclasses.replace(probe(), solver="SPARSE 1.3")
    monkeypatch.setattr(ngspice, "probe", lambda: found)
    bit_lines = {"fixed_resistor_per_cell": 1, "reference_column": 1, "differential_pair": 2}[scheme]
    base = replace(read_hardware("paper"), cells=Cells(scheme), wires=Wires(1.0, 1.0))

    def deck(rows, columns):
        layout = ArrayLayout(100, 100, replace(base, tiling=Tiling(rows, columns)))
        return ArrayDeck("net_i", "i", tuple(f"x{k}" for k in range(100)), layout, tmp_path / "none.inc")

    ngspice.require_klu([deck(15, 32 // bit_lines)], Cluster.here())
    with pytest.raises(
        EnvironmentProblem, match=r"tile 0,0 of array net_i, with wires, has .*SPARSE 1\.3.*smaller"
    ) as told:
        ngspice.require_klu([deck(33, 33)], Cluster.here())
    assert told.value.exit_code == 2
    assert "\n" not in str(told.value)
    # Without wires the same tiles are no trouble.
    plain = replace(deck(33, 33), layout=ArrayLayout(100, 100, replace(base, wires=Wires(), tiling=Tiling(33, 33))))
    ngspice.require_klu([plain], Cluster.here())
