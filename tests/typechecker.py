"""What checks the types and shapes of annotations while tests run (`pytest --jaxtyping-packages`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from beartype import BeartypeConf, beartype

_CONF = BeartypeConf(is_pep484_tower=True)  # an int is a float, as for mypy


def check(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, with its parameters and results checked."""
    checked: Callable[..., Any] = beartype(function, conf=_CONF)
    return checked
