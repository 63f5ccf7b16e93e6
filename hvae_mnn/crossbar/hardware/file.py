"""Hardware descriptions as text: TOML files and plain dicts in, `Hardware` out, and back.

All problems are reported together, each with its path, the value found and the allowed values. The keys are defined in
`schema.py`, their checks in `problems.py`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hvae_mnn.crossbar.hardware.presets import HARDWARE_PRESETS, preset_text
from hvae_mnn.crossbar.hardware.problems import (
    DEVICE_KEYS,
    Table,
    contradictions,
    copied,
    exclusive,
    found_text,
    table_at,
    touches,
    validated,
)
from hvae_mnn.crossbar.hardware.schema import DacSection, DeviceSection, HardwareFile
from hvae_mnn.crossbar.hardware.spec import Amplifier, Cells, ConverterSpec, Hardware, Tiling
from hvae_mnn.crossbar.hardware.wires import Wires
from hvae_mnn.devices.memristor import MemristorSpec
from hvae_mnn.devices.presets import AIST, preset_named, read_preset, spec_from_dict
from hvae_mnn.errors import DeviceError, HardwareError
from hvae_mnn.names import unknown_name
from hvae_mnn.reading import errors_as, is_missing, parse_toml, read_toml
from hvae_mnn.reading import shown as shown_path

_GOES_WITH = (
    ("array", "read_law", ("sinh_per_volt",)),
    ("sense", "kind", ("feedback_ohm", "gain", "offset_v", "swing_v")),
    ("dac", "range", ("full_scale",)),
    ("adc", "range", ("full_scale",)),
)
"""Section, choice, and the keys that belong to that choice."""


def read_hardware(path_or_preset: str | Path) -> Hardware:
    """The preset with this name, or the hardware in this TOML file.

    Raises `HardwareError`: one line if there is no TOML to read, else one line per problem.
    """
    name = str(path_or_preset)
    for preset in HARDWARE_PRESETS:
        if name == preset:
            where = f"hardware preset {preset}"
            return hardware_from_dict(parse_toml(preset_text(preset), where), where)
    path = Path(path_or_preset)
    if is_missing(path):
        if path.suffix:
            raise HardwareError(
                f"no hardware file at {shown_path(name)}; name a TOML file, or a preset: {', '.join(HARDWARE_PRESETS)}"
            )
        presets = f"{', '.join(HARDWARE_PRESETS)}, or a TOML file"
        raise HardwareError(unknown_name("hardware preset", name, HARDWARE_PRESETS, listing=presets))
    with errors_as(HardwareError):
        stored = read_toml(path, "hardware file")
    return hardware_from_dict(stored, path)


def hardware_from_dict(data: Mapping[str, Any], where: str | Path = "hardware") -> Hardware:
    """Hardware from the tables of a file or of `hardware_to_dict`; None stands for an absent key.

    `where` names the file in messages; a device's file is relative to its folder. Raises `HardwareError` with every
    problem.
    """
    own = copied(data)
    base_name = own.get("base")
    base: Table = {}
    if base_name in HARDWARE_PRESETS and isinstance(base_name, str):
        base = hardware_to_dict(read_hardware(base_name))
    merged = laid_over(base, own) if base else own
    form, bad, lines = validated(merged)
    lines += exclusive(merged)
    device = None
    if not any(touches(f"device.{key}", bad) for key in DEVICE_KEYS):
        try:
            device = _device(form.device, Path(where).parent)
        except (DeviceError, ValueError, RecursionError) as error:  # too many digits or tables for Python
            key = "file" if form.device.spec is None else "spec"
            lines.append(f"device.{key}: {error}")
    if "base" not in bad:  # else the base may give the missing values
        for paths, needed in contradictions(form, device):
            if not any(touches(path, bad) for path in paths):
                values = " and ".join(found_text(form, path, merged, own) for path in paths)
                lines.append(f"{values}; {needed}")
    if not lines and device is not None:
        try:
            return _build(form, device, base_name, where)
        except DeviceError as error:
            lines.append(f"device: {error}")
    raise HardwareError.of(where, lines)


def hardware_to_dict(hardware: Hardware) -> Table:
    """All tables of a complete file: every key with its value, and the device in full. Only a limit that does not exist
    is absent (`swing_v`, `full_scale`). Values are plain, for JSON and manifests. The inverse of `hardware_from_dict`.
    """
    device, cells, wires, amplifier, tiling = (
        hardware.device,
        hardware.cells,
        hardware.wires,
        hardware.amplifier,
        hardware.tiling,
    )
    sense: Table = {
        "kind": amplifier.kind,
        "feedback_ohm": amplifier.feedback_ohm,
        "gain": amplifier.gain,
        "offset_v": amplifier.offset_v,
    }
    if amplifier.swing_v < math.inf:
        sense["swing_v"] = amplifier.swing_v
    return {
        "name": hardware.name,
        "source": hardware.source,
        "device": {"read_voltage": device.read_v, "spec": device.to_dict()},
        "array": {
            "scheme": cells.scheme,
            "scale": cells.scale,
            "g_min_siemens": device.g_min,
            "g_max_siemens": device.g_max,
            "levels": cells.levels,
            "read_law": cells.read_law,
            "sinh_per_volt": cells.sinh_per_volt,
        },
        "wires": {"word_ohm": wires.word_ohm, "bit_ohm": wires.bit_ohm, "source": hardware.wires_source},
        "drivers": {"output_ohm": wires.driver_ohm},
        "sense": sense,
        "input": {"coding": hardware.coding},
        "dac": _converter_table(hardware.dac),
        "adc": _converter_table(hardware.adc),
        "tiles": {
            "rows": "all" if tiling.rows is None else tiling.rows,
            "columns": "all" if tiling.columns is None else tiling.columns,
            "partial_sums": tiling.partial_sums,
        },
        "gates": {"where": hardware.gates},
    }


def hardware_to_toml(hardware: Hardware) -> str:
    """The text of a complete file; `read_hardware` reads the same hardware from it."""
    lines: list[str] = []
    _write_table(hardware_to_dict(hardware), "", lines)
    return "\n".join(lines).lstrip("\n") + "\n"


def _write_table(table: Table, path: str, lines: list[str]) -> None:
    lines += [f"{key} = {_toml(value)}" for key, value in table.items() if not isinstance(value, dict)]
    for key, value in table.items():
        if isinstance(value, dict):
            lines += ["", f"[{path}{key}]"]
            _write_table(value, f"{path}{key}.", lines)


def _toml(value: Any) -> str:
    # JSON strings are TOML strings, except for DEL.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f") if isinstance(value, str) else repr(value)


def _converter_table(spec: ConverterSpec) -> Table:
    table: Table = {"bits": spec.bits, "range": spec.range}
    if spec.full_scale is not None:
        table["full_scale"] = spec.full_scale
    return {**table, "noise_lsb": spec.noise_lsb, "inl_lsb": spec.inl_lsb}


def laid_over(base: Table, own: Table) -> Table:
    """The tables `own` over those of a complete hardware. If `own` changes a choice, the base's values that belong to
    the old choice are dropped. The base's name and source are always dropped."""
    base = copied({**base, "name": None, "source": None})
    if any(key in table_at(own, "device") for key in DEVICE_KEYS):
        base["device"] = {}
        for key in ("g_min_siemens", "g_max_siemens"):
            base["array"].pop(key, None)
    wires = table_at(own, "wires")
    if "metal" in wires:
        base["wires"] = {}
    elif "word_ohm" in wires or "bit_ohm" in wires:
        base["wires"].pop("source", None)
    for section, choice, keys in _GOES_WITH:
        if table_at(own, section).get(choice, base[section][choice]) != base[section][choice]:
            for key in keys:
                base[section].pop(key, None)
    for section in ("dac", "adc"):
        if table_at(own, section).get("bits") == 0:
            for key in ("noise_lsb", "inl_lsb"):
                base[section].pop(key, None)
    both = {
        key: {**part, **own[key]} if isinstance(part, dict) and isinstance(own.get(key), dict) else own.get(key, part)
        for key, part in base.items()
    }
    return {**both, **{key: value for key, value in own.items() if key not in both}}


