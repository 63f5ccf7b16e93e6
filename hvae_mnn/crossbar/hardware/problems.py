"""Checks of a hardware file, for single keys and for combinations of keys; each problem is one line of text."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from datetime import date, time
from typing import Any

from pydantic import BaseModel, ValidationError

from hvae_mnn.crossbar.hardware.schema import DacSection, HardwareFile, MetalSection, hardware_schema
from hvae_mnn.devices.memristor import MemristorSpec
from hvae_mnn.names import nearest, unknown_name

Table = dict[str, Any]
DEVICE_KEYS = ("preset", "file", "spec")
_SHOWN = 60
"""Largest number of characters of a wrong value in a message."""
_ROUNDING = 1 + 1e-9
_LARGEST_OHM = 1e9


def table_at(table: Table, name: str) -> Table:
    """The table with this name, or an empty one."""
    value = table.get(name)
    return value if isinstance(value, dict) else {}


def copied(table: Mapping[str, Any], depth: int = 3) -> Table:
    """A copy of all tables of a hardware file, without keys whose value is None."""
    return {
        key: copied(value, depth - 1) if depth > 1 and isinstance(value, Mapping) else value
        for key, value in table.items()
        if value is not None
    }


def validated(merged: Table) -> tuple[HardwareFile, set[str], list[str]]:
    """The form with all valid values, the paths of the invalid ones, and one line for each of these."""
    schema = hardware_schema()
    table = copied(merged)
    lines: dict[str, str] = {}
    bad: set[str] = set()
    while True:
        try:
            return HardwareFile.model_validate(table), bad, list(lines.values())
        except ValidationError as error:
            seen = set()
            for problem in error.errors(include_url=False, include_context=False, include_input=False):
                keys, node = _keys_and_node(schema, problem["loc"])
                path = _path(keys)
                if path in seen:  # each branch of a union reports
                    continue
                seen.add(path)
                if path not in lines:  # else it was removed as invalid, and is now missing
                    lines[path] = _key_line(schema, merged, keys, node, problem["type"])
                bad.add(_path(_drop(table, keys)))


def _keys_and_node(schema: Table, loc: tuple[int | str, ...]) -> tuple[list[str], Table | None]:
    """The keys of a pydantic location, without branches of unions, and their schema node (None for an unknown key)."""
    node, keys = schema, list[str]()
    for part in loc:
        if "properties" not in node:
            break
        keys.append(str(part))
        if part not in node["properties"]:
            return keys, None
        node = _resolved(schema, node["properties"][part])
    return keys, node


def _resolved(schema: Table, node: Table) -> Table:
    reference = node.get("$ref")
    return node if reference is None else {**schema["$defs"][reference.rpartition("/")[2]], **node}


def _drop(table: Table, keys: list[str]) -> list[str]:
    """Remove the value at `keys`, or, if it is missing, the table that should hold it. Returns the path removed."""
    inner = table
    for key in keys[:-1]:
        if key not in inner:  # removed already
            return keys
        inner = inner[key]
    if keys[-1] not in inner:
        return _drop(table, keys[:-1])
    inner.pop(keys[-1])
    return keys


def _key_line(schema: Table, merged: Table, keys: list[str], node: Table | None, kind: str) -> str:
    if node is None:
        return _unknown_key(schema, keys)
    value: Any = merged
    for key in keys[:-1] if kind == "missing" else keys:
        value = value[key]
    if kind == "missing":
        return f"{_path(keys)} is missing; allowed: {_allowed(schema, node)}"
    if isinstance(value, str) and "enum" in node:
        return unknown_name(_path(keys), value, node["enum"])
    return f"{_path(keys)} is {shown(value)}; allowed: {_allowed(schema, node)}"


def _unknown_key(schema: Table, keys: list[str]) -> str:
    """Message for an unknown key: the nearest key of its table, or keys of this name in other tables."""
    node = _keys_and_node(schema, tuple(keys[:-1]))[1] or schema
    near = [_path([*keys[:-1], name]) for name in nearest(keys[-1], list(node["properties"]))]
    if not near:
        tables = {name: _resolved(schema, part).get("properties", {}) for name, part in schema["properties"].items()}
        near = [f"{name}.{keys[-1]}" for name, properties in tables.items() if keys[-1] in properties]
    return unknown_name("key of a hardware file", ".".join(keys), node["properties"], near=near)


def _allowed(schema: Table, node: Table) -> str:
    if "anyOf" in node:
        return " or ".join(_allowed(schema, part) for part in node["anyOf"])
    if "const" in node:
        return shown(node["const"])
    if "enum" in node:
        return " or ".join(shown(value) for value in node["enum"])
    if node["type"] == "object":
        return f"a table of {', '.join(node['properties'])}" if "properties" in node else "a table"
    if node["type"] == "string":
        if "pattern" in node:
            return "text of letters, digits, '.', '_' and '-', a letter or digit first, 100 at most"
        return "text" + (f" of at most {node['maxLength']} characters" if "maxLength" in node else "")
    text, style = ("a whole number", ",") if node["type"] == "integer" else ("a number", "g")
    if "minimum" in node:
        text += f" from {node['minimum']:{style}}"
    if "exclusiveMinimum" in node:
        text += f" above {node['exclusiveMinimum']:{style}}"
    if "maximum" in node:
        text += f"{' to' if 'minimum' in node else ', up to'} {node['maximum']:{style}}"
    if "not" in node:
        text += f" other than {node['not']['const']}"
    return text + (f" ({node['unit']})" if "unit" in node else "")


def _path(keys: list[str]) -> str:
    return ".".join(key if re.fullmatch(r"[A-Za-z0-9_-]{1,60}", key) else shown(key) for key in keys)


def shown(value: Any) -> str:
    """A value as a file would write it, shortened."""
    if isinstance(value, Mapping | BaseModel):
        return "a table"
    if isinstance(value, list | tuple):
        return "an array"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, date | time):
        return str(value)
    try:
        text = json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)
    except ValueError:  # too many digits for Python
        return "a number of thousands of digits"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def touches(path: str, bad: set[str]) -> bool:
    """Whether one of the paths `bad` equals, contains or lies within `path`."""
    return any(f"{path}.".startswith(f"{wrong}.") or f"{wrong}.".startswith(f"{path}.") for wrong in bad)


def found_text(form: HardwareFile, path: str, merged: Table, own: Table) -> str:
    """The value at a path and its origin: the file's `own` tables, its base (in `merged`), or a default."""
    value: Any = form
    for key in path.split("."):
        value = getattr(value, key)
    if value is None:
        return f"{path} is missing"
    section, _, key = path.partition(".")
    key = key.partition(".")[0]
    origin = "" if key in table_at(own, section) else " (default)"
    if origin and key in table_at(merged, section):
        origin = f" (from base {own['base']})"
    return f"{path} is {shown(value)}{origin}"


