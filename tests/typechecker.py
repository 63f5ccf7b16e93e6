"""What checks the shapes of arrays that annotations state, while tests run (`pytest --jaxtyping-packages`)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from beartype import BeartypeConf, beartype

_CONF = BeartypeConf(is_pep484_tower=True)  # an int is a float, as for mypy
_SHAPE = re.compile(r"\b(Bool|Float|Float64|Int|Int64)\[")


def check(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with its parameters and results checked, if a parameter or the result has a shape.

    mypy checks all other types.
    """
    if not any(_SHAPE.search(str(hint)) for hint in function.__annotations__.values()):
        return function
    checked: Callable[..., Any] = beartype(function, conf=_CONF)
    return checked
