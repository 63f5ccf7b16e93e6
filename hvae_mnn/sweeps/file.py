"""A sweep as a TOML file: which models, which hardware, and the grids of settings that are run."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hvae_mnn.cosim.export import CALIBRATIONS, DEFAULT_HARDWARE
from hvae_mnn.crossbar.hardware.presets import HARDWARE_PRESETS
from hvae_mnn.crossbar.hardware.problems import shown
from hvae_mnn.errors import InputError
from hvae_mnn.evaluation.text_metrics import METRICS
from hvae_mnn.names import nearest, unknown_name
from hvae_mnn.reading import SETTINGS_BYTES, absolute, is_file, is_missing, parse_toml, read_text
from hvae_mnn.reading import shown as shown_path
from hvae_mnn.sweeps.axes import HARDWARE, LONGEST_RANGE, MODEL, PATHS, Grid, PointSettings, spaced, unknown_path
from hvae_mnn.text.corpus import SPLITS

SEEDS = 5
"""How many seeds every point gets, unless the file says otherwise."""
_MOST_SEEDS = 10_000
AxisScale = Literal["linear", "log"]
_NAME = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
_A_NAME = "text of letters, digits, '.', '_' and '-', a letter or digit first, 100 at most"


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class _Range(_Form):
    first: float = Field(alias="from", description="a number")
    last: float = Field(alias="to", description="a number")
    points: int = Field(ge=2, le=LONGEST_RANGE, description=f"a whole number from 2 to {LONGEST_RANGE:,}")
    scale: AxisScale = Field("linear", description='"linear" or "log"')


class _Grid(_Form):
    name: _NAME = Field(description=_A_NAME)
    set: dict[str, Any] = Field(default_factory=dict, description="a table of settings")
    axes: dict[str, Any] = Field(default_factory=dict, description="a table: path = [values], or a range")
    zip: list[list[str]] = Field(default_factory=list, description='lists of paths, e.g. [["a", "b"]]')


class _Baseline(_Form):
    name: _NAME = Field(description=_A_NAME)
    set: dict[str, Any] = Field(default_factory=dict, description="a table of settings")


class _Sweep(_Form):
    name: _NAME | None = Field(None, description=_A_NAME)
    models: dict[str, str] = Field(min_length=1, description='a table of at least one label = "checkpoint"')
    hardware: str = Field(DEFAULT_HARDWARE, description="the name of a preset, or a hardware file")
    split: str = Field("test", description=" or ".join(map(shown, SPLITS)))
    sentences: int | None = Field(None, ge=2, description="a whole number from 2 on; leave it out for all")
    calibration: str = Field("max", description=" or ".join(map(shown, CALIBRATIONS)))
    seeds: int | list[int] = Field(SEEDS, description=f"how many (1 to {_MOST_SEEDS:,}), or a list of whole numbers")
    metrics: list[str] | None = Field(None, description="a list of names")
    set: dict[str, Any] = Field(default_factory=dict, description="a table of settings")
    baseline: _Baseline | None = Field(None, description="a table of name and set")
    grid: list[_Grid] = Field(default_factory=list, description="tables, each headed [[grid]]")


@dataclass(frozen=True)
class SweepFile:
    """What a file says, checked; settings have not met the hardware yet."""

    path: Path
    text: str
    """The file's own, as it was read."""
    name: str
    models: Mapping[str, Path]
    """Checkpoints by label."""
    hardware: str
    """Of all points: a preset, or a file; see `place`."""
    split: str
    sentences: int | None
    """The first so many; None: all."""
    calibration: str
    seeds: tuple[int, ...]
    metrics: tuple[str, ...]
    """Names in `vae.text_metrics.METRICS`."""
    settings: PointSettings
    """Of all points."""
    baseline: Grid | None
    """A point to compare with, without axes."""
    grids: tuple[Grid, ...]

    def place(self, name: str) -> Path:
        """Where a file that this one names is: beside it, or else from the working folder on."""
        return next((place for place in _places(self.path, name) if is_file(place)), Path(name))

    @property
    def all_grids(self) -> tuple[Grid, ...]:
        """With the baseline as a grid of one point."""
        return (() if self.baseline is None else (self.baseline,)) + self.grids

    def models_of(self, grid: Grid) -> tuple[str, ...]:
        """Labels that a grid's points run through besides its axes: all, unless `model` is set or is an axis."""
        chosen = MODEL in grid.axes or MODEL in grid.settings or MODEL in self.settings
        return () if chosen else tuple(self.models)

    def count(self, grid: Grid) -> int:
        """Points and seeds of a grid."""
        return grid.count * max(1, len(self.models_of(grid))) * len(self.seeds)


