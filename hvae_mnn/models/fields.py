"""Checks of the fields of a spec: whole numbers, numbers, flags and names of choices."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import Field, fields
from typing import Any, cast

from hvae_mnn.errors import InputError
from hvae_mnn.names import quoted, unknown_name

LARGEST_COUNT = 1_000_000_000
"""More than any machine can hold; products of such sizes still fit the size of an array."""
_LARGEST_NUMBER = 1e100


def known_fields(spec: Any, values: Mapping[str, Any], later: Collection[str]) -> dict[str, Any]:
    """The stored `values` of the dataclass `spec`; fields `later` than the first version may be absent.

    Raises `InputError` for missing and unknown fields.
    """
    declared: Sequence[Field[Any]] = fields(spec)
    names = [field.name for field in declared]
    foreign = sorted(str(name) for name in set(values) - set(names))
    missing = [name for name in names if name not in values and name not in later]
    if foreign or missing:
        problem = f"unknown field {quoted(foreign[0])}" if foreign else f"no field {missing[0]!r}"
        raise InputError(f"{spec.__name__} has {problem}")
    return dict(values)


def check_choice(name: str, value: object, allowed: Collection[str]) -> None:
    """Refuse what is none of the `allowed` names. Raises `InputError`."""
    if not isinstance(value, str) or value not in allowed:
        raise InputError(unknown_name(name, value, allowed))


def check_whole(name: str, value: object, least: int, most: int) -> None:
    """Refuse what is no whole number from `least` to `most`. Raises `InputError`."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise InputError(f"{name} is {quoted(value)}; allowed: a whole number from {least} to {most:,}")


def check_flag(name: str, value: object) -> None:
    """Refuse what is neither True nor False. Raises `InputError`."""
    if not isinstance(value, bool):
        raise InputError(f"{name} is {quoted(value)}; allowed: True or False")


def check_number(name: str, value: object, least: float, above: bool = False, below: float | None = None) -> None:
    """Refuse what is no finite number of at least (or `above`) `least`, and `below` a bound. Raises `InputError`."""
    usable = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST_NUMBER
    if usable:
        number = float(cast("float", value))
        usable = (number > least if above else number >= least) and (below is None or number < below)
    if not usable:
        bounds = f"above {least:g}" if above else f"at least {least:g}"
        bounds += f" and below {below:g}" if below is not None else ""
        raise InputError(f"{name} is {quoted(value)}; allowed: a finite number {bounds}")
