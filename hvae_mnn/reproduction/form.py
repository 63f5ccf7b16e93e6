"""The keys of a table's plan in TOML, with the types and values that each allows."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from hvae_mnn.reproduction.hardware_plan import HardwareForm
from hvae_mnn.sweeps.form import MOST_SEEDS, Form
from hvae_mnn.text.tokenizers import TOKENIZERS

_A_NAME = "text of letters, digits, '.', '_' and '-', a letter or digit first, 60 at most"
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,59}$", description=_A_NAME)]
_SETTINGS = "a table of fields of ModelConfig and TrainingConfig"


class EffortForm(Form):
    """How long and how often: a profile's, in place of it a corpus's, a row's, or a row's on one corpus."""

    epochs: int | None = Field(None, ge=1, le=100_000, description="a whole number from 1 on")
    seeds: int | None = Field(None, ge=1, le=MOST_SEEDS, description=f"a whole number from 1 to {MOST_SEEDS:,}")
    importance_samples: int | None = Field(None, ge=0, le=1_000_000, description="a whole number from 0 (none) on")
    importance_sentences: int | None = Field(None, ge=1, description="a whole number from 1 on")
    set: dict[str, Any] = Field(default_factory=dict, description=_SETTINGS)


class CorpusForm(EffortForm):
    """A corpus of a profile, and what is particular to it."""

    folder: str | None = Field(
        None, min_length=1, description="a folder below --data-dir; without it, the built-in corpus"
    )
    stands_for: str | None = Field(None, description="the corpus of the paper: ptb, yahoo or yelp")
    is_same: bool = Field(False, description="true where the text is the paper's own, whole; else false")
    tokenizer: str = Field("plain", description=" or ".join(f'"{name}"' for name in TOKENIZERS))
    longest: int | None = Field(None, ge=1, description="a number of words from 1 on; leave it out for no bound")
    note: str = Field("", description="text")
    only: list[str] | None = Field(None, min_length=1, description="a list of rows; leave it out for all")
    rows: dict[str, EffortForm] = Field(default_factory=dict, description="tables by row")


class ProfileForm(EffortForm):
    """Sizes, lengths and corpora that go together."""

    embedding: int = Field(ge=1, description="a whole number from 1 on")
    hidden: int = Field(ge=1, description="a whole number from 1 on")
    latent: int = Field(ge=1, description="a whole number from 1 on")
    note: str = Field("", description="text")
    hardware: HardwareForm | None = Field(None, description="a table in place of the plan's")
    corpora: dict[Name, CorpusForm] = Field(
        min_length=1, description="at least one table: [profiles.NAME.corpora.NAME]"
    )
    rows: dict[str, EffortForm] = Field(default_factory=dict, description="tables by row")


class PlanForm(Form):
    """The whole file."""

    table: str = Field(description='"table2" or "table4"')
    title: str = Field(min_length=1, description="text")
    rows: list[str] = Field(min_length=1, description="a list of at least one row")
    hardware: HardwareForm | None = Field(None, description="a table; leave it out for no figures on hardware")
    profiles: dict[Name, ProfileForm] = Field(min_length=1, description="at least one table: [profiles.NAME]")