def seeds_of(count: int) -> tuple[int, ...]:
    """The first so many; raises `InputError` for a count that is none."""
    if not 1 <= count <= _MOST_SEEDS:
        raise InputError(f"seeds is {count}; allowed is 1 to {_MOST_SEEDS:,}")
    return tuple(range(count))


def read_sweep(path: Path) -> SweepFile:
    """Read and check a file. Raises `InputError`, a line for every problem."""
    stored, text = _toml(path)
    try:
        form = _Sweep.model_validate(stored)
    except ValidationError as error:
        raise InputError.of(path, list(dict.fromkeys(_lines(error)))) from None
    reader = _Reader(path, text)
    found = reader.sweep(form)
    if reader.problems:
        raise InputError.of(path, reader.problems)
    return found


def _places(path: Path, name: str) -> list[Path]:
    return [absolute(path.parent / name), absolute(Path(name))]


def _toml(path: Path) -> tuple[dict[str, Any], str]:
    """What the file says, and its text."""
    if is_missing(path):
        raise InputError(f"no sweep file at {shown_path(path)}; name a TOML file (docs/sweep.md has an example)")
    text = read_text(path, SETTINGS_BYTES, "sweep file")
    return parse_toml(text, shown_path(path)), text


def _lines(error: ValidationError, inside: str = "", form: type[_Form] = _Sweep) -> Iterator[str]:
    """What pydantic found, in a file's words."""
    for problem in error.errors(include_url=False, include_context=False):
        if problem["loc"][-1] == "int" and isinstance(problem["input"], list):
            continue  # a list is the other thing that seeds can be
        node: Any = form
        keys = [inside] if inside else []
        description, known = "", list[str]()
        for part in problem["loc"]:
            if isinstance(part, int):
                keys[-1] += f"[{part + 1}]"
            elif isinstance(node, type) and issubclass(node, BaseModel):
                names = {field.alias or name: field for name, field in node.model_fields.items()}
                known = list(names)
                keys.append(str(part))
                if part not in names:
                    break
                description, node = names[part].description or "", names[part].annotation
            elif part not in ("int", "list[int]"):  # branches of a union
                keys.append(str(part))
            node = next((own for own in (node, *get_args(node)) if own in _FORMS), node)
        path = ".".join(keys)
        if problem["type"] == "extra_forbidden":
            yield unknown_name("key of a sweep file", path, known, near=nearest(keys[-1], known))
        elif problem["type"] == "missing":
            yield f"{path} is missing; needed is {description}"
        else:
            yield f"{path} is {shown(problem['input'])}; allowed is {description}"


_FORMS = (_Grid, _Baseline, _Range, _Sweep)


