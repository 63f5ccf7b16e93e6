"""From a sweep's file to its tasks: every point with every seed, and the baselines beside them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hvae_mnn.crossbar.hardware.file import hardware_from_dict, hardware_to_dict, laid_over, read_hardware
from hvae_mnn.crossbar.hardware.presets import HARDWARE_PRESETS
from hvae_mnn.crossbar.hardware.spec import Amplifier, Cells, Hardware, Tiling
from hvae_mnn.crossbar.hardware.wires import Wires
from hvae_mnn.crossbar.nonidealities.file import nonidealities_from_dict, nonidealities_to_dict
from hvae_mnn.errors import InputError
from hvae_mnn.files import sha256
from hvae_mnn.models.checkpoint import Checkpoint, load_checkpoint
from hvae_mnn.sweeps.axes import HARDWARE, MODEL, NOISE, PATHS, Grid, PointSettings
from hvae_mnn.sweeps.file import SweepFile
from hvae_mnn.sweeps.sentences import choose_text, further_text, text_sha256
from hvae_mnn.sweeps.task import ModelChoice, Task, TaskKind, TextChoice

Table = dict[str, Any]
BITS = {"dac": f"{HARDWARE}.dac.bits", "adc": f"{HARDWARE}.adc.bits"}
UNIGRAM_METRICS = {"top1", "top5", "ppl"}
_ERROR, _SIGMA = f"{NOISE}.programming.error", f"{NOISE}.programming.sigma"
_WITH_SIGMA = ("lognormal", "gaussian")
_MOST_TASKS = 1_000_000
"""Points times seeds: each is planned in memory before the first one runs, a kilobyte or two."""


@dataclass(frozen=True)
class GridRow:
    """A line of the results: a task, and what it is in one grid."""

    grid: str
    kind: TaskKind
    model: str
    seed: int | None
    settings: PointSettings
    """All that were set, by path; of `digital_bits` the converters' widths."""
    along: PointSettings
    """Those that the grid has as axes."""
    task: str
    """The task's key."""


@dataclass(frozen=True)
class SweepPlan:
    """What there is to do. A task that occurs in several grids is done once, and has a row in each."""

    file: SweepFile
    rows: tuple[GridRow, ...]
    """In the order of the results."""
    tasks: Mapping[str, Task]
    """By key, in the order of work: what shares a network follows each other."""

    @property
    def axes(self) -> tuple[str, ...]:
        """Paths that any grid has as an axis."""
        return tuple(dict.fromkeys(path for grid in self.file.grids for path in grid.axes))


def make_plan(file: SweepFile, data_dir: Path | None = None) -> SweepPlan:
    """Expand the grids, on sentences of the corpus in `data_dir` (None: the built-in one).

    Raises `InputError` with all settings that hardware or non-idealities do not allow, `CheckpointError` and
    `TextError`.
    """
    count = sum(map(file.count, file.all_grids))
    if count > _MOST_TASKS:
        raise InputError(f"{file.path} has {count:,} tasks (points times seeds); allowed: {_MOST_TASKS:,}")
    models = {
        label: ModelChoice(label, str(path), sha256(path), file.calibration) for label, path in file.models.items()
    }
    checkpoints = {label: load_checkpoint(path) for label, path in file.models.items()}
    texts = {
        label: choose_text(checkpoint, data_dir, file.split, file.sentences)
        for label, checkpoint in checkpoints.items()
    }
    maker = _Maker(file, checkpoints, models, texts)
    for grid in file.all_grids:
        maker.add(grid)
    if maker.problems:
        raise InputError.of(file.path, maker.problems)
    return SweepPlan(
        file, tuple(maker.rows), dict(sorted(maker.tasks.items(), key=lambda item: _turn(item[1], models)))
    )


def _turn(task: Task, models: Mapping[str, ModelChoice]) -> tuple[int, int, str]:
    """Digital answers come first, others are compared with them; then one network after the other."""
    return list(models).index(task.model.label), 0 if task.kind in ("digital", "unigram") else 1, str(task.hardware)


def converters_only(hardware: Hardware) -> Hardware:
    """The hardware's converters, without their noise and nonlinearity, around arrays in which nothing else is wrong."""
    return replace(
        hardware,
        cells=Cells(hardware.cells.scheme, hardware.cells.scale),
        wires=Wires(),
        wires_source="",
        amplifier=Amplifier(),
        coding="amplitude",
        dac=replace(hardware.dac, noise_lsb=0.0, inl_lsb=0.0),
        adc=replace(hardware.adc, noise_lsb=0.0, inl_lsb=0.0),
        tiling=Tiling(),
    )


@dataclass(frozen=True)
class _Point:
    settings: PointSettings
    hardware: Table
    noise: Table


