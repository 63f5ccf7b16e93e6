"""What tables and claims read of a record, with the types that they rely on; everything else is kept as it is."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Whole = Annotated[int, Field(ge=0, lt=2**63)]
Real = Annotated[float, Field(gt=-1e300, lt=1e300)]


class Part(BaseModel):
    """A part of a record."""

    model_config = ConfigDict(strict=True, frozen=True)


class CorpusPart(Part):
    """`CorpusPlan`."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")
    name: str
    folder: str | None
    stands_for: str | None
    is_same: bool
    tokenizer: str
    longest: Whole | None
    note: str


class TaskPart(Part):
    """`Task.to_dict`."""

    profile: str
    corpus: CorpusPart
    row: str
    seed: Whole


class CheckPart(Part):
    """A relation between figures of a report."""

    name: str
    left: Real
    right: Real
    holds: bool


class ProfilePart(Part):
    """KL along the encoder's steps."""

    from_end: list[Real] = []


class LatentPart(Part):
    """The loss without the latent."""

    gain: Real | None = None


class ImportancePart(Part):
    """Importance-weighted figures."""

    set_nll: Real | None = None
    set_ppl: Real | None = None


class ReportPart(Part):
    """Figures of a report; those that it does not have, it lacks in tables."""

    checks: list[CheckPart] = []
    nll: Real | None = None
    ppl: Real | None = None
    elbo_nll: Real | None = None
    elbo_ppl: Real | None = None
    kl: Real | None = None
    mutual_information: Real | None = None
    information_error: Real | None = None
    active_units: Whole | None = None
    reconstruction: Real | None = None
    importance: ImportancePart | None = None
    ablation: LatentPart = LatentPart()
    profile: ProfilePart = ProfilePart()


class CheckpointPart(Part):
    """The trained model."""

    sha256: str | None = None
    epoch: Whole | None = None


class TrainingPart(Part):
    """How long it was trained."""

    epochs: Whole | None = None
    seconds: Real | None = None


class HardwarePart(Part):
    """Figures on drawn chips, or the reason why there are none."""

    reason: str = ""
    digital: Real | None = None
    mean: Real | None = None
    deviation: Real | None = None


class RecordPart(Part):
    """A record without its format."""

    task: TaskPart
    status: str = Field(pattern="^(begun|done|failed)$")
    reason: str = ""
    checkpoint: CheckpointPart = CheckpointPart()
    training: TrainingPart = TrainingPart()
    paper: ReportPart = ReportPart()
    proper: ReportPart = ReportPart()
    further: dict[str, Real] = {}
    hardware: HardwarePart = HardwarePart()