class _Reader:
    """Turns forms into what they mean, and collects what is wrong."""

    def __init__(self, path: Path, text: str) -> None:
        self.path, self.text = path, text
        self.problems: list[str] = []

    def sweep(self, form: _Sweep) -> SweepFile:
        if form.split not in SPLITS:
            self._say(unknown_name("split", form.split, SPLITS))
        if form.calibration not in CALIBRATIONS:
            self._say(unknown_name("calibration", form.calibration, CALIBRATIONS))
        grids = tuple(self._grid(grid, form) for grid in form.grid)
        if not grids and form.baseline is None:
            self._say("the grid is empty: there is no [[grid]] and no [baseline]; give at least one of them")
        baseline = None
        if form.baseline is not None:
            common = self._settings(form.baseline.set, "baseline.set", form)
            baseline = Grid(form.baseline.name, {}, common)
        names = [grid.name for grid in grids] + ([baseline.name] if baseline else [])
        for name, count in Counter(names).items():
            if count > 1:
                self._say(f"the grids' name {shown(name)} occurs {count} times; give each its own")
        return SweepFile(
            path=self.path,
            text=self.text,
            name=form.name or self._own_name(),
            models=self._models(form.models),
            hardware=self._hardware(form.hardware, "hardware"),
            split=form.split,
            sentences=form.sentences,
            calibration=form.calibration,
            seeds=self._seeds(form.seeds),
            metrics=self._metrics(form.metrics),
            settings=self._settings(form.set, "set", form),
            baseline=baseline,
            grids=grids,
        )

    def _say(self, line: str) -> None:
        self.problems.append(line)

    def _own_name(self) -> str:
        name = "".join(letter if letter.isalnum() and letter.isascii() else "-" for letter in self.path.stem)
        return name.strip("-")[:100] or "sweep"

    def _models(self, given: Mapping[str, str]) -> dict[str, Path]:
        found = {}
        for label, name in given.items():
            if not label.strip():
                self._say('models: a label is empty; give it a name, as in models = { base = "checkpoint.pt" }')
            places = _places(self.path, name)
            found[label] = next((place for place in places if is_file(place)), places[0])
            if not is_file(found[label]):
                tried = " and ".join(dict.fromkeys(map(shown_path, places)))
                self._say(f"models.{label}: no checkpoint at {tried}; give the path of one, from this file on")
        return found

    def _hardware(self, name: Any, where: str) -> Any:
        """The name of a preset or of a file that is there."""
        if not isinstance(name, str):
            self._say(f"{where} is {shown(name)}; allowed is the name of a preset, or a hardware file")
            return name
        places = _places(self.path, name)
        if name not in HARDWARE_PRESETS and not any(map(is_file, places)):
            tried = " and ".join(dict.fromkeys(map(shown_path, places)))
            presets = f"{', '.join(HARDWARE_PRESETS)}, or a TOML file (looked for at {tried})"
            self._say(f"{where}: {unknown_name('hardware preset', name, HARDWARE_PRESETS, listing=presets)}")
        return name

    def _seeds(self, given: int | list[int]) -> tuple[int, ...]:
        if isinstance(given, int):
            if 1 <= given <= _MOST_SEEDS:
                return seeds_of(given)
            self._say(f"seeds is {given}; allowed is 1 to {_MOST_SEEDS:,}, or a list of whole numbers")
        elif not given:
            self._say("seeds is an empty list; give at least one, or how many")
        elif len(set(given)) < len(given):
            self._say("seeds holds a number twice; give each once")
        elif not all(0 <= seed < 2**63 for seed in given):
            self._say("seeds holds a number that is no seed; allowed is 0 to 2^63 - 1")
        else:
            return tuple(given)
        return ()

    def _metrics(self, given: list[str] | None) -> tuple[str, ...]:
        if given is None:
            return tuple(METRICS)
        if not given:
            self._say("metrics is an empty list; give at least one, or leave it out for all")
        for name in dict.fromkeys(given):
            if name not in METRICS:
                self._say(unknown_name("metric", name, METRICS))
        return tuple(name for name in METRICS if name in given)

    def _grid(self, form: _Grid, sweep: _Sweep) -> Grid:
        where = f"grid {form.name}"
        axes = {}
        for path, given in _flat(form.axes, leaves=_is_range):
            values = self._values(given, f"{where}: {path}")
            axes[path] = tuple(self._value(path, value, where, sweep) for value in values)
        if not axes:
            self._say(f"{where} is empty: it has no axes; give axes, or make it the [baseline]")
        for path in axes:
            if path not in PATHS:
                self._say(f"{where}: {unknown_path(path)}")
        zipped = tuple(tuple(group) for group in form.zip)
        for path, count in Counter(path for group in zipped for path in group).items():
            if path not in axes:
                self._say(f"{where}: zip: {unknown_name('axis', path, axes)}")
            if count > 1:
                self._say(f"{where}: zip names {shown(path)} twice; an axis advances with one group")
        for group in zipped:
            lengths = [len(axes[path]) for path in group if path in axes]
            if len(set(lengths)) > 1:
                found = ", ".join(f"{path} {length}" for path, length in zip(group, lengths, strict=False))
                self._say(f"{where}: axes that advance together need equally many values; they have {found}")
        common = self._settings(form.set, f"{where}: set", sweep)
        for path in axes.keys() & common.keys():
            self._say(f"{where}: {path} is set and is an axis; keep one of the two")
        return Grid(form.name, axes, common, tuple(group for group in zipped if group))

    def _values(self, given: Any, where: str) -> tuple[Any, ...]:
        """Those of an axis."""
        if isinstance(given, Mapping):
            return self._range(given, where)
        if not isinstance(given, list):
            self._say(f"{where} is {shown(given)}; allowed is a list of values, or {{from, to, points, scale}}")
            return ()
        if not given:
            self._say(f"{where} is an empty list; give at least one value")
        if len(given) > LONGEST_RANGE:
            self._say(f"{where} has {len(given):,} values; allowed: {LONGEST_RANGE:,}")
        seen: set[Any] = set()
        repeated = [value for value in given if _setting(value) in seen or seen.add(_setting(value))]  # type: ignore[func-returns-value]
        for value in repeated[:1]:
            self._say(f"{where} holds {shown(value)} twice; give each value once")
        return tuple(given)

    def _range(self, given: Mapping[str, Any], where: str) -> tuple[Any, ...]:
        try:
            form = _Range.model_validate(given)
        except ValidationError as error:
            self.problems += dict.fromkeys(_lines(error, where, _Range))
            return ()
        if form.scale == "log" and not (form.first > 0 and form.last > 0):
            self._say(f"{where}: a log scale from {form.first:g} to {form.last:g}; both ends must be above 0")
            return ()
        if form.first == form.last:
            self._say(f"{where}: the range begins and ends at {form.first:g}; give two different ends, or a list")
            return ()
        return spaced(given["from"], given["to"], form.points, form.scale)

    def _settings(self, given: Mapping[str, Any], where: str, sweep: _Sweep) -> dict[str, Any]:
        found = {}
        for path, value in _flat(given):
            if path not in PATHS:
                self._say(f"{where}: {unknown_path(path)}")
            found[path] = self._value(path, value, where, sweep)
        return found

    def _value(self, path: str, value: Any, where: str, sweep: _Sweep) -> Any:
        """A value of a setting, as far as it can be checked before the others are known."""
        if path == MODEL and value not in sweep.models:
            self._say(f"{where}: {unknown_name('model', value, sweep.models)}")
        if path == HARDWARE:
            return self._hardware(value, f"{where}: hardware")
        if not isinstance(value, str | int | float) or (isinstance(value, float) and not math.isfinite(value)):
            self._say(f"{where}: {path} is {shown(value)}; allowed is a number, true or false, or text")
        return value


def _setting(value: Any) -> tuple[bool, Any]:
    """What equal settings have in common: 1 and 1.0 are the same, 1 and true are not."""
    return isinstance(value, bool), value if isinstance(value, str | int | float) else repr(value)


def _is_range(table: Mapping[str, Any]) -> bool:
    return "from" in table or "to" in table or "points" in table or not table


def _flat(
    table: Mapping[str, Any], before: str = "", leaves: Any = lambda table: not table
) -> Iterator[tuple[str, Any]]:
    """Values by path: TOML makes tables of dots outside quotes."""
    for key, value in table.items():
        if isinstance(value, Mapping) and not leaves(value):
            yield from _flat(value, f"{before}{key}.", leaves)
        else:
            yield f"{before}{key}", value