def _device(form: DeviceSection, folder: Path) -> MemristorSpec | None:
    """The device, before this hardware's range and read voltage are applied; None if several are named."""
    if sum(getattr(form, key) is not None for key in DEVICE_KEYS) > 1:
        return None
    if form.spec is not None:
        return spec_from_dict(form.spec)
    if form.file is not None:
        return read_preset(folder / form.file)
    return AIST if form.preset is None else preset_named(form.preset)


def _build(form: HardwareFile, device: MemristorSpec, base: str | None, where: str | Path) -> Hardware:
    array, sense, tiles = form.array, form.sense, form.tiles
    word_ohm, bit_ohm, wires_source = form.wires.word_ohm or 0.0, form.wires.bit_ohm or 0.0, form.wires.source
    metal = form.wires.metal
    if metal is not None:
        word_ohm, bit_ohm = metal.segments_ohm
        wires_source = (
            f"{metal.metal} of {metal.resistivity_ohm_m:g} ohm m, {metal.width_m * 1e9:g} nm wide,"
            f" {metal.thickness_m * 1e9:g} nm thick; word lines every {metal.word_pitch_m * 1e9:g} nm, bit lines every"
            f" {metal.bit_pitch_m * 1e9:g} nm{'; ' if metal.source else ''}{metal.source}"
        )
    stem = re.sub(r"[^A-Za-z0-9._-]|^[._-]+", "-", Path(where).stem).strip("-._")[:100] or "hardware"
    file = Path(where).name
    return Hardware(
        name=form.name or stem,
        source=(f"{file}, from {base}" if base else file) if form.source is None else form.source,
        device=replace(
            device,
            g_min=array.g_min_siemens or device.g_min,
            g_max=array.g_max_siemens or device.g_max,
            read_v=form.device.read_voltage or device.read_v,
        ),
        cells=Cells(array.scheme, array.scale, array.levels, array.read_law, array.sinh_per_volt),
        wires=Wires(word_ohm, bit_ohm, form.drivers.output_ohm),
        wires_source=wires_source,
        amplifier=Amplifier(
            sense.kind,
            sense.feedback_ohm,
            sense.gain,
            sense.offset_v,
            math.inf if sense.swing_v is None else sense.swing_v,
        ),
        coding=form.input.coding,
        dac=_converter_spec(form.dac),
        adc=_converter_spec(form.adc),
        tiling=Tiling(
            None if tiles.rows == "all" else tiles.rows,
            None if tiles.columns == "all" else tiles.columns,
            tiles.partial_sums,
        ),
        gates=form.gates.where,
    )


def _converter_spec(form: DacSection) -> ConverterSpec:
    return ConverterSpec(form.bits, form.range, form.full_scale, form.noise_lsb, form.inl_lsb)
