"""Specs of a model and of its training, the presets and the two named objectives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, cast

from hvae_mnn.errors import InputError
from hvae_mnn.gates import CELLS, Cell
from hvae_mnn.names import quoted, unknown_name

KlTarget = Literal["mean_t", "last", "sum"]
Annealing = Literal["none", "linear", "cyclical"]
Reduction = Literal["sum", "mean"]
Schedule = Literal["constant", "cosine"]
Precision = Literal["auto", "fp32", "bf16"]
Selection = Literal["paper_ppl", "elbo"]

CHOICES: dict[str, tuple[str, ...]] = {
    "kl_target": ("mean_t", "last", "sum"),
    "annealing": ("none", "linear", "cyclical"),
    "reduction": ("sum", "mean"),
    "schedule": ("constant", "cosine"),
    "precision": ("auto", "fp32", "bf16"),
    "selection": ("paper_ppl", "elbo"),
}
"""Allowed values of the fields that choose by name."""
_LARGEST_VOCABULARY, _LARGEST_SIZE, _LARGEST_COUNT = 100_000_000, 1_000_000, 1_000_000_000
"""More than any machine can hold; products of them still fit the size of an array."""
_LARGEST_SEED = 2**63 - 1
"""PyTorch takes no larger one."""
_LARGEST_NUMBER = 1e100


@dataclass(frozen=True)
class ModelConfig:
    """Sizes and cells of a model (eqs. 3 and 4; the sizes of TWR-VAE where the paper gives none)."""

    vocabulary_size: int
    """Number of word ids V, specials included; 5 or more."""
    embedding_size: int = 512
    """Width E of both embedding tables."""
    hidden_size: int = 256
    """Hidden units H of each recurrent layer (M in the paper)."""
    latent_size: int = 32
    """Width Z of the latent; not given by the paper, 32 in TWR-VAE."""
    encoder_cells: tuple[Cell, Cell] = ("lstm", "lstm")
    """Cells of the first and the second encoder layer, as in Table 4's rows."""
    decoder_cell: Cell = "lstm"
    """Cell of the decoder; the paper does not name it for its mixed rows."""
    peepholes: bool = False
    """Gers peepholes in every LSTM: i and f see c_{t-1}, o sees c_t (eq. 11). PyTorch's LSTM has none."""
    dropout: float = 0.5
    """Probability of dropping an embedding's component in training; 0 to below 1."""
    encoder_sees_eos: bool = True
    """Whether the encoder reads the end symbol. If it does, it can tell which step becomes the latent, and an averaged
    KL is then no constraint on it; False ends its input at the last word."""

    def __post_init__(self) -> None:
        """Check every field.

        Raises `InputError` for a value outside its range.
        """
        if not isinstance(self.encoder_cells, list | tuple):
            raise InputError(f"encoder_cells is {quoted(self.encoder_cells)}; allowed: two cells, e.g. lstm,gru")
        object.__setattr__(self, "encoder_cells", tuple(self.encoder_cells))
        _whole("vocabulary_size", self.vocabulary_size, 5, _LARGEST_VOCABULARY)
        for name in ("embedding_size", "hidden_size", "latent_size"):
            _whole(name, getattr(self, name), 1, _LARGEST_SIZE)
        if len(self.encoder_cells) != 2:
            raise InputError(f"encoder_cells names {len(self.encoder_cells)} cells; allowed: two, e.g. lstm,gru")
        named = (*(("encoder_cells", cell) for cell in self.encoder_cells), ("decoder_cell", self.decoder_cell))
        for name, cell in named:
            if not isinstance(cell, str) or cell not in CELLS:
                raise InputError(f"{name}: {unknown_name('cell', cell, CELLS)}")
        for name in ("peepholes", "encoder_sees_eos"):
            _flag(name, getattr(self, name))
        if self.peepholes and "lstm" not in (*self.encoder_cells, self.decoder_cell):
            raise InputError("peepholes is True but no layer is an lstm; use an lstm cell or leave peepholes out")
        _number("dropout", self.dropout, 0.0, below=1.0)

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values, for JSON and checkpoints."""
        return {**asdict(self), "encoder_cells": list(self.encoder_cells)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelConfig:
        """The spec that `to_dict` described.

        Raises `InputError` for missing or unknown fields and bad values.
        """
        return cls(**_known(cls, values))


@dataclass(frozen=True)
class TrainingConfig:
    """Objective, optimiser and schedule of a training run. The defaults are the objective `sound`."""

    objective: str = "sound"
    """Name of the objective that the other fields started from, a key of `OBJECTIVES`."""
    kl_target: KlTarget = "last"
    """Steps whose KL is charged: the latent's own step (`last`, the ELBO), the mean over steps (`mean_t`, eq. 6 as in
    published code) or their sum."""
    beta: float = 1.0
    """Weight of the KL once annealing is over; 0 or more."""
    annealing: Annealing = "linear"
    """How the KL's weight reaches `beta`: at once, linearly, or in cycles that ramp in their first half."""
    annealing_epochs: float = 5.0
    """Length of the linear ramp, or of one cycle, in epochs; above 0."""
    free_bits: float = 4.0
    """KL per sentence (nats, mean over a batch) below which it costs nothing; the reported ELBO charges all of it.
    Without such a floor a strong decoder empties the latent: on the grammar corpus its KL is then 0.00, while the bound
    is 1 to 1.5 nats better. The floor is the price of a latent that is used."""
    mask_pads: bool = True
    """Whether the latent is read at the last valid step and pads carry no KL, or after the pads as TWR-VAE does."""
    reduction: Reduction = "mean"
    """Loss of a batch: sum over its sentences, or their mean, which makes gradient norms comparable over batches."""
    learning_rate: float = 1e-3
    """Adam's step size at the start; above 0."""
    schedule: Schedule = "cosine"
    """Step size over the run: constant, or half a cosine down to a twentieth."""
    batch_size: int = 64
    """Sentences per batch."""
    epochs: int = 20
    """Passes over the training split."""
    seed: int = 0
    """Seed of every random number of the run."""
    clip: float | None = 5.0
    """Bound on the gradient's norm; None for no clipping."""
    weight_decay: float = 0.0
    """Adam's coupled L2 term."""
    adam_eps: float = 1e-8
    """Adam's denominator offset."""
    precision: Precision = "auto"
    """`bf16` multiplies in bfloat16 with float32 weights and losses; `auto` does so where that is faster."""
    selection: Selection = "elbo"
    """Valid figure that chooses the best epoch: the ELBO, or the perplexity by the paper's formula."""
    shuffle: bool = True
    """New random batches each epoch, alike in length; False is TWR-VAE's fixed order from short to long."""

    def __post_init__(self) -> None:
        """Check every field.

        Raises `InputError` for a value outside its range.
        """
        for name, allowed in CHOICES.items():
            if not isinstance(getattr(self, name), str) or getattr(self, name) not in allowed:
                raise InputError(unknown_name(name, getattr(self, name), allowed))
        if not isinstance(self.objective, str) or self.objective not in OBJECTIVES:
            raise InputError(unknown_name("objective", self.objective, OBJECTIVES))
        for name in ("beta", "free_bits", "weight_decay"):
            _number(name, getattr(self, name), 0.0)
        for name in ("annealing_epochs", "learning_rate", "adam_eps"):
            _number(name, getattr(self, name), 0.0, above=True)
        if self.clip is not None:
            _number("clip", self.clip, 0.0, above=True)
        _whole("batch_size", self.batch_size, 1, _LARGEST_COUNT)
        _whole("epochs", self.epochs, 1, _LARGEST_COUNT)
        _whole("seed", self.seed, 0, _LARGEST_SEED)
        for name in ("mask_pads", "shuffle"):
            _flag(name, getattr(self, name))

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values, for JSON and checkpoints."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainingConfig:
        """The spec that `to_dict` described.

        Raises `InputError` for missing or unknown fields and bad values.
        """
        return cls(**_known(cls, values))


