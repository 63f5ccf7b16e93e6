"""The likelihood by the Jacobian of a short run, as Sri-VAE's authors estimate it (Pang et al. 2021).

z_K = F(z_0) is the end of K Langevin steps without noise from z_0 ~ N(0, I), and its density is taken to be
ln q(z_K) = ln p(z_0) - ln |det dF/dz_0|. That is exact where F leads every start to an end of its own, and the estimate
is then an importance-weighted bound. A step that overshoots folds the latent space: several starts share an end, q is
larger than its formula says, and the likelihood is overrated. The bound that always holds is in `importance`.

Axis letters: B samples, T sentence length, Z latent, V vocabulary.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from hvae_mnn.evaluation.scoring import Progress, mean_and_error, perplexity, require_finite
from hvae_mnn.models.inference.langevin import step_size
from hvae_mnn.models.latent import sentence_noise
from hvae_mnn.models.objective import reconstruction
from hvae_mnn.models.recurrent import RecurrentModel
from hvae_mnn.text.batches import EncodedSentence

SAMPLES = 10
"""Starts per sentence, M, as published."""
SENTENCES = 10
"""Sentences by default: at 128/128/32 and 9,600 words, one of 15 words takes 18 s of one core."""
NOTE = "no bound: the steps need not be one-to-one"

_Pullback = tuple[Tensor, Callable[[Tensor], tuple[Tensor, ...]]]
"""What `torch.func.vjp` gives without an auxiliary result."""
_SCORES_AT_ONCE = 1 << 19  # 4 MiB of float64
_PURPOSE = 4
"""Branch of a sentence's noise; see `importance`, `proper` and `hvae_mnn.models.inference.infer` for the others."""


@dataclass(frozen=True)
class ShortRunReport:
    """The estimate on some of the sentences; nats per sentence."""

    sentences: int
    """Sentences used: the first of those that have importance-weighted figures."""
    samples: int
    """Starts M per sentence."""
    nll: float
    """Mean of -ln 1/M sum_m p(x | z_K) p(z_K) / q(z_K)."""
    standard_error: float
    """Its standard error as an estimate for the whole set: spread over sentences / sqrt(sentences)."""
    ppl: float
    """exp of `nll` over the words + 1 tokens of these sentences."""
    kl: float
    """Mean of ln q(z_K) - ln p(z_K)."""
    folded: float
    """Part of the runs with a step whose Jacobian has an eigenvalue of 0 or below: it overshoots, and the steps may
    lead several starts to one end. At 0 they may do so elsewhere."""
    importance_nll: float | None
    """The importance-weighted bound of the same sentences, with as many samples as the rest of the report has; None if
    that was not asked for."""
    note: str = NOTE
    """Why it stands apart from the bounds."""

    def to_dict(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)


@dataclass(frozen=True)
class ShortRun:
    """Ends of runs, and how the space about their starts was stretched."""

    end: Float[Tensor, "B Z"]
    """z_K."""
    log_determinant: Float[Tensor, " B"]
    """ln |det dz_K/dz_0|."""
    folded: Bool[Tensor, " B"]
    """Whether the Jacobian of a step is not positive definite."""


def short_run(
    derivatives: Callable[[Float[Tensor, "B Z"]], tuple[Tensor, Tensor]], start: Float[Tensor, "B Z"], steps: int
) -> ShortRun:
    """K steps of `models.inference.langevin.chain` without noise, with their Jacobian.

    `derivatives(z)` gives gradient (B, Z) and Hessian H (B, Z, Z) of each row's -ln p(x | z). A step's Jacobian is
    (1 - s^2/2) I - s^2/2 H, which is symmetric; that of the run is their product.

    Raises `CheckpointError` if a derivative is not finite.
    """
    latent = start
    log_determinant = torch.zeros_like(start[:, 0])
    folded = torch.zeros(len(start), dtype=torch.bool, device=start.device)
    for number in range(steps):
        weight = step_size(number) ** 2 / 2
        slope, hessian = derivatives(latent)
        require_finite({"second derivative of the likelihood": hessian.abs().max().item()})
        stretch = 1 - weight - weight * torch.linalg.eigvalsh(hessian)  # (B, Z)
        log_determinant = log_determinant + stretch.abs().log().sum(dim=1)
        folded = folded | (stretch <= 0).any(dim=1)
        latent = latent - weight * (slope + latent)
    return ShortRun(latent, log_determinant, folded)


