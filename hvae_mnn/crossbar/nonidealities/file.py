"""Non-idealities from nested tables of a TOML file, and back, with every value checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from hvae_mnn.crossbar.hardware.problems import shown
from hvae_mnn.crossbar.nonidealities.spec import (
    PROGRAMMING_KINDS,
    DeviceSpread,
    Drift,
    Nonidealities,
    Programming,
    ReadNoise,
    StuckCells,
    Temperature,
)
from hvae_mnn.errors import InputError
from hvae_mnn.names import nearest, unknown_name
from hvae_mnn.reading import parse_toml, read_toml

_SECTIONS = {
    "programming": Programming,
    "spread": DeviceSpread,
    "stuck": StuckCells,
    "drift": Drift,
    "read_noise": ReadNoise,
    "temperature": Temperature,
}
_LARGEST_SIGMA = 2.0
_RANGES: dict[str, tuple[float, float]] = {
    "programming.sigma": (0, _LARGEST_SIGMA),
    "programming.amplitude_v": (1e-3, 100),
    "programming.tolerance": (1e-6, 0.999),
    "programming.max_pulses": (1, 10_000),
    "programming.device_speed": (0, 1),
    "programming.cycle_speed": (0, 1),
    "programming.threshold": (0, 1),
    "spread.device_on": (0, _LARGEST_SIGMA),
    "spread.device_off": (0, _LARGEST_SIGMA),
    "spread.cycle_on": (0, _LARGEST_SIGMA),
    "spread.cycle_off": (0, _LARGEST_SIGMA),
    "stuck.on": (0, 1),
    "stuck.off": (0, 1),
    "drift.seconds": (0, 1e12),
    "drift.reference_s": (1e-9, 1e9),
    "drift.exponent": (0, 1),
    "drift.exponent_sigma": (0, 1),
    "read_noise.bandwidth_hz": (0, 1e12),
    "read_noise.flicker": (0, 1),
    "read_noise.low_hz": (1e-6, 1e12),
    "temperature.kelvin": (1, 1000),
    "temperature.reference_kelvin": (1, 1000),
    "temperature.wire_per_kelvin": (0, 0.1),
}
"""Least and largest value by key, both allowed."""

KEYS = tuple(f"{name}.{field.name}" for name, section in _SECTIONS.items() for field in fields(section))
"""Every key, as `section.name`."""


def nonidealities_from_dict(values: Mapping[str, Any], where: str) -> Nonidealities:
    """The description in nested tables. Effects that they do not name are off.

    `where` begins every message. Raises `InputError` with all problems at once.
    """
    problems: list[str] = []
    sections: dict[str, Any] = {}
    for name, table in values.items():
        if name not in _SECTIONS:
            problems.append(unknown_name("section of non-idealities", str(name), _SECTIONS))
        elif not isinstance(table, Mapping):
            problems.append(f"{name} is {shown(table)}; allowed: a table, e.g. [{name}]")
        else:
            section = {}
            for key, value in table.items():
                path = f"{name}.{key}"
                if path not in KEYS:
                    own = [known for known in KEYS if known.startswith(f"{name}.")]
                    problems.append(unknown_name("non-ideality", path, own, near=nearest(path, KEYS)))
                    continue
                problem, section[key] = _checked(path, value)
                problems += [problem] if problem else []
            sections[name] = section
    if not problems:
        spec = Nonidealities(**{name: _SECTIONS[name](**section) for name, section in sections.items()})
        problems = _together(spec)
    if problems:
        raise InputError.of(where, problems)
    return spec


def read_nonidealities(path: Path | None, changes: Sequence[str] = ()) -> Nonidealities:
    """The description in a TOML file (None: nothing), with `section.key=value` changes laid over it.

    Raises `InputError` for a file that cannot be read, and for every value that is not allowed.
    """
    values: dict[str, Any] = {}
    if path is not None:
        try:
            values = read_toml(path, "noise file")
        except InputError as error:
            raise InputError(f"{error} (docs/nonidealities.md has an example)") from None
    for change in changes:
        name, equals, text = change.partition("=")
        section, dot, key = name.strip().partition(".")
        if not equals or not dot:
            raise InputError(f"{change!r} is not a change; write section.key=value, e.g. programming.sigma=0.1")
        table = values.setdefault(section, {})
        if isinstance(table, dict):
            table[key] = _value(text.strip())
    return nonidealities_from_dict(values, str(path or "noise"))


def _value(text: str) -> Any:
    """A TOML value, or plain text if it is not one."""
    try:
        return parse_toml(f"value = {text}", "")["value"]
    except InputError:
        return text


def nonidealities_to_dict(spec: Nonidealities) -> dict[str, Any]:
    """Every key with its value, as `nonidealities_from_dict` takes them."""
    return asdict(spec)


def check(spec: Nonidealities, where: str = "noise") -> None:
    """Raise `InputError` for a description, made in Python, with values outside their range."""
    nonidealities_from_dict(nonidealities_to_dict(spec), where)


def _checked(path: str, value: Any) -> tuple[str, Any]:
    """The problem ("" if there is none) and the value."""
    if path == "programming.error":
        if value not in PROGRAMMING_KINDS:
            return unknown_name(path, value, PROGRAMMING_KINDS), None
        return "", value
    if path in ("programming.open_loop", "read_noise.thermal"):
        return ("" if isinstance(value, bool) else f"{path} is {shown(value)}; allowed: true, false"), value
    low, high = _RANGES[path]
    whole = path == "programming.max_pulses"
    kind = "a whole number" if whole else "a number"
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        return f"{path} is {shown(value)}; allowed: {kind} from {low:g} to {high:g}", None
    if not low <= value <= high:  # also false for NaN
        return f"{path} is {shown(value)}; allowed: {kind} from {low:g} to {high:g}", None
    return "", value if whole else float(value)


def _together(spec: Nonidealities) -> list[str]:
    """Problems of values that contradict each other."""
    problems = []
    programming, noise = spec.programming, spec.read_noise
    if programming.sigma and programming.error not in ("lognormal", "gaussian"):
        problems.append(
            f"programming.sigma is {programming.sigma:g} with programming.error {programming.error!r}; choose"
            " 'lognormal' or 'gaussian'"
        )
    if spec.stuck.on + spec.stuck.off > 1:
        problems.append(f"stuck.on + stuck.off is {spec.stuck.on + spec.stuck.off:g}; allowed: 1 at most")
    if noise.is_on and noise.bandwidth_hz <= 0:
        problems.append("read_noise.bandwidth_hz is 0; noise needs a bandwidth above 0 Hz")
    elif noise.flicker and noise.low_hz >= noise.bandwidth_hz:
        problems.append(
            f"read_noise.low_hz is {noise.low_hz:g}; allowed: below read_noise.bandwidth_hz, {noise.bandwidth_hz:g}"
        )
    factor = 1 + spec.temperature.wire_per_kelvin * (spec.temperature.kelvin - spec.temperature.reference_kelvin)
    if factor <= 0:
        problems.append(
            f"temperature.kelvin is {spec.temperature.kelvin:g}: wires would have {factor:g} of their resistance; the"
            " linear law does not hold there"
        )
    return problems