OBJECTIVES: dict[str, dict[str, Any]] = {
    # The loss and optimiser of TWR-VAE's published code, which the paper's figures come from. Its KL is divided by the
    # number of steps while the decoder uses one step's latent, so its "PPL" is no bound; kept for comparison only.
    "paper": {
        "encoder_sees_eos": True,
        "kl_target": "mean_t",
        "beta": 1.0,
        "annealing": "none",
        "free_bits": 0.0,
        "mask_pads": False,
        "reduction": "sum",
        "batch_size": 64,
        "learning_rate": 1e-4,
        "schedule": "constant",
        "clip": None,
        "weight_decay": 1e-5,
        "adam_eps": 1e-6,
        "selection": "paper_ppl",
        "shuffle": False,
    },
    "sound": {"encoder_sees_eos": False},
}
"""Named objectives, as the fields of `ModelConfig` and `TrainingConfig` that they set."""

PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {
        "embedding_size": 48,
        "hidden_size": 64,
        "latent_size": 16,
        "dropout": 0.1,
        "batch_size": 32,
        "learning_rate": 4e-3,
        "annealing_epochs": 4.0,
        "epochs": 15,
    },
    "small": {"embedding_size": 192, "hidden_size": 128, "latent_size": 32, "epochs": 15},
    "paper": {"embedding_size": 512, "hidden_size": 256, "latent_size": 32, "epochs": 20},
}
"""Named sizes, with the training lengths that suit them. An objective's own settings go before a preset's."""


