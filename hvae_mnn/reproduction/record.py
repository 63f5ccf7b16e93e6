"""The record of a task, a sealed file in the task's folder: what was asked for, how far it came, and its figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from hvae_mnn.errors import InputError
from hvae_mnn.files import read_sealed, write_sealed
from hvae_mnn.reading import is_missing, shown
from hvae_mnn.reproduction.record_form import RecordPart

FORMAT = "hvae-mnn-reproduction/1"
RECORD = "record.json"
"""Name of the file."""
Status = Literal["begun", "done", "failed"]


@dataclass(frozen=True)
class Record:
    """A task as its folder holds it."""

    task: Mapping[str, Any]
    """`Task.to_dict`."""
    status: Status
    """`begun`: in training or in evaluation, or stopped there; `done`; `failed`: it cannot be continued."""
    reason: str = ""
    """Reason of the failure."""
    checkpoint: Mapping[str, Any] = field(default_factory=dict)
    """SHA-256 and epoch of `best.pt`."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """Epochs, and seconds in all of them."""
    paper: Mapping[str, Any] = field(default_factory=dict)
    """The report `paper`: published formulas, no bounds."""
    proper: Mapping[str, Any] = field(default_factory=dict)
    """The report `proper`: bounds, and what the latent carries."""
    further: Mapping[str, float] = field(default_factory=dict)
    """Figures that other work has added, by name; each becomes a column of the table."""
    hardware: Mapping[str, Any] = field(default_factory=dict)
    """Next word right on drawn chips and in float64 (`hardware.run_hardware`), with what was asked for; or the reason
    why there are no figures. Empty: not asked for."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """Device, versions, seconds of the evaluation."""

    @property
    def corpus(self) -> str:
        """Name of the corpus."""
        return str(self.task["corpus"]["name"])

    @property
    def row(self) -> str:
        """Name of the row."""
        return str(self.task["row"])


def write_record(folder: Path, record: Record) -> None:
    """Write the record of the task in `folder`, whole or not at all. Raises `StorageError`."""
    write_sealed(folder / RECORD, {"format": FORMAT, **asdict(record)})


def read_record(folder: Path) -> Record | None:
    """The record of the task in `folder`; None if there is none.

    Raises `InputError` for a file that is damaged or of another version.
    """
    path = folder / RECORD
    if is_missing(path):
        return None
    stored = read_sealed(path, "record of a task")
    if stored.pop("format", None) != FORMAT:
        raise InputError(f"{shown(path)} is no record of this version ({FORMAT}); choose another --out")
    try:
        RecordPart.model_validate(stored)
        return Record(**stored)
    except (ValidationError, TypeError):
        raise InputError(f"{shown(path)} holds no record of a task; remove it, and rerun to make it anew") from None


def read_records(out: Path) -> Iterator[Record]:
    """All records below the folder of results `out`, in the order of their paths. Raises `InputError` as
    `read_record`."""
    for path in sorted(Path(out).glob(f"*/*/seed*/{RECORD}")):
        record = read_record(path.parent)
        if record is not None:
            yield record


def add_figures(folder: Path, figures: Mapping[str, float]) -> None:
    """Add figures from elsewhere to the record of the finished task in `folder`.

    Raises `InputError` if there is no finished task.
    """
    record = read_record(folder)
    if record is None or record.status != "done":
        raise InputError(f"{shown(folder)} holds no finished task of a table; run hvae-mnn reproduce first")
    write_record(folder, replace(record, further={**record.further, **figures}))
