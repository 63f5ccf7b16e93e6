"""Tasks on a small network and the built-in corpus."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hvae_mnn.crossbar.hardware.file import hardware_to_dict
from hvae_mnn.crossbar.hardware.spec import Hardware
from hvae_mnn.crossbar.nonidealities.file import nonidealities_to_dict
from hvae_mnn.crossbar.nonidealities.spec import Nonidealities
from hvae_mnn.evaluation.text_metrics import METRICS
from hvae_mnn.files import sha256
from hvae_mnn.models.checkpoint import load_checkpoint
from hvae_mnn.sweeps.sentences import choose_text, further_text, text_sha256
from hvae_mnn.sweeps.task import ModelChoice, Task


@pytest.fixture
def make_task(make_checkpoint: Callable[..., Path]) -> Callable[..., Task]:
    """A task of any kind on the network whose cells have that name."""

    def make(
        kind: str = "point",
        hardware: Hardware | None = None,
        noise: Nonidealities | None = None,
        seed: int | None = 0,
        *,
        cells: str = "lstm",
        sentences: int | None = 12,
        metrics: tuple[str, ...] = tuple(METRICS),
    ) -> Task:
        path = make_checkpoint(cells)
        checkpoint = load_checkpoint(path)
        text = choose_text(checkpoint, None, "test", sentences)
        further = further_text(checkpoint, text, kind, hardware)
        return Task(
            kind=kind,
            model=ModelChoice(cells, str(path), sha256(path)),
            text=text,
            further_text=text_sha256(further) if further else "",
            metrics=metrics,
            seed=seed,
            hardware={} if hardware is None else hardware_to_dict(hardware),
            noise={} if noise is None else nonidealities_to_dict(noise),
        )

    return make
