"""The paper's Table 3: both models on all six source sentences, beside the printed reconstructions.

The printed texts are, most probably, the most likely next words under teacher forcing, as TWR-VAE's code prints them;
and each model has three sentences of its own there. So they show neither what a model writes by itself nor how the two
compare; here both read all six, and write by themselves, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from hvae_mnn.files import sha256
from hvae_mnn.models.checkpoint import Checkpoint
from hvae_mnn.models.stepwise import Stepper
from hvae_mnn.reproduction.printed import printed_sentences
from hvae_mnn.studies.generation.items import FORMS, Form, Settings, encode_given, reconstructions, text_of
from hvae_mnn.studies.generation.run import check_items
from hvae_mnn.studies.generation.writer import Writer


@dataclass(frozen=True)
class Reconstruction:
    """A source sentence as one of our models wrote it."""

    source: str
    """As printed: without capitals."""
    printed_label: str
    """The paper's model that has this sentence."""
    printed: str
    """What the paper prints for it."""
    model: str
    """Name of our model."""
    form: Form
    text: str
    nats: float | None
    """-ln p of the source from its latent's mean; teacher-forced only."""

    @property
    def words(self) -> int:
        """Number of words of the source."""
        return len(self.source.split())

    @property
    def right(self) -> int:
        """Number of the source's words that stand at their places in our text."""
        return right_words(self.source, self.text)

    @property
    def printed_right(self) -> int:
        """Number of the source's words that stand at their places in the printed text."""
        return right_words(self.source, self.printed)


def right_words(source: str, text: str) -> int:
    """Number of words of `source` that stand at their places in `text`; capitals do not count."""
    return sum(one == other for one, other in zip(source.lower().split(), text.lower().split(), strict=False))


def in_corpus(source: str) -> str:
    """A printed sentence as the Penn Treebank has it: with `N` for a number."""
    return " ".join("N" if word == "n" else word for word in source.split())


def reconstruct_all(
    models: Mapping[str, Checkpoint], settings: Settings, progress: Callable[[str, int, int], None] | None = None
) -> list[Reconstruction]:
    """All six sentences by each of `models`, in every form. Raises `TextError` for a model that lacks all words of a
    sentence, `InputError` for one without a latent."""
    rows: list[Reconstruction] = []
    printed = printed_sentences()
    total = len(printed) * len(models) * len(FORMS)
    for name, checkpoint in models.items():
        texts = [in_corpus(row.source) for row in printed]
        items = reconstructions(encode_given(checkpoint, texts, f"Table 3 with {checkpoint.path}"))
        check_items(checkpoint, items, settings)
        writer = Writer("digital", Stepper(checkpoint.model), settings)
        with torch.inference_mode():
            for row, item in zip(printed, items, strict=True):
                for form in FORMS:
                    written = writer.write(item, form)
                    text = text_of(checkpoint, written.tokens)
                    rows.append(Reconstruction(row.source, row.label, row.generated, name, form, text, written.nats))
                    if progress is not None:
                        progress("writing sentences", len(rows), total)
    return rows


def describe(models: Mapping[str, Checkpoint]) -> dict[str, str]:
    """By model: what its checkpoint is, in a line."""
    told = {}
    for name, checkpoint in models.items():
        layers = "+".join(checkpoint.config.encoder_cells)
        sizes = f"{checkpoint.config.embedding_size}/{checkpoint.config.hidden_size}/{checkpoint.config.latent_size}"
        told[name] = (
            f"{layers} encoder, {checkpoint.config.decoder_cell} decoder, {sizes}, objective"
            f" {checkpoint.training_config.objective}, tokenizer {checkpoint.tokenizer}, epoch"
            f" {checkpoint.metrics.get('epoch', '?')} on {checkpoint.metrics.get('corpus', '?')}, SHA-256"
            f" {sha256(checkpoint.path)[:16]}"
        )
    return told