class _Maker:
    """Rows and tasks of one grid after the other, and what is wrong with their settings."""

    def __init__(
        self,
        file: SweepFile,
        checkpoints: Mapping[str, Checkpoint],
        models: Mapping[str, ModelChoice],
        texts: Mapping[str, TextChoice],
    ) -> None:
        self._file, self._checkpoints, self._models, self._texts = file, checkpoints, models, texts
        self.rows: list[GridRow] = []
        self.tasks: dict[str, Task] = {}
        self.problems: list[str] = []
        self._known: dict[str, Table | str] = {}
        self._texts_further: dict[str, str] = {}

    def add(self, grid: Grid) -> None:
        """For every model: baselines first, then points with the last axis fastest, each with all seeds."""
        by_model: dict[str, list[_Point]] = {}
        for point in self._points(grid):
            by_model.setdefault(point.settings[MODEL], []).append(point)
        for label, points in by_model.items():
            self._row(grid, "digital", {MODEL: label})
            if UNIGRAM_METRICS & set(self._file.metrics):
                self._row(grid, "unigram", {MODEL: label})
            for bits, hardware in _converters(points):
                self._row(grid, "digital_bits", {MODEL: label, **bits}, hardware=hardware)
            for point in points:
                for seed in self._file.seeds:
                    self._row(grid, "point", point.settings, seed, point.hardware, point.noise)

    def _row(
        self,
        grid: Grid,
        kind: TaskKind,
        settings: PointSettings,
        seed: int | None = None,
        hardware: Table | None = None,
        noise: Table | None = None,
    ) -> None:
        label = settings[MODEL]
        further = self._further(label, kind, hardware)
        task = Task(
            kind,
            self._models[label],
            self._texts[label],
            self._file.metrics,
            seed,
            hardware or {},
            noise or {},
            further,
        )
        key = task.key
        self.tasks.setdefault(key, task)
        along = {path: settings[path] for path in grid.axes if path in settings}
        self.rows.append(GridRow(grid.name, kind, label, seed, settings, along, key))

    def _further(self, label: str, kind: TaskKind, hardware: Table | None) -> str:
        """See `Task.further_text`."""
        key = json.dumps([label, kind == "unigram", hardware], sort_keys=True)
        if key not in self._texts_further:
            described = None if hardware is None else hardware_from_dict(hardware, self._file.path)
            lines = further_text(self._checkpoints[label], self._texts[label], kind, described)
            self._texts_further[key] = text_sha256(lines) if lines else ""
        return self._texts_further[key]

    def _points(self, grid: Grid) -> Iterator[_Point]:
        """Those that can be built; of the others, what is wrong, every problem once."""
        said = set()
        for label in self._file.models_of(grid) or (None,):
            implied = {} if label is None else {MODEL: label}
            for values in grid.points():
                levels = [self._file.settings, grid.settings, implied | values]
                merged = {path: value for level in levels for path, value in level.items()}
                settings = {path: merged[path] for path in PATHS if path in merged}
                hardware = self._kept(HARDWARE, levels, self._hardware)
                noise = self._kept(NOISE, levels, self._noise)
                if isinstance(hardware, dict) and isinstance(noise, dict):
                    yield _Point(settings, hardware, noise)
                for problem in (hardware, noise):
                    if isinstance(problem, str) and problem not in said:
                        said.add(problem)
                        at = ", ".join(f"{path} = {value}" for path, value in values.items())
                        self.problems.append(f"grid {grid.name}{' at ' if at else ''}{at}: {problem}")

    def _kept(self, what: str, levels: Sequence[PointSettings], build: Callable[[list[Table]], Table]) -> Table | str:
        """What these levels of settings make, built once; a text: what is wrong."""
        own = [{path: value for path, value in level.items() if path.partition(".")[0] == what} for level in levels]
        key = json.dumps([what, own], sort_keys=True)
        if key not in self._known:
            try:
                self._known[key] = build(own)
            except InputError as error:
                self._known[key] = "; ".join(error.problems or str(error).splitlines())
        return self._known[key]

    def _hardware(self, levels: list[Table]) -> Table:
        """The base with every level laid over it: what a setting takes with it, goes."""
        named = [level.pop(HARDWARE) for level in levels if HARDWARE in level]
        name = named[-1] if named else self._file.hardware
        base = read_hardware(name if name in HARDWARE_PRESETS else self._file.place(name))
        table = hardware_to_dict(base)
        for level in levels:
            if level:
                table = laid_over(table, _nested(level))
        table |= {"name": base.name, "source": base.source}
        found = hardware_to_dict(hardware_from_dict(table, self._file.path))
        found["wires"]["source"] = ""  # so that equal wires are equal, from wherever they come
        return found

    @staticmethod
    def _noise(levels: list[Table]) -> Table:
        found: Table = {}
        for level in levels:
            if level.get(_ERROR, _WITH_SIGMA[0]) not in _WITH_SIGMA:
                found.pop(_SIGMA, None)  # it goes with the kind of error it belongs to
            found |= level
        return nonidealities_to_dict(nonidealities_from_dict(_nested(found), NOISE))


def _nested(settings: PointSettings) -> dict[str, Table]:
    """`hardware.adc.bits = 8` as {"adc": {"bits": 8}}, and `noise.stuck.on` likewise."""
    found: dict[str, Table] = {}
    for path, value in settings.items():
        _, section, key = path.split(".")
        found.setdefault(section, {})[key] = value
    return found


def _converters(points: Sequence[_Point]) -> Iterator[tuple[Table, Table]]:
    """Widths, and hardware that is nothing but converters, for every pair of converters that there is among the
    points."""
    known = []
    for point in points:
        pair = [{key: point.hardware[name].get(key) for key in ("bits", "range", "full_scale")} for name in BITS]
        if pair not in known and any(converter["bits"] for converter in pair):
            known.append(pair)
            bits = {path: point.hardware[name]["bits"] for name, path in BITS.items()}
            yield bits, hardware_to_dict(converters_only(hardware_from_dict(point.hardware)))