def exclusive(merged: Table) -> Iterator[str]:
    """Problems of keys that exclude each other."""
    devices = [f"device.{key}" for key in DEVICE_KEYS if key in table_at(merged, "device")]
    if len(devices) > 1:
        yield f"{' and '.join(devices)} each name a device; keep one of them"
    wires = table_at(merged, "wires")
    for key in ("word_ohm", "bit_ohm"):
        if "metal" in wires and key in wires:
            yield f"wires.{key} and wires.metal both give a resistance; keep one of them"
    if "metal" in wires and "source" in wires:
        yield "wires.source belongs to word_ohm and bit_ohm; give the source of a geometry in wires.metal.source"


def contradictions(form: HardwareFile, device: MemristorSpec | None) -> Iterator[tuple[tuple[str, ...], str]]:
    """Paths whose values contradict each other, and the remedy."""
    yield from _range_of_conductance(form, device)
    if form.array.read_law == "sinh" and not form.array.sinh_per_volt:
        yield ("array.read_law", "array.sinh_per_volt"), "give a sinh_per_volt above 0 (1/V)"
    if form.array.read_law == "ohmic" and form.array.sinh_per_volt:
        yield ("array.read_law", "array.sinh_per_volt"), 'leave it out, or give read_law = "sinh"'
    if form.array.read_law == "sinh" and math.isfinite(form.sense.swing_v or math.inf):
        yield (
            ("array.read_law", "sense.swing_v"),
            "such cells are solved for outputs that do not clip: leave it out",
        )
    if form.gates.where == "circuit" and form.adc.range == "fixed":
        yield (
            ("gates.where", "adc.range"),
            "behind analog gates the ADC converts hidden states, from -1 to 1: choose calibrated",
        )
    if form.wires.metal is not None:
        yield from _geometry(form.wires.metal)
    amplifier = ("feedback_ohm", "gain")
    if form.sense.kind == "transimpedance":
        for key in amplifier:
            if not getattr(form.sense, key):
                yield ("sense.kind", f"sense.{key}"), f"give a {key} above 0"
    else:
        for key in (*amplifier, "offset_v", "swing_v"):
            value = getattr(form.sense, key)
            if value and value != math.inf:
                yield ("sense.kind", f"sense.{key}"), f'leave out {key}, or give kind = "transimpedance"'
    yield from _converter(form.dac, "dac")
    yield from _converter(form.adc, "adc")
    if form.tiles.partial_sums == "after_adc":
        numbers = "tiles.partial_sums"
        if form.adc.bits == 0:
            yield (numbers, "adc.bits"), 'numbers need an ADC: give it 2 to 24 bits, or partial_sums = "before_adc"'
        if form.tiles.rows == "all":
            yield (numbers, "tiles.rows"), 'there is nothing to add: give tiles.rows, or partial_sums = "before_adc"'
        if form.gates.where == "circuit":
            yield (
                (numbers, "gates.where"),
                'numbers cannot feed an analog gate: give partial_sums = "before_adc", or gates in software',
            )


