"""Messages for names that do not exist: one wording for presets, options, keys, arrays, columns."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

_SHOWN, _LISTED = 60, 40
"""Characters of a wrong name, and allowed names, that a message quotes."""


def unknown_name(
    what: str, found: object, allowed: Iterable[str], *, listing: str | None = None, near: Sequence[str] | None = None
) -> str:
    """The message for a name that is none of those `allowed`: what was found, the nearest name, all names.

    `what` says what it should name (`device preset`, `option`). `listing` stands in place of the list, where there is
    more to say; `near` in place of the names that are suggested.
    """
    names = list(allowed)
    near = nearest(found, names) if near is None else near
    hint = f" did you mean {' or '.join(map(repr, near))}?" if near else ""
    return f"unknown {what} {quoted(found)};{hint} allowed: {listed(names) if listing is None else listing}"


def listed(names: Sequence[str]) -> str:
    """Names with commas between them; of very many, the first."""
    if not names:
        return "none, as there are none"
    more = f", ... ({len(names)} in all)" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def nearest(found: object, names: Sequence[str]) -> list[str]:
    """The name that was probably meant, in whatever case: the only one that begins like it, or the most similar. At
    most one."""
    if not isinstance(found, str) or not found.strip() or len(found) > 2 * _SHOWN:
        return []
    by_folded = {name.casefold(): name for name in reversed(names)}  # of two that differ in case only, the first
    folded = found.strip().casefold()
    begun = [name for name in by_folded if name.startswith(folded)]
    near = begun if len(begun) == 1 else difflib.get_close_matches(folded, by_folded, 1)
    return [by_folded[name] for name in near]


def quoted(found: object) -> str:
    """A wrong value as Python writes it, on one line, not too long."""
    if isinstance(found, str) and len(found) > _SHOWN:
        return f"{found[:_SHOWN]!r}..."
    try:
        text = repr(found)
    except ValueError:  # more digits than Python prints
        return "a number of thousands of digits"
    return text if isinstance(found, str) or len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
