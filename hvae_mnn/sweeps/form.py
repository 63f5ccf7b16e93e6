"""The keys of a sweep's TOML file with the types and values that each allows, and one line for each violation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hvae_mnn.cosim.export import CALIBRATIONS, DEFAULT_HARDWARE
from hvae_mnn.crossbar.hardware.problems import shown
from hvae_mnn.names import nearest, unknown_name
from hvae_mnn.sweeps.axes import LONGEST_RANGE
from hvae_mnn.text.corpus import SPLITS

SEEDS = 5
"""Default number of seeds per point."""
MOST_SEEDS = 10_000
AxisScale = Literal["linear", "log"]
_NAME = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
_A_NAME = "text of letters, digits, '.', '_' and '-', a letter or digit first, 100 at most"


class Form(BaseModel):
    """A table of the file. The description of a field is the end of a message: its allowed values."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class RangeForm(Form):
    """Values of an axis, given by both ends and the number of points."""

    first: float = Field(alias="from", description="a number")
    last: float = Field(alias="to", description="a number")
    points: int = Field(ge=2, le=LONGEST_RANGE, description=f"a whole number from 2 to {LONGEST_RANGE:,}")
    scale: AxisScale = Field("linear", description='"linear" or "log"')


class GridForm(Form):
    """A `[[grid]]`; paths and values of its settings are not checked yet."""

    name: _NAME = Field(description=_A_NAME)
    set: dict[str, Any] = Field(default_factory=dict, description="a table of settings")
    axes: dict[str, Any] = Field(default_factory=dict, description="a table: path = [values], or a range")
    zip: list[list[str]] = Field(default_factory=list, description='lists of paths, e.g. [["a", "b"]]')


class BaselineForm(Form):
    """The `[baseline]`."""

    name: _NAME = Field(description=_A_NAME)
    set: dict[str, Any] = Field(default_factory=dict, description="a table of settings")


class SweepForm(Form):
    """The whole file."""

    name: _NAME | None = Field(None, description=_A_NAME)
    models: dict[str, str] = Field(min_length=1, description='a table of at least one label = "checkpoint"')
    hardware: str = Field(DEFAULT_HARDWARE, description="the name of a preset, or a hardware file")
    split: str = Field("test", description=" or ".join(map(shown, SPLITS)))
    sentences: int | None = Field(None, ge=2, description="a whole number from 2 on; leave it out for all")
    calibration: str = Field("max", description=" or ".join(map(shown, CALIBRATIONS)))
    seeds: int | list[int] = Field(
        SEEDS, description=f"a number of seeds (1 to {MOST_SEEDS:,}), or a list of whole numbers"
    )
    metrics: list[str] | None = Field(None, description="a list of names")
    set: dict[str, Any] = Field(default_factory=dict, description="a table of settings")
    baseline: BaselineForm | None = Field(None, description="a table of name and set")
    grid: list[GridForm] = Field(default_factory=list, description="tables, each headed [[grid]]")


def form_problems(
    error: ValidationError, form: type[Form] = SweepForm, inside: str = "", what: str = "sweep file"
) -> Iterator[str]:
    """One line for each problem that pydantic reports of a `form`, with paths as the file writes them.

    `inside` is the path of the form's table, `what` the kind of file.
    """
    for problem in error.errors(include_url=False, include_context=False):
        if problem["loc"][-1] == "int" and isinstance(problem["input"], list):
            continue  # a list of seeds is checked by the union's other branch
        node: Any = form
        keys = [inside] if inside else []
        description, known = "", list[str]()
        for part in problem["loc"]:
            if part == "[key]":  # the name itself is wrong, which the path ends with
                break
            if isinstance(part, int):
                keys[-1] += f"[{part + 1}]"
            elif isinstance(node, type) and issubclass(node, BaseModel):
                names = {field.alias or name: field for name, field in node.model_fields.items()}
                known = list(names)
                keys.append(str(part))
                if part not in names:
                    break
                description, node = names[part].description or "", names[part].annotation
            elif get_origin(node) is dict:  # tables by a name that the file chooses
                keys.append(str(part))
                node = get_args(node)[1]
            elif part not in ("int", "list[int]"):  # branches of a union
                keys.append(str(part))
            if get_origin(node) is not dict:
                node = next((own for own in (node, *get_args(node)) if _is_form(own)), node)
        path = ".".join(keys)
        if problem["type"] == "extra_forbidden":
            yield unknown_name(f"key of a {what}", path, known, near=nearest(keys[-1], known))
        elif problem["type"] == "missing":
            yield f"{path} is missing; allowed: {description}"
        else:
            yield f"{path} is {shown(problem['input'])}; allowed: {description}"


def _is_form(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Form)