def configure(
    preset: str, objective: str, vocabulary_size: int, **overrides: Any
) -> tuple[ModelConfig, TrainingConfig]:
    """Both specs from a preset, an objective and single fields of either; an override that is None is ignored.

    Raises `InputError` for an unknown preset, objective or field, and for bad values.
    """
    if preset not in PRESETS:
        raise InputError(unknown_name("preset", preset, PRESETS))
    if objective not in OBJECTIVES:
        raise InputError(unknown_name("objective", objective, OBJECTIVES))
    chosen = {name: value for name, value in overrides.items() if value is not None}
    values = {**PRESETS[preset], **OBJECTIVES[objective], **chosen}
    values |= {"vocabulary_size": vocabulary_size, "objective": objective}
    model_names = {field.name for field in fields(ModelConfig)}
    training_names = {field.name for field in fields(TrainingConfig)}
    foreign = sorted(set(values) - model_names - training_names)
    if foreign:
        raise InputError(unknown_name("setting", foreign[0], sorted(model_names | training_names)))
    return (
        ModelConfig(**{name: value for name, value in values.items() if name in model_names}),
        TrainingConfig(**{name: value for name, value in values.items() if name in training_names}),
    )


def parse_cells(text: str) -> tuple[Cell, ...]:
    """Cell names from a comma-separated list such as `lstm,gru`.

    Raises `InputError` for an unknown name.
    """
    names = [name.strip().lower() for name in text.split(",")]
    for name in names:
        if name not in CELLS:
            raise InputError(f"cells {quoted(text)}: {unknown_name('cell', name, CELLS)}")
    return tuple(names)  # type: ignore[arg-type]


def _known(spec: type[ModelConfig] | type[TrainingConfig], values: Mapping[str, Any]) -> dict[str, Any]:
    names: Sequence[str] = [field.name for field in fields(spec)]
    foreign = sorted(str(name) for name in set(values) - set(names))
    missing = [name for name in names if name not in values]
    if foreign or missing:
        problem = f"unknown field {quoted(foreign[0])}" if foreign else f"no field {missing[0]!r}"
        raise InputError(f"{spec.__name__} has {problem}")
    return dict(values)


def _whole(name: str, value: object, least: int, most: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise InputError(f"{name} is {quoted(value)}; allowed: a whole number from {least} to {most:,}")


def _flag(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise InputError(f"{name} is {quoted(value)}; allowed: True or False")


def _number(name: str, value: object, least: float, above: bool = False, below: float | None = None) -> None:
    usable = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST_NUMBER
    if usable:
        number = float(cast("float", value))
        usable = (number > least if above else number >= least) and (below is None or number < below)
    if not usable:
        bounds = f"above {least:g}" if above else f"at least {least:g}"
        bounds += f" and below {below:g}" if below is not None else ""
        raise InputError(f"{name} is {quoted(value)}; allowed: a finite number {bounds}")
