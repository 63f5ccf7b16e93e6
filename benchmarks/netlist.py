"""Cells per second written as SPICE text to disk.

`netlist.arrays.array_lines` against PySpice's element objects for the very same resistors: a `Circuit`, a `circuit.R`
per resistor, and its text to disk. Both write the same array, the decoder's of the preset `tiny`; the streamed text
also the whole model of the size asked for.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.figures import Answer, Figure, in_turns, seconds
from benchmarks.workspace import Workspace
from hvae_mnn.crossbar.mapping import GateArray
from hvae_mnn.netlist.arrays import array_lines, bit_line, inverted
from hvae_mnn.netlist.conductances import read_conductances
from hvae_mnn.netlist.manifest import Manifest


def run(workspace: Workspace) -> Answer:
    """Measure."""
    from PySpice.Spice.Netlist import Circuit

    small = _arrays(workspace.netlist("tiny"))[-1]
    model = _arrays(workspace.netlist(workspace.size))
    path = workspace.folder / "written.inc"
    workspace.status("netlist text, streamed and through element objects")

    def objects() -> None:
        circuit = Circuit("array")
        fixed_ohm = 1 / small.fixed_siemens
        ohm = (1 / small.conductance).tolist()
        for row, line in enumerate(small.word_lines):
            for column in range(small.conductance.shape[1]):
                bit = bit_line(small.unit, column)
                circuit.R(f"m{small.unit}{row}_{column}", inverted(line), bit, ohm[row][column])
                circuit.R(f"s{small.unit}{row}_{column}", line, bit, fixed_ohm)
        path.write_text(str(circuit), encoding="ascii")

    found = in_turns(
        {"streamed": lambda: seconds(lambda: _write([small], path)), "objects": lambda: seconds(objects)}, repetitions=5
    )
    whole = in_turns({"model": lambda: seconds(lambda: _write(model, path))}, repetitions=3)["model"]
    cells = sum(array.conductance.size for array in model)
    return Answer(
        [
            Figure("streamed_cells_per_s", "streamed text", small.conductance.size / found["streamed"], "cells/s"),
            Figure("objects_cells_per_s", "element objects", small.conductance.size / found["objects"], "cells/s"),
            Figure(
                "ratio", "element objects against streamed text", found["objects"] / found["streamed"], "x", None, 20
            ),
            Figure("model_s", f"all {cells / 1e6:.2g} M cells of size {workspace.size}", whole, "s"),
        ],
        "a cell is a memristor and a fixed resistor: two element lines",
    )


def _write(arrays: list[GateArray], path: Path) -> None:
    with path.open("w", encoding="ascii") as file:
        for array in arrays:
            file.writelines(array_lines(array))


def _arrays(manifest: Manifest) -> list[GateArray]:
    stored = read_conductances(manifest)
    return [
        GateArray(
            layer.name,
            unit.name,
            unit.rows,
            stored[unit.array].conductance,
            manifest.hardware,
            unit.scale,
        )
        for layer, unit in manifest.units()
    ]
