"""Messages for unknown names: one wording for presets, options, keys, arrays, columns."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

_SHOWN, _LISTED = 60, 40
"""Largest number of characters of a wrong name, and of allowed names, in a message."""


def unknown_name(
    what: str, value: object, allowed: Iterable[str], *, listing: str | None = None, near: Sequence[str] | None = None
) -> str:
    """The message for a name outside `allowed`: the name found, the nearest name, all allowed names.

    `what` is the kind of name (`device preset`, `option`). `listing` replaces the list of allowed names, `near` the
    suggested names.
    """
    names = list(allowed)
    near = nearest(value, names) if near is None else near
    hint = f" did you mean {' or '.join(map(repr, near))}?" if near else ""
    return f"unknown {what} {quoted(value)};{hint} allowed: {listed(names) if listing is None else listing}"


def listed(names: Sequence[str]) -> str:
    """Names separated by commas, cut after the first ones if there are many."""
    if not names:
        return "none, as there are none"
    more = f", ... ({len(names)} in all)" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def nearest(value: object, names: Sequence[str]) -> list[str]:
    """The most probable intended name, ignoring case: the only one with this beginning, or else the most similar one. A
    list of at most one."""
    if not isinstance(value, str) or not value.strip() or len(value) > 2 * _SHOWN:
        return []
    by_folded = {name.casefold(): name for name in reversed(names)}  # the first of two names that differ only in case
    folded = value.strip().casefold()
    begun = [name for name in by_folded if name.startswith(folded)]
    near = begun if len(begun) == 1 else difflib.get_close_matches(folded, by_folded, 1)
    return [by_folded[name] for name in near]


def quoted(value: object) -> str:
    """A wrong value as Python writes it, on one line of bounded length."""
    if isinstance(value, str) and len(value) > _SHOWN:
        return f"{value[:_SHOWN]!r}..."
    try:
        text = repr(value)
    except ValueError:  # too many digits for Python
        return "a number of thousands of digits"
    return text if isinstance(value, str) or len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
