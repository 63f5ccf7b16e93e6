"""A sweep read from a TOML file: models, hardware, and grids of settings."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hvae_mnn.cosim.export import CALIBRATIONS
from hvae_mnn.crossbar.hardware.presets import HARDWARE_PRESETS
from hvae_mnn.crossbar.hardware.problems import shown
from hvae_mnn.errors import InputError
from hvae_mnn.evaluation.text_metrics import METRICS
from hvae_mnn.names import unknown_name
from hvae_mnn.reading import SETTINGS_BYTES, absolute, is_file, is_missing, parse_toml, read_text
from hvae_mnn.reading import shown as shown_path
from hvae_mnn.sweeps.axes import HARDWARE, LONGEST_RANGE, MODEL, PATHS, Grid, PointSettings, spaced, unknown_path
from hvae_mnn.sweeps.form import MOST_SEEDS, GridForm, RangeForm, SweepForm, form_problems
from hvae_mnn.text.corpus import SPLITS


@dataclass(frozen=True)
class SweepFile:
    """Content of a sweep's file, checked except for settings that depend on the hardware."""

    path: Path
    text: str
    """Unchanged text of the file."""
    name: str
    models: Mapping[str, Path]
    """Checkpoints by label."""
    hardware: str
    """Base hardware of all points: a preset, or a file for `path_of`."""
    split: str
    sentences: int | None
    """Number of sentences, from the first on; None: all."""
    calibration: str
    seeds: tuple[int, ...]
    metrics: tuple[str, ...]
    """Names in `evaluation.text_metrics.METRICS`."""
    settings: PointSettings
    """Settings of all points."""
    baseline: Grid | None
    """Grid of one point without axes, for comparison."""
    grids: tuple[Grid, ...]

    def path_of(self, name: str) -> Path:
        """Path of a file that this one names: relative to this file, or else to the working folder."""
        return next((path for path in _candidates(self.path, name) if is_file(path)), Path(name))

    @property
    def all_grids(self) -> tuple[Grid, ...]:
        """The baseline, as a grid of one point, and the grids."""
        return (() if self.baseline is None else (self.baseline,)) + self.grids

    def models_of(self, grid: Grid) -> tuple[str, ...]:
        """Labels that multiply a grid's points: all, unless `model` is set or is an axis."""
        chosen = MODEL in grid.axes or MODEL in grid.settings or MODEL in self.settings
        return () if chosen else tuple(self.models)

    def count(self, grid: Grid) -> int:
        """Number of a grid's points times seeds."""
        return grid.count * max(1, len(self.models_of(grid))) * len(self.seeds)


def seeds_of(count: int) -> tuple[int, ...]:
    """The seeds 0 to `count` - 1. Raises `InputError` for a count outside 1 to `MOST_SEEDS`."""
    if not 1 <= count <= MOST_SEEDS:
        raise InputError(f"seeds is {count}; allowed: 1 to {MOST_SEEDS:,}")
    return tuple(range(count))


def read_sweep(path: Path) -> SweepFile:
    """Read and check a file. Raises `InputError` with one line for every problem."""
    stored, text = _toml(path)
    try:
        form = SweepForm.model_validate(stored)
    except ValidationError as error:
        raise InputError.of(path, list(dict.fromkeys(form_problems(error)))) from None
    reader = _Reader(path, text)
    sweep = reader.sweep(form)
    if reader.problems:
        raise InputError.of(path, reader.problems)
    return sweep


def _candidates(path: Path, name: str) -> list[Path]:
    """Paths where a file that the sweep's file at `path` names may be."""
    return [absolute(path.parent / name), absolute(Path(name))]


def _toml(path: Path) -> tuple[dict[str, Any], str]:
    """Tables of the file, and its text."""
    if is_missing(path):
        raise InputError(f"no sweep file at {shown_path(path)}; name a TOML file (docs/sweep.md has an example)")
    text = read_text(path, SETTINGS_BYTES, "sweep file")
    return parse_toml(text, shown_path(path)), text


