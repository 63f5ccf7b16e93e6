"""The plan of a table: which rows are trained on which corpora, how long, with how many seeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hvae_mnn.errors import EnvironmentProblem, InputError
from hvae_mnn.files import shipped_file
from hvae_mnn.models.rows import ROWS
from hvae_mnn.names import unknown_name
from hvae_mnn.reading import SETTINGS_BYTES, parse_toml, read_text, shown
from hvae_mnn.reproduction.form import CorpusForm, EffortForm, PlanForm, ProfileForm
from hvae_mnn.reproduction.hardware_plan import HardwareForm, HardwarePlan, hardware_plan
from hvae_mnn.reproduction.printed import printed_rows
from hvae_mnn.sweeps.form import MOST_SEEDS, form_problems
from hvae_mnn.text.tokenizers import TOKENIZERS

TABLES = ("table2", "table4")
"""Tables of trained models."""
PROFILE = "cpu"
"""Default profile."""


@dataclass(frozen=True)
class CorpusPlan:
    """A corpus of a plan."""

    name: str
    """Name in tables, and of its folder in the results."""
    folder: str | None
    """Folder below the data folder; None: the built-in corpus."""
    stands_for: str | None
    """Corpus of the paper whose printed figures stand beside ours; None: none."""
    is_same: bool
    """Whether the text is the paper's own, whole, so that figures and not only orderings compare."""
    tokenizer: str
    longest: int | None
    """Most words of a sentence; longer ones are left out of every split. None: no bound."""
    note: str
    """What to know when reading its figures."""


@dataclass(frozen=True)
class Effort:
    """How long a row is trained on a corpus, how often, and how it is evaluated."""

    epochs: int
    seeds: int
    importance_samples: int
    """Latents per sentence; 0: no importance-weighted figures."""
    importance_sentences: int | None
    """Most sentences with importance-weighted figures; None: all."""
    settings: Mapping[str, Any]
    """Fields of `ModelConfig` and `TrainingConfig` in place of the row's."""


@dataclass(frozen=True)
class Entry:
    """A row on a corpus."""

    corpus: CorpusPlan
    row: str
    effort: Effort


@dataclass(frozen=True)
class TablePlan:
    """A table as it is to be made: one profile of a plan's file, with the chosen rows, corpora and seeds."""

    table: str
    """`table2` or `table4`."""
    title: str
    profile: str
    note: str
    """Note of the profile."""
    entries: tuple[Entry, ...]
    """In the order of corpora, then of rows."""
    hardware: HardwarePlan | None = None
    """Hardware of the column "next word right"; None: the table has no such column."""

    @property
    def corpora(self) -> tuple[CorpusPlan, ...]:
        """Corpora with at least one row."""
        return tuple(dict.fromkeys(entry.corpus for entry in self.entries))


def plan_path(table: str) -> Path:
    """The file of a table's own plan, `experiments/<table>.toml`.

    Raises `InputError` for an unknown table, `EnvironmentProblem` if the file is missing.
    """
    if table not in TABLES:
        raise InputError(unknown_name("table", table, TABLES))
    path = shipped_file("experiments", f"{table}.toml")
    if path is None:
        raise EnvironmentProblem(f"the plan {table}.toml is missing from this installation; install hvae-mnn again")
    return path


def read_plan(
    table: str,
    path: Path | None = None,
    *,
    profile: str = PROFILE,
    rows: Sequence[str] | None = None,
    corpora: Sequence[str] | None = None,
    seeds: int | None = None,
) -> TablePlan:
    """The plan of `table` from a file, by default the table's own: one profile, and of it the rows and corpora that are
    named (None: all), with `seeds` seeds each (None: the file's).

    Raises `InputError` with one line for every problem of the file, and for a table, profile, row or corpus that is
    none.
    """
    own = plan_path(table)
    form = _form(path or own, table)
    if profile not in form.profiles:
        raise InputError(unknown_name("profile", profile, form.profiles))
    if seeds is not None and not 1 <= seeds <= MOST_SEEDS:
        raise InputError(f"seeds is {seeds}; allowed: 1 to {MOST_SEEDS:,}")
    chosen = form.profiles[profile]
    hardware = _hardware(chosen.hardware or form.hardware, path or own)
    _require_known("row", rows, form.rows)
    _require_known("corpus", corpora, chosen.corpora)
    entries = tuple(
        Entry(_corpus(name, corpus), row, _effort(chosen, corpus, row, seeds))
        for name, corpus in chosen.corpora.items()
        for row in form.rows
        if (corpora is None or name in corpora)
        and (rows is None or row in rows)
        and (corpus.only is None or row in corpus.only)
    )
    if not entries:
        raise InputError(
            f"{table}, profile {profile}: none of the rows {', '.join(rows or form.rows)} is trained on"
            f" {' or '.join(corpora or chosen.corpora)}; choose other --rows or --corpora"
        )
    return TablePlan(table, form.title, profile, chosen.note, entries, hardware)


