"""The spec of a training run: objective, optimiser and schedules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from hvae_mnn.errors import InputError
from hvae_mnn.models.fields import (
    LARGEST_COUNT,
    check_choice,
    check_flag,
    check_number,
    check_whole,
    known_fields,
)

KlTarget = Literal["mean_t", "last", "sum", "last_over_t", "last_25", "last_50", "last_75"]
Annealing = Literal["none", "linear", "cyclical"]
Reduction = Literal["sum", "mean"]
Schedule = Literal["constant", "cosine", "cosine_cycles", "plateau"]
Precision = Literal["auto", "fp32", "bf16"]
Selection = Literal["paper_ppl", "elbo"]
Optimizer = Literal["adam", "sgd"]
InitialWeights = Literal["torch", "uniform", "small", "small_decoder"]
UpdateRule = Literal["joint", "lagging"]

OBJECTIVES = ("paper", "sound")
"""Names of the objectives; `hvae_mnn.models.presets` has their settings."""
CHOICES: dict[str, tuple[str, ...]] = {
    "objective": OBJECTIVES,
    "kl_target": ("mean_t", "last", "sum", "last_over_t", "last_25", "last_50", "last_75"),
    "annealing": ("none", "linear", "cyclical"),
    "reduction": ("sum", "mean"),
    "schedule": ("constant", "cosine", "cosine_cycles", "plateau"),
    "precision": ("auto", "fp32", "bf16"),
    "selection": ("paper_ppl", "elbo"),
    "optimizer": ("adam", "sgd"),
    "initial_weights": ("torch", "uniform", "small", "small_decoder"),
    "updates": ("joint", "lagging"),
}
"""Allowed values of the fields that choose by name."""
_LATER = {
    "annealing_start",
    "free_bits_per_unit",
    "batch_norm_gamma",
    "samples",
    "optimizer",
    "initial_weights",
    "updates",
    "plateau_from",
    "patience",
    "halvings",
    "final_halvings",
    "reload_best",
    "first_order",
}
_LARGEST_SEED = 2**63 - 1
"""PyTorch takes no larger one."""


@dataclass(frozen=True)
class TrainingConfig:
    """Objective, optimiser and schedule of a training run. The defaults are the objective `sound`."""

    objective: str = "sound"
    """Name of the objective that the other fields started from, one of `OBJECTIVES`."""
    kl_target: KlTarget = "last"
    """Steps whose KL is charged: the latent's own step (`last`, the ELBO), the mean over steps (`mean_t`, eq. 6 as in
    published code), their sum, the mean over the last 25, 50 or 75 % of the steps (TWR-VAE's partial forms), or the
    last step's divided by the number of steps (`last_over_t`, a control: the price that `mean_t` charges a latent whose
    KL is all on its own step)."""
    beta: float = 1.0
    """Weight of the KL once annealing is over; 0 or more."""
    annealing: Annealing = "linear"
    """How the KL's weight reaches `beta`: at once, linearly, or in cycles that ramp in their first half."""
    annealing_epochs: float = 5.0
    """Length of the linear ramp, or of one cycle, in epochs; above 0."""
    annealing_start: float = 0.0
    """Part of `beta` that a ramp begins from; 0 to below 1."""
    free_bits: float = 4.0
    """KL per sentence (nats, mean over a batch) below which it costs nothing; the reported ELBO charges all of it.
    Without such a floor a strong decoder empties the latent: on the grammar corpus its KL is then 0.00, while the bound
    is 1 to 1.5 nats better. The floor is the price of a latent that is used. A floor that is met is no proof of that: a
    constant shift of every posterior meets it, too. The mutual information shows the difference."""
    free_bits_per_unit: float = 0.0
    """The same floor for each latent unit by itself (Kingma et al. 2016); 0: none."""
    batch_norm_gamma: float = 0.0
    """Above 0, the posterior means go through batch normalisation of this fixed scale and a learned shift (BN-VAE, Zhu
    et al. 2020), which keeps the KL above Z gamma^2 / 2. A checkpoint has the normalisation folded into the linear map.
    0: none."""
    samples: int = 1
    """Latents drawn for each sentence of a batch (M of eq. 7), 1 or more."""
    first_order: bool = False
    """Whether gradients pass the steps of `svi` as if these were constant shifts: a third of the time of exact ones."""
    mask_pads: bool = True
    """Whether the latent is read at the last valid step and pads carry no KL, or after the pads as TWR-VAE does."""
    reduction: Reduction = "mean"
    """Loss of a batch: sum over its sentences, or their mean, which makes gradient norms comparable over batches."""
    optimizer: Optimizer = "adam"
    """`adam`, or `sgd` without momentum."""
    initial_weights: InitialWeights = "torch"
    """Weights before the first step: PyTorch's own; `uniform` within 0.1 (Kim et al. 2018); `small`, embeddings within
    0.1 and all else within 0.01 (He et al. 2019); or `small_decoder`, the encoder's as PyTorch's, the rest `small` (Zhu
    et al. 2020)."""
    updates: UpdateRule = "joint"
    """Encoder and decoder together; or `lagging`: encoder alone until it has caught up, then one step of the decoder,
    as long as the mutual information on the valid split rises (He et al. 2019)."""
    learning_rate: float = 1e-3
    """The optimiser's step size at the start; above 0."""
    schedule: Schedule = "cosine"
    """Step size over the run: constant; half a cosine down to a twentieth; half a cosine down to 0 in every annealing
    cycle (`cosine_cycles`); or halved on a `plateau` of the valid figure that `selection` names."""
    plateau_from: float = 0.0
    """`plateau`: no halving before the end of this epoch; 0 or more."""
    patience: int = 1
    """`plateau`: epochs without a better figure before a halving, 1 or more."""
    halvings: int = 0
    """`plateau`: the run ends at this halving, as published code counts; 0: no end but `epochs`."""
    final_halvings: int = 0
    """`plateau`: epochs at the end of the run that begin with a halving each, whatever the figure; 0 or more."""
    reload_best: bool = False
    """`plateau`: whether a halving goes back to the best epoch's weights. The figure to beat is then the one that the
    halving saw, not the best one, as in He et al.'s code."""
    batch_size: int = 64
    """Sentences per batch."""
    epochs: int = 20
    """Passes over the training split."""
    seed: int = 0
    """Seed of every random number of the run."""
    clip: float | None = 5.0
    """Bound on the gradient's norm; None for no clipping."""
    weight_decay: float = 0.0
    """The optimiser's coupled L2 term."""
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
            check_choice(name, getattr(self, name), allowed)
        for name in ("beta", "free_bits", "free_bits_per_unit", "batch_norm_gamma", "weight_decay", "plateau_from"):
            check_number(name, getattr(self, name), 0.0)
        check_number("annealing_start", self.annealing_start, 0.0, below=1.0)
        for name in ("annealing_epochs", "learning_rate", "adam_eps"):
            check_number(name, getattr(self, name), 0.0, above=True)
        if self.clip is not None:
            check_number("clip", self.clip, 0.0, above=True)
        for name in ("batch_size", "epochs", "samples", "patience"):
            check_whole(name, getattr(self, name), 1, LARGEST_COUNT)
        for name in ("halvings", "final_halvings"):
            check_whole(name, getattr(self, name), 0, LARGEST_COUNT)
        check_whole("seed", self.seed, 0, _LARGEST_SEED)
        for name in ("mask_pads", "shuffle", "reload_best", "first_order"):
            check_flag(name, getattr(self, name))
        if self.reload_best and self.batch_norm_gamma > 0:
            raise InputError(
                "reload_best is True with a batch_norm_gamma, but the best checkpoint has the normalisation folded in;"
                " allowed: one of the two"
            )

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values, for JSON and checkpoints."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainingConfig:
        """The spec that `to_dict` described, also that of an earlier version.

        Raises `InputError` for missing or unknown fields and bad values.
        """
        return cls(**known_fields(cls, values, _LATER))