def likelihood_derivatives(
    model: RecurrentModel, tokens: Int[Tensor, "B T"], latent: Float[Tensor, "B Z"]
) -> tuple[Float[Tensor, "B Z"], Float[Tensor, "B Z Z"]]:
    """Gradient and Hessian of each row's -ln p(x | z); no pads, a linear output layer, weights without gradients.

    With h the decoder's states and W the output layer, H = sum_t J_t' W' (diag p_t - p_t p_t') W J_t + the curvature of
    h along the gradient W' (p_t - x_t): exact, at a fraction of the work of differentiating all logits twice.
    """
    weight = cast("nn.Linear", model.to_logits).weight  # (V, H)
    words = tokens[:, 1:, None]
    probabilities = model.to_logits(model.decoder_hidden(tokens, latent)).softmax(dim=2)  # (B, T - 1, V)
    surplus = probabilities.scatter_add(2, words, -torch.ones_like(words, dtype=latent.dtype)) @ weight

    def slope_of(latent: Tensor, weights: Tensor) -> Tensor:
        """Gradient of the states' sum with these weights (B, T - 1, H)."""
        _, pull_back = cast("_Pullback", torch.func.vjp(lambda z: model.decoder_hidden(tokens, z), latent))
        return pull_back(weights)[0]

    # The gradient is linear in the weights: its own derivative by them is J, and by the latent the states' curvature.
    slope, pull_back = cast("_Pullback", torch.func.vjp(slope_of, latent, surplus))
    units = torch.eye(latent.shape[1], dtype=latent.dtype)[:, None].expand(-1, len(latent), -1)  # (Z, B, Z)
    curvature, moves = torch.func.vmap(pull_back)(units)  # (Z, B, Z), (Z, B, T - 1, H)
    # (B (T - 1), Z, H) and (B (T - 1), V), as many places at once as stay near the cache.
    at_once = max(1, _SCORES_AT_ONCE // (latent.shape[1] * len(weight)))
    places = torch.split(moves.permute(1, 2, 0, 3).flatten(0, 1), at_once)
    parts = torch.split(probabilities.flatten(0, 1), at_once)
    spread = torch.cat([_covariance(place @ weight.T, part) for place, part in zip(places, parts, strict=True)])
    hessian = curvature.transpose(0, 1) + spread.view(len(latent), -1, *spread.shape[1:]).sum(dim=1)
    return slope, hessian


def _covariance(scores: Float[Tensor, "N Z V"], probabilities: Float[Tensor, "N V"]) -> Float[Tensor, "N Z Z"]:
    """Covariance of the scores of a word that is drawn with these probabilities."""
    weighted = scores * probabilities[:, None]
    mean = weighted.sum(dim=2, keepdim=True)  # (N, Z, 1)
    return weighted @ scores.mT - mean @ mean.mT


def log_weights(
    model: RecurrentModel, sentence: EncodedSentence, start: Float[Tensor, "B Z"]
) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"], Bool[Tensor, " B"]]:
    """ln p(x | z_K), ln q(z_K) - ln p(z_K), and `ShortRun.folded`, each (B,), of runs from `start`, float64.

    For the model see `likelihood_derivatives`; it is in float64, in eval mode and on a CPU.
    """
    tokens = torch.tensor(sentence).expand(len(start), -1)
    run = short_run(lambda latent: likelihood_derivatives(model, tokens, latent), start, model.config.inference_steps)
    ratio = (run.end.square() - start.square()).sum(dim=1) / 2 - run.log_determinant
    return -reconstruction(model.decode(tokens, run.end), tokens), ratio, run.folded


def short_run_report(
    model: RecurrentModel,
    sentences: Sequence[EncodedSentence],
    *,
    samples: int = SAMPLES,
    importance_nll: float | None,
    seed: int,
    progress: Progress | None = None,
) -> ShortRunReport:
    """The estimate on encoded sentences (with start and end symbols) of a model with inference `langevin`.

    Computed in float64 on the CPU. Raises `CheckpointError` if a figure is not finite.
    """
    exact = copy.deepcopy(model).double().cpu().eval().requires_grad_(False)
    bounds, divergences, folds = [], [], []
    for done, sentence in enumerate(sentences, start=1):
        start = sentence_noise(seed, _PURPOSE, sentence, (samples, model.config.latent_size)).double()
        likelihood, ratio, folded = log_weights(exact, sentence, start)
        bounds.append(math.log(samples) - torch.logsumexp(likelihood - ratio, dim=0).item())
        divergences.append(ratio.mean().item())
        folds.append(folded.double().mean().item())
        if progress is not None:
            progress("short runs", done, len(sentences))
    nll, error = mean_and_error(bounds)
    kl, _ = mean_and_error(divergences)
    require_finite({"NLL by short runs": nll, "KL by short runs": kl})
    return ShortRunReport(
        sentences=len(sentences),
        samples=samples,
        nll=nll,
        standard_error=error,
        ppl=perplexity(sum(bounds), sum(len(sentence) - 1 for sentence in sentences)),
        kl=kl,
        folded=mean_and_error(folds)[0],
        importance_nll=importance_nll,
    )