def _require_known(what: str, names: Sequence[str] | None, allowed: Mapping[str, Any] | Sequence[str]) -> None:
    """Refuse names outside the file's. Raises `InputError` with the nearest one."""
    for name in names or ():
        if name not in allowed:
            elsewhere = f"; {name} is a row of another table" if what == "row" and name in ROWS else ""
            raise InputError(unknown_name(what, name, allowed) + elsewhere)


def _form(path: Path, table: str) -> PlanForm:
    """The content of a plan's file. Raises `InputError` with one line for every problem."""
    stored = parse_toml(read_text(path, SETTINGS_BYTES, "plan of a table"), shown(path))
    try:
        form = PlanForm.model_validate(stored)
    except ValidationError as error:
        raise InputError.of(shown(path), list(dict.fromkeys(form_problems(error, PlanForm, what="plan")))) from None
    problems = list(_problems(form, table))
    if problems:
        raise InputError.of(shown(path), problems)
    return form


def _hardware(form: HardwareForm | None, path: Path) -> HardwarePlan | None:
    """The hardware of a plan's section. Raises `InputError` for a description or non-idealities that are none."""
    if form is None:
        return None
    try:
        return hardware_plan(form, path.parent)
    except InputError as error:
        raise InputError(f"{shown(path)}: {error}") from None


def _problems(form: PlanForm, table: str) -> Iterator[str]:
    """What is wrong with a file beyond the types of its values."""
    if form.table != table:
        yield f"it is a plan of {shown(form.table)}, asked for is {table}"
        return
    for name in dict.fromkeys(form.rows):
        if name not in ROWS:
            yield f"rows: {unknown_name('row', name, ROWS)}"
        elif form.rows.count(name) > 1:
            yield f"rows names {name} twice; name each row once"
    if form.hardware is not None:
        yield from _unknown_rows(form.hardware.rows or (), "hardware.rows", form)
    for profile, own in form.profiles.items():
        where = f"profiles.{profile}"
        if own.hardware is not None:
            yield from _unknown_rows(own.hardware.rows or (), f"{where}.hardware.rows", form)
        yield from _unknown_rows(own.rows, f"{where}.rows", form)
        for name, corpus in own.corpora.items():
            inside = f"{where}.corpora.{name}"
            yield from _unknown_rows(corpus.rows, f"{inside}.rows", form)
            yield from _unknown_rows(corpus.only or (), f"{inside}.only", form)
            if corpus.tokenizer not in TOKENIZERS:
                yield f"{inside}: {unknown_name('tokenizer', corpus.tokenizer, TOKENIZERS)}"
            printed = sorted({key for row in printed_rows(table) for key in row.figures})
            if corpus.stands_for is not None and corpus.stands_for not in printed:
                yield f"{inside}.stands_for: {unknown_name('corpus of the paper', corpus.stands_for, printed)}"
            for row in form.rows if corpus.only is None else corpus.only:
                given = _merged(own, corpus, row)
                missing = [key for key in ("epochs", "seeds") if given[key] is None]
                if missing:
                    yield f"{inside}: no {' and no '.join(missing)} for {row}; give it in {where}"


def _unknown_rows(names: Mapping[str, Any] | Sequence[str], where: str, form: PlanForm) -> Iterator[str]:
    for name, count in Counter(names).items():
        is_pattern = isinstance(names, Mapping) and any(fnmatchcase(row, name) for row in form.rows)
        if name not in form.rows and not is_pattern:
            yield f"{where}: {unknown_name('row of this plan', name, form.rows)}"
        elif not isinstance(names, Mapping) and count > 1:
            yield f"{where} names {name} twice; name each row once"


def _corpus(name: str, form: CorpusForm) -> CorpusPlan:
    return CorpusPlan(name, form.folder, form.stands_for, form.is_same, form.tokenizer, form.longest, form.note)


def _merged(profile: ProfileForm, corpus: CorpusForm, row: str) -> dict[str, Any]:
    """Effort of a row on a corpus: what is particular goes before what is general."""
    levels: list[EffortForm] = [profile, corpus]
    levels += [own for level in (profile, corpus) for own in _matching(level.rows, row)]
    values: dict[str, Any] = dict.fromkeys(("epochs", "seeds", "importance_samples", "importance_sentences"))
    for level in levels:
        values |= {key: getattr(level, key) for key in values if getattr(level, key) is not None}
    sizes = {f"{key}_size": getattr(profile, key) for key in ("embedding", "hidden", "latent")}
    values["settings"] = sizes | {key: value for level in levels for key, value in level.set.items()}
    return values


def _matching(rows: Mapping[str, EffortForm], row: str) -> list[EffortForm]:
    """Tables for a row, in the file's order: those whose name is a pattern (`hsr-*`), and then its own."""
    return [own for name, own in rows.items() if name != row and fnmatchcase(row, name)] + (
        [rows[row]] if row in rows else []
    )


def _effort(profile: ProfileForm, corpus: CorpusForm, row: str, seeds: int | None) -> Effort:
    values = _merged(profile, corpus, row)
    if values["importance_samples"] is None:
        values["importance_samples"] = 0
    return Effort(**{**values, "seeds": values["seeds"] if seeds is None else seeds})