def _range_of_conductance(form: HardwareFile, device: MemristorSpec | None) -> Iterator[tuple[tuple[str, ...], str]]:
    given = {"array.g_min_siemens": form.array.g_min_siemens, "array.g_max_siemens": form.array.g_max_siemens}
    values = [value for value in given.values() if value is not None]
    if device is not None:
        low, high = 1 / device.r_off_ohm, 1 / device.r_on_ohm
        outside = {
            path: value
            for path, value in given.items()
            if value is not None and not low <= value * _ROUNDING <= high * _ROUNDING**2
        }
        for path in outside:
            yield (path,), f"allowed: {low:g} to {high:g} S (1/R_off to 1/R_on of {device.name})"
        if outside:
            return
        values = [form.array.g_min_siemens or device.g_min, form.array.g_max_siemens or device.g_max]
    if len(values) == 2 and values[0] >= values[1]:
        paths = tuple(path for path, value in given.items() if value is not None)
        yield paths, f"g_min is {values[0]:g} and g_max is {values[1]:g} S; allowed: g_min < g_max"


def _geometry(metal: MetalSection) -> Iterator[tuple[tuple[str, ...], str]]:
    for key in ("word_pitch_m", "bit_pitch_m"):
        if getattr(metal, key) <= metal.width_m:
            yield (f"wires.metal.{key}", "wires.metal.width_m"), "lines would touch; allowed: a pitch above the width"
    if max(metal.segments_ohm) > _LARGEST_OHM:
        yield (
            ("wires.metal",),
            f"it gives segments of {max(metal.segments_ohm):g} ohm; allowed: {_LARGEST_OHM:g} at most",
        )


def _converter(spec: DacSection, section: str) -> Iterator[tuple[tuple[str, ...], str]]:
    limits = (f"{section}.range", f"{section}.full_scale")
    if spec.range == "fixed" and spec.full_scale is None:
        yield limits, "give a full_scale above 0, or another range"
    if spec.range != "fixed" and spec.full_scale is not None:
        yield limits, 'leave out full_scale, or give range = "fixed"'
    largest_code = 2 ** (spec.bits - 1) - 1 if spec.bits else 0
    for key in ("noise_lsb", "inl_lsb"):
        if getattr(spec, key) and not spec.bits:
            yield (f"{section}.bits", f"{section}.{key}"), f"no converter has no steps: leave out {key}, or give bits"
    if spec.bits and spec.inl_lsb * math.pi >= largest_code:
        yield (
            (f"{section}.bits", f"{section}.inl_lsb"),
            f"the characteristic would not rise everywhere; allowed: below {largest_code / math.pi:.4g} steps",
        )