class _Reader:
    """Converts forms, and collects problems."""

    def __init__(self, path: Path, text: str) -> None:
        self.path, self.text = path, text
        self.problems: list[str] = []

    def sweep(self, form: SweepForm) -> SweepFile:
        if form.split not in SPLITS:
            self._note(unknown_name("split", form.split, SPLITS))
        if form.calibration not in CALIBRATIONS:
            self._note(unknown_name("calibration", form.calibration, CALIBRATIONS))
        grids = tuple(self._grid(grid, form) for grid in form.grid)
        if not grids and form.baseline is None:
            self._note("the grid is empty: there is no [[grid]] and no [baseline]; give at least one of them")
        baseline = None
        if form.baseline is not None:
            common = self._settings(form.baseline.set, "baseline.set", form)
            baseline = Grid(form.baseline.name, {}, common)
        names = [grid.name for grid in grids] + ([baseline.name] if baseline else [])
        for name, count in Counter(names).items():
            if count > 1:
                self._note(f"the grids' name {shown(name)} occurs {count} times; give each its own")
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

    def _note(self, line: str) -> None:
        self.problems.append(line)

    def _own_name(self) -> str:
        name = "".join(letter if letter.isalnum() and letter.isascii() else "-" for letter in self.path.stem)
        return name.strip("-")[:100] or "sweep"

    def _models(self, given: Mapping[str, str]) -> dict[str, Path]:
        paths = {}
        for label, name in given.items():
            if not label.strip():
                self._note('models: a label is empty; give it a name, as in models = { base = "checkpoint.pt" }')
            candidates = _candidates(self.path, name)
            paths[label] = next((path for path in candidates if is_file(path)), candidates[0])
            if not is_file(paths[label]):
                tried = " and ".join(dict.fromkeys(map(shown_path, candidates)))
                self._note(f"models.{label}: no checkpoint at {tried}; give a path relative to this file")
        return paths

    def _hardware(self, name: Any, where: str) -> Any:
        """The name, after a check that it is a preset or an existing file."""
        if not isinstance(name, str):
            self._note(f"{where} is {shown(name)}; allowed: the name of a preset, or a hardware file")
            return name
        candidates = _candidates(self.path, name)
        if name not in HARDWARE_PRESETS and not any(map(is_file, candidates)):
            tried = " and ".join(dict.fromkeys(map(shown_path, candidates)))
            presets = f"{', '.join(HARDWARE_PRESETS)}, or a TOML file (looked for at {tried})"
            self._note(f"{where}: {unknown_name('hardware preset', name, HARDWARE_PRESETS, listing=presets)}")
        return name

    def _seeds(self, given: int | list[int]) -> tuple[int, ...]:
        if isinstance(given, int):
            if 1 <= given <= MOST_SEEDS:
                return seeds_of(given)
            self._note(f"seeds is {given}; allowed: 1 to {MOST_SEEDS:,}, or a list of whole numbers")
        elif not given:
            self._note("seeds is an empty list; give at least one seed, or their number")
        elif len(set(given)) < len(given):
            self._note("seeds holds a number twice; give each once")
        elif not all(0 <= seed < 2**63 for seed in given):
            self._note("seeds holds a number that is not a seed; allowed: 0 to 2^63 - 1")
        else:
            return tuple(given)
        return ()

    def _metrics(self, given: list[str] | None) -> tuple[str, ...]:
        if given is None:
            return tuple(METRICS)
        if not given:
            self._note("metrics is an empty list; give at least one, or leave it out for all")
        for name in dict.fromkeys(given):
            if name not in METRICS:
                self._note(unknown_name("metric", name, METRICS))
        return tuple(name for name in METRICS if name in given)

    def _grid(self, form: GridForm, sweep: SweepForm) -> Grid:
        where = f"grid {form.name}"
        axes = {}
        for path, given in _flat(form.axes, leaves=_is_range):
            values = self._values(given, f"{where}: {path}")
            axes[path] = tuple(self._value(path, value, where, sweep) for value in values)
        if not axes:
            self._note(f"{where} is empty: it has no axes; give axes, or make it the [baseline]")
        for path in axes:
            if path not in PATHS:
                self._note(f"{where}: {unknown_path(path)}")
        zipped = tuple(tuple(group) for group in form.zip)
        for path, count in Counter(path for group in zipped for path in group).items():
            if path not in axes:
                self._note(f"{where}: zip: {unknown_name('axis', path, axes)}")
            if count > 1:
                self._note(f"{where}: zip names {shown(path)} twice; an axis advances with one group")
        for group in zipped:
            lengths = {path: len(axes[path]) for path in group if path in axes}
            if len(set(lengths.values())) > 1:
                numbers = ", ".join(f"{path} {length}" for path, length in lengths.items())
                self._note(f"{where}: axes that advance together need equal numbers of values; they have {numbers}")
        common = self._settings(form.set, f"{where}: set", sweep)
        for path in axes.keys() & common.keys():
            self._note(f"{where}: {path} is set and is an axis; keep one of the two")
        return Grid(form.name, axes, common, tuple(group for group in zipped if group))

    def _values(self, given: Any, where: str) -> tuple[Any, ...]:
        """Values of an axis."""
        if isinstance(given, Mapping):
            return self._range(given, where)
        if not isinstance(given, list):
            self._note(f"{where} is {shown(given)}; allowed: a list of values, or {{from, to, points, scale}}")
            return ()
        if not given:
            self._note(f"{where} is an empty list; give at least one value")
        if len(given) > LONGEST_RANGE:
            self._note(f"{where} has {len(given):,} values; allowed: {LONGEST_RANGE:,}")
        seen: set[Any] = set()
        repeated = [value for value in given if _setting(value) in seen or seen.add(_setting(value))]  # type: ignore[func-returns-value]
        for value in repeated[:1]:
            self._note(f"{where} holds {shown(value)} twice; give each value once")
        return tuple(given)

    def _range(self, given: Mapping[str, Any], where: str) -> tuple[Any, ...]:
        try:
            form = RangeForm.model_validate(given)
        except ValidationError as error:
            self.problems += dict.fromkeys(form_problems(error, RangeForm, where))
            return ()
        if form.scale == "log" and not (form.first > 0 and form.last > 0):
            self._note(f"{where}: a log scale from {form.first:g} to {form.last:g}; allowed: ends above 0")
            return ()
        if form.first == form.last:
            self._note(f"{where}: the range begins and ends at {form.first:g}; give two different ends, or a list")
            return ()
        return spaced(given["from"], given["to"], form.points, form.scale)

    def _settings(self, given: Mapping[str, Any], where: str, sweep: SweepForm) -> dict[str, Any]:
        settings = {}
        for path, value in _flat(given):
            if path not in PATHS:
                self._note(f"{where}: {unknown_path(path)}")
            settings[path] = self._value(path, value, where, sweep)
        return settings

    def _value(self, path: str, value: Any, where: str, sweep: SweepForm) -> Any:
        """The value of a setting, after the checks that do not depend on other settings."""
        if path == MODEL and value not in sweep.models:
            self._note(f"{where}: {unknown_name('model', value, sweep.models)}")
        if path == HARDWARE:
            return self._hardware(value, f"{where}: hardware")
        if not isinstance(value, str | int | float) or (isinstance(value, float) and not math.isfinite(value)):
            self._note(f"{where}: {path} is {shown(value)}; allowed: a number, true or false, or text")
        return value


def _setting(value: Any) -> tuple[bool, Any]:
    """Key that is equal for equal settings: 1 and 1.0 are equal, 1 and true are not."""
    return isinstance(value, bool), value if isinstance(value, str | int | float) else repr(value)


def _is_range(table: Mapping[str, Any]) -> bool:
    return "from" in table or "to" in table or "points" in table or not table


def _flat(
    table: Mapping[str, Any], before: str = "", leaves: Any = lambda table: not table
) -> Iterator[tuple[str, Any]]:
    """Values by path. TOML converts dots outside quotes to nested tables; `leaves` tells which tables are values."""
    for key, value in table.items():
        if isinstance(value, Mapping) and not leaves(value):
            yield from _flat(value, f"{before}{key}.", leaves)
        else:
            yield f"{before}{key}", value
