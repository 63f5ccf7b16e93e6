"""Expansion of a sweep's file into tasks: every point with every seed, and the baselines of each grid."""

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

Described = dict[str, Any]
"""Hardware or non-idealities as nested tables."""
BITS = {"dac": f"{HARDWARE}.dac.bits", "adc": f"{HARDWARE}.adc.bits"}
UNIGRAM_METRICS = {"top1", "top5", "ppl"}
_ERROR, _SIGMA = f"{NOISE}.programming.error", f"{NOISE}.programming.sigma"
_WITH_SIGMA = ("lognormal", "gaussian")
_MOST_TASKS = 1_000_000
"""Largest number of points times seeds. Each takes a kilobyte or two of memory before the first one runs."""


@dataclass(frozen=True)
class GridRow:
    """A row of the results: a task, and its role in one grid."""

    grid: str
    kind: TaskKind
    model: str
    seed: int | None
    settings: PointSettings
    """All settings by path; for `digital_bits`, the widths of the converters."""
    along: PointSettings
    """Settings that are axes of the grid."""
    task: str
    """Key of the task."""


@dataclass(frozen=True)
class SweepPlan:
    """Tasks of a sweep, and rows of its results. A task in several grids runs once, and has a row in each grid."""

    file: SweepFile
    rows: tuple[GridRow, ...]
    """Rows in the order of the results."""
    tasks: Mapping[str, Task]
    """Tasks by key, in the order of work: tasks that share a network follow each other."""

    @property
    def axes(self) -> tuple[str, ...]:
        """Paths that are an axis of any grid."""
        return tuple(dict.fromkeys(path for grid in self.file.grids for path in grid.axes))


def make_plan(file: SweepFile, data_dir: Path | None = None) -> SweepPlan:
    """Expand the grids, on sentences of the corpus in `data_dir` (None: the built-in one).

    Raises `InputError` for too many tasks and, in one message, for all settings that hardware or non-idealities do not
    allow; `CheckpointError` and `TextError` for models and corpora that cannot be used.
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
    """Sort key of the work: first digital models, with which others are compared, then one network after another."""
    return list(models).index(task.model.label), 0 if task.kind in ("digital", "unigram") else 1, str(task.hardware)


def converters_only(hardware: Hardware) -> Hardware:
    """The hardware's converters, without noise and nonlinearity, with otherwise ideal arrays."""
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
class _GridPoint:
    """A point before it is combined with seeds."""

    settings: PointSettings
    hardware: Described
    noise: Described


class _Maker:
    """Collects rows and tasks of one grid after another, and problems of their settings."""

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
        self._known: dict[str, Described | str] = {}
        self._further_texts: dict[str, str] = {}

    def add(self, grid: Grid) -> None:
        """Add a grid: for every model first baselines, then points with all seeds; the last axis changes fastest."""
        by_model: dict[str, list[_GridPoint]] = {}
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
        hardware: Described | None = None,
        noise: Described | None = None,
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

    def _further(self, label: str, kind: TaskKind, hardware: Described | None) -> str:
        """The task's `further_text`."""
        key = json.dumps([label, kind == "unigram", hardware], sort_keys=True)
        if key not in self._further_texts:
            spec = None if hardware is None else hardware_from_dict(hardware, self._file.path)
            lines = further_text(self._checkpoints[label], self._texts[label], kind, spec)
            self._further_texts[key] = text_sha256(lines) if lines else ""
        return self._further_texts[key]

    def _points(self, grid: Grid) -> Iterator[_GridPoint]:
        """The grid's points that can be built. Every problem of the others is noted once."""
        noted = set()
        for label in self._file.models_of(grid) or (None,):
            implied = {} if label is None else {MODEL: label}
            for values in grid.points():
                levels = [self._file.settings, grid.settings, implied | values]
                merged = {path: value for level in levels for path, value in level.items()}
                settings = {path: merged[path] for path in PATHS if path in merged}
                hardware = self._kept(HARDWARE, levels, self._hardware)
                noise = self._kept(NOISE, levels, self._noise)
                if isinstance(hardware, dict) and isinstance(noise, dict):
                    yield _GridPoint(settings, hardware, noise)
                for problem in (hardware, noise):
                    if isinstance(problem, str) and problem not in noted:
                        noted.add(problem)
                        at = ", ".join(f"{path} = {value}" for path, value in values.items())
                        self.problems.append(f"grid {grid.name}{' at ' if at else ''}{at}: {problem}")

    def _kept(
        self, what: str, levels: Sequence[PointSettings], build: Callable[[list[Described]], Described]
    ) -> Described | str:
        """The hardware or noise that these levels of settings describe, built once; a text describes a problem."""
        own = [{path: value for path, value in level.items() if path.partition(".")[0] == what} for level in levels]
        key = json.dumps([what, own], sort_keys=True)
        if key not in self._known:
            try:
                self._known[key] = build(own)
            except InputError as error:
                self._known[key] = "; ".join(error.problems or str(error).splitlines())
        return self._known[key]

    def _hardware(self, levels: list[Described]) -> Described:
        """The base overridden by every level; keys that contradict a setting are dropped."""
        named = [level.pop(HARDWARE) for level in levels if HARDWARE in level]
        name = named[-1] if named else self._file.hardware
        base = read_hardware(name if name in HARDWARE_PRESETS else self._file.path_of(name))
        table = hardware_to_dict(base)
        for level in levels:
            if level:
                table = laid_over(table, _nested(level))
        table |= {"name": base.name, "source": base.source}
        described = hardware_to_dict(hardware_from_dict(table, self._file.path))
        described["wires"]["source"] = ""  # equal wires are equal whatever their source
        return described

    @staticmethod
    def _noise(levels: list[Described]) -> Described:
        settings: dict[str, Any] = {}
        for level in levels:
            if level.get(_ERROR, _WITH_SIGMA[0]) not in _WITH_SIGMA:
                settings.pop(_SIGMA, None)  # it belongs to the kind of error that this level replaces
            settings |= level
        return nonidealities_to_dict(nonidealities_from_dict(_nested(settings), NOISE))


def _nested(settings: PointSettings) -> dict[str, Described]:
    """Settings as nested tables: {"adc": {"bits": 8}} for `hardware.adc.bits = 8`."""
    tables: dict[str, Described] = {}
    for path, value in settings.items():
        _, section, key = path.split(".")
        tables.setdefault(section, {})[key] = value
    return tables


def _converters(points: Sequence[_GridPoint]) -> Iterator[tuple[Described, Described]]:
    """Widths by path, and otherwise ideal hardware, for every pair of converters among the points."""
    known = []
    for point in points:
        pair = [{key: point.hardware[name].get(key) for key in ("bits", "range", "full_scale")} for name in BITS]
        if pair not in known and any(converter["bits"] for converter in pair):
            known.append(pair)
            bits = {path: point.hardware[name]["bits"] for name, path in BITS.items()}
            yield bits, hardware_to_dict(converters_only(hardware_from_dict(point.hardware)))
