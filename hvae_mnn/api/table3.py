"""The paper's Table 3: sentences and their reconstructions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hvae_mnn.bars import Progress, watched
from hvae_mnn.folders import RUNS, check_writable, refuse_other
from hvae_mnn.models.checkpoint import Checkpoint, load_checkpoint
from hvae_mnn.reproduction.sentences import Reconstruction, describe, reconstruct_all
from hvae_mnn.reproduction.sentences_layout import TABLE, TITLES, blocks_of, write_table3
from hvae_mnn.results import Result
from hvae_mnn.studies.generation.items import Settings

__all__ = ["Table3Result", "reproduce_table3"]


@dataclass(frozen=True, repr=False)
class Table3Result(Result):
    """Six sentences by two models, beside the printed texts. Table: `table3`, a row per sentence, model and form."""

    folder: Path
    rows: tuple[Reconstruction, ...]
    about: Mapping[str, str]
    """By model: what its checkpoint is."""
    paths: tuple[Path, ...]
    """Files written: Markdown, LaTeX, Parquet."""

    def blocks(self) -> Sequence[tuple[str, list[list[str]]]]:
        """By form: its title, and headings, sentences and sums as text."""
        return [(TITLES[form], cells) for form, cells in blocks_of(self.rows)]

    def facts(self) -> Mapping[str, object]:
        """Number of words right in the teacher-forced texts, printed and by model."""
        forced = [row for row in self.rows if row.form == "teacher-forced"]
        models = list(self.about)
        first = [row for row in forced if row.model == models[0]]
        words = sum(row.words for row in first)
        right = {model: sum(row.right for row in forced if row.model == model) for model in models}
        counted = {"printed": sum(row.printed_right for row in first), **right}
        return {"folder": self.folder, **{name: f"{count}/{words} words right" for name, count in counted.items()}}


def reproduce_table3(
    twr: str | Path | Checkpoint,
    hsr: str | Path | Checkpoint,
    *,
    temperature: float = 1.0,
    seed: int = 0,
    out: str | Path | None = None,
    progress: bool | Progress = True,
) -> Table3Result:
    """Reconstruct the six sentences of the paper's Table 3 with two checkpoints, beside the printed texts.

    `twr` is a TWR-VAE, `hsr` an HSR-VAE, both trained on the Penn Treebank. Each sentence is written teacher-forced (as
    printed), greedily, and with words drawn at `temperature` from `seed`. `table3.md`, `.tex` and `.parquet` go to
    `out` (default: `runs/table3`), where older ones are replaced. `progress` is False for silence, True for a bar where
    a person watches, or a function, called with a stage's name, done, total.

    Raises `CheckpointError`, `InputError`, `TextError` for models that do not know the sentences, `RunError` when `out`
    is for something else, `StorageError` when it cannot be written.
    """
    folder = RUNS / TABLE if out is None else Path(out)
    settings = Settings(temperature=temperature, seed=seed)
    loaded = {
        name: model if isinstance(model, Checkpoint) else load_checkpoint(model)
        for name, model in (("TWR-VAE", twr), ("HSR-VAE", hsr))
    }
    refuse_other(folder, "reproduction.json")
    check_writable(folder)
    with watched(progress, lambda bar: bar.show) as tell:
        rows = reconstruct_all(loaded, settings, tell)
    about = describe(loaded)
    return Table3Result(folder, tuple(rows), about, tuple(write_table3(rows, about, settings, folder)))
