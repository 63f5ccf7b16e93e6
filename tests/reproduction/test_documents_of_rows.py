"""docs/rows.md and docs/reproduce.md say what the rows, plans and columns are; lines that are wrong are shown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

import hvae_mnn
from hvae_mnn.models import rows as catalogue
from hvae_mnn.models.config import ModelConfig
from hvae_mnn.models.rows import ROWS, configure_row
from hvae_mnn.models.training_config import TrainingConfig
from hvae_mnn.reproduction.figures import FIGURES, LAST_STEP_SHARE
from hvae_mnn.reproduction.markup import markdown_table
from hvae_mnn.reproduction.plan import TABLES, read_plan

DOCS = Path(hvae_mnn.__file__).parents[1] / "docs"
WORDS = 10_000
SHORT = 20
"""Epochs of table 2's profile cpu."""


def lines_of(name: str) -> list[str]:
    return (DOCS / name).read_text(encoding="utf-8").splitlines()


def recipes() -> list[str]:
    cells = [(f"`{row.name}`", row.label, f"{row.recipe_epochs:,}", row.about) for row in ROWS.values()]
    return markdown_table(("row", "name in tables", "epochs", "recipe, source, departures"), cells, ("row",))


def settings() -> list[str]:
    headings = ("row", "encoder", "decoder", "latent from", "KL charged", "optimiser", "batch")
    return markdown_table(headings, _alike({name: _settings(*configure_row(name, WORDS)) for name in ROWS}), headings)


def _alike(rows: Mapping[str, Iterable[str]]) -> list[tuple[str, ...]]:
    """Lines of cells, with all rows that have the same ones."""
    names: dict[tuple[str, ...], list[str]] = {}
    for name, cells in rows.items():
        names.setdefault(tuple(cells), []).append(f"`{name}`")
    return [(", ".join(own), *cells) for cells, own in names.items()]


def _settings(model: ModelConfig, training: TrainingConfig) -> Iterator[str]:
    hidden = "" if model.encoder_sees_eos else ", end symbol hidden"
    yield f"{' + '.join(model.encoder_cells)}{hidden}" if model.encoder_cells else "none"
    yield f"{model.decoder_cell}, start {model.decoder_start if model.latent_size else '0'}"
    if not model.latent_size:
        yield "none"
        yield "none"
    else:
        normed = f", means normalised to {training.batch_norm_gamma:g}" if training.batch_norm_gamma else ""
        steps = "" if model.inference == "amortised" else f", {model.inference_steps} steps"
        use = ", one per step" if model.latent_use == "step" else ""
        yield f"{model.inference}{steps}{normed}{use}"
        floors = f", floor {training.free_bits:g}" if training.free_bits else ""
        floors += f", floor {training.free_bits_per_unit:g} a unit" if training.free_bits_per_unit else ""
        yield f"{training.kl_target}, weight {_weight(training)}{floors}"
    updates = ", lagging encoder" if training.updates == "lagging" else ""
    yield f"{training.optimizer} {training.learning_rate:g}, {training.schedule.replace('_', ' ')}{updates}"
    yield f"{training.batch_size}, {training.reduction}"


def _weight(training: TrainingConfig) -> str:
    if training.annealing == "none":
        return f"{training.beta:g}"
    return f"{training.annealing_start:g} to {training.beta:g} in {training.annealing_epochs:g} epochs"


def scaled() -> list[str]:
    headings = ("row", "recipe", "ramp or cycle", "plateau counts from", "patience", "step size")
    rows = {name: _lengths(*(configure_row(name, WORDS, epochs=count)[1] for count in (None, SHORT))) for name in ROWS}
    return markdown_table(headings, _alike(rows), ("row",))


def _lengths(recipe: TrainingConfig, short: TrainingConfig) -> Iterator[str]:
    yield f"{recipe.epochs:,} to {short.epochs}"
    used = (
        ("annealing_epochs", recipe.annealing != "none"),
        ("plateau_from", recipe.schedule == "plateau"),
        ("patience", recipe.schedule == "plateau"),
        ("learning_rate", True),
    )
    for field, is_used in used:
        before, after = getattr(recipe, field), getattr(short, field)
        yield "–" if not is_used else f"{before:g}" if before == after else f"{before:g} to {after:.3g}"


@pytest.mark.parametrize("table", [recipes, settings, scaled])
def test_the_page_of_rows_has_the_rows_as_they_are(table):
    expected, there = table(), lines_of("rows.md")
    missing = [line for line in expected if line not in there]
    assert not missing, "docs/rows.md lacks these lines:\n" + "\n".join(missing)
    first = there.index(expected[0])
    assert there[first : first + len(expected)] == expected, "docs/rows.md has other lines:\n" + "\n".join(expected)


def test_the_page_of_rows_names_the_departures_of_all():
    shared = (catalogue.__doc__ or "").strip().split("\n\n")[-1]
    assert shared.startswith("Departures")
    assert " ".join(shared.split()) in " ".join("\n".join(lines_of("rows.md")).split())


def test_every_column_is_explained():
    text = "\n".join(lines_of("reproduce.md"))
    explained = {name for line in text.splitlines() for name in re.findall(r"^\| `(\w+)` \|", line)}
    assert {figure.name for figure in FIGURES} | {LAST_STEP_SHARE} <= explained
    for figure in FIGURES:
        (line,) = (line for line in text.splitlines() if line.startswith(f"| `{figure.name}` |"))
        assert line.split(" | ")[1] == (figure.label if figure.is_column else "–"), line


def test_every_profile_is_described_with_its_size():
    text = lines_of("reproduce.md")
    for table in TABLES:
        for profile in ("cpu", "paper", "demo"):
            for corpus in read_plan(table, profile=profile).corpora:
                own = [entry for entry in read_plan(table, profile=profile).entries if entry.corpus == corpus]
                sizes = "/".join(
                    str(own[0].effort.settings[f"{key}_size"]) for key in ("embedding", "hidden", "latent")
                )
                epochs = max(entry.effort.epochs for entry in own)
                tasks = sum(entry.effort.seeds for entry in own)
                cells = (table, f"`{profile}`", corpus.name, sizes, str(epochs), str(len(own)), str(tasks))
                line = f"| {' | '.join(cells)} |"
                assert line in text, f"docs/reproduce.md lacks: {line}"
