"""Writes sentences with a model and, beside it, with its crossbars: a table and a summary of all forms."""

from __future__ import annotations

import html
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from hvae_mnn.cosim.source import CrossbarSource
from hvae_mnn.cosim.stepper import HardwareStepper
from hvae_mnn.crossbar.hardware.file import hardware_to_dict
from hvae_mnn.engines.protocol import Engine
from hvae_mnn.errors import InputError
from hvae_mnn.files import sha256, write_sealed
from hvae_mnn.folders import new_run
from hvae_mnn.models.checkpoint import Checkpoint
from hvae_mnn.models.stepwise import Stepper
from hvae_mnn.netlist.manifest import Manifest
from hvae_mnn.reading import absolute
from hvae_mnn.results import Result
from hvae_mnn.studies.generation.items import Form, Item, Settings, source_texts, text_of
from hvae_mnn.studies.generation.writer import Side, Writer, Written
from hvae_mnn.tables import write_rows
from hvae_mnn.text.tokenizers import join_tokens
from hvae_mnn.text.vocabulary import EOS
from hvae_mnn.version import versions

SUMMARY, SENTENCES = "generation.json", "sentences.parquet"
SCHEMA = pa.schema(
    [
        ("kind", pa.string()),  # reconstruct, prior or interpolate
        ("number", pa.int64()),  # among its kind, from 1
        ("source", pa.string()),  # as the model reads it; null for the prior
        ("second", pa.string()),  # the other end of an interpolation
        ("weight", pa.float64()),  # part of the second
        ("form", pa.string()),  # teacher-forced, greedy or sampled
        ("model", pa.string()),  # digital or hardware
        ("text", pa.string()),
        ("tokens", pa.int64()),  # steps of the decoder
        ("stopped", pa.string()),  # eos, text, limit or not finite
        ("right", pa.int64()),  # teacher-forced: most likely words that are the source's, end symbol included
        ("nats", pa.float64()),  # teacher-forced: -ln p of the source
        ("equal", pa.bool_()),  # hardware: whether its tokens are the digital model's
    ]
)

Progress = Callable[[str, int, int], None]
"""Called with the stage, sentences written, and sentences in all."""


@dataclass(frozen=True)
class Circuit:
    """A netlist folder and the engine that its arrays run on."""

    manifest: Manifest
    engine: Engine


@dataclass(frozen=True, repr=False)
class GenerationResult(Result):
    """Sentences that a model wrote, and its hardware. Table: `sentences`, a row per item, form and model."""

    folder: Path
    """Folder with `sentences.parquet` and `generation.json`."""
    checkpoint: Checkpoint
    written: tuple[Written, ...]
    """In the order of items, forms, and models."""
    summary: dict[str, Any]
    """Contents of `generation.json`."""

    def text(self, written: Written) -> str:
        """The text of a sentence that was written."""
        return text_of(self.checkpoint, written.tokens)

    def words(self, written: Written) -> list[str]:
        """Its tokens, without the end symbol."""
        tokens = written.tokens[:-1] if written.tokens[-1:] == (EOS,) else written.tokens
        return self.checkpoint.vocabulary.decode(tokens)

    def joined(self, words: Sequence[str]) -> str:
        """Text of the model's tokens."""
        return join_tokens(self.checkpoint.tokenizer, words)

    def sources(self, item: Item) -> list[str]:
        """Texts that an item was made of, as the model reads them; none for the prior."""
        return source_texts(self.checkpoint, item)

    def items(self) -> dict[Item, list[Written]]:
        """What was written from each item."""
        found: dict[Item, list[Written]] = {}
        for written in self.written:
            found.setdefault(written.item, []).append(written)
        return found

    def facts(self) -> Mapping[str, object]:
        """Model, hardware, and the number of sentences."""
        hardware = self.summary["hardware"]
        return {
            "folder": self.folder,
            "checkpoint": self.summary["checkpoint"]["file"],
            "hardware": None if hardware is None else f"{hardware['netlist']}, {hardware['engine']}",
            "sentences": len(self.items()),
            "forms": ", ".join(self.summary["settings"]["forms"]),
            "seed": self.summary["settings"]["seed"],
            "equal": self.summary["equal"],
        }

    def _more_html(self) -> str:
        names = ("source", "form", "model", "text")
        rows = [tuple(str(row[name] or "") for name in names) for row in self.summary["sentences"]]
        head, *body = (
            "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row)
            for tag, row in (("th", names), *(("td", row) for row in rows))
        )
        lines = "".join(f"<tr>{line}</tr>" for line in (head, *body))
        return f"{super()._more_html()}<table>{lines}</table>"


def check_items(checkpoint: Checkpoint, items: Sequence[Item], settings: Settings) -> None:
    """Check that the model can write all items. Raises `InputError`."""
    if not items:
        raise InputError("nothing to write; give sentences to reconstruct, --prior N, or --interpolate A B")
    needing = next((item.kind for item in items if item.sources), None)
    if needing and not checkpoint.config.latent_size:
        raise InputError(
            f"--{needing} needs an encoder, and {checkpoint.path} is a language model, which has no latent; allowed:"
            " --prior N"
        )
    if checkpoint.config.latent_use == "step" and any(len(item.sources) > 1 for item in items):
        raise InputError(
            f"--interpolate needs one latent per sentence, and {checkpoint.path} has one per step; allowed:"
            " --reconstruct, --prior N"
        )
    for item in items:
        if not forms_of(checkpoint, item, settings):
            raise InputError(
                f"--form teacher-forced needs a sentence to read; allowed for --{item.kind}: greedy, sampled"
            )


def forms_of(checkpoint: Checkpoint, item: Item, settings: Settings) -> list[Form]:
    """The forms in which an item is written: teacher-forced, only its own sentence; without a latent, no greedy one
    beside samples, since it would be the same for all."""
    forms: list[Form] = [form for form in settings.forms if form != "teacher-forced" or item.kind == "reconstruct"]
    if checkpoint.config.latent_size == 0 and "sampled" in forms:
        forms = [form for form in forms if form != "greedy"]
    return forms


def generate(
    checkpoint: Checkpoint,
    items: Sequence[Item],
    settings: Settings,
    circuit: Circuit | None = None,
    *,
    out: Path | None = None,
    progress: Progress | None = None,
) -> GenerationResult:
    """Write every item in every form, with the digital model and, if there is a `circuit`, on its arrays.

    Table and summary go to `out` (default: a new folder in `runs/`). Raises `InputError` as `check_items`, `RunError`
    if `out` is taken, `SimulatorError` if a simulator fails.
    """
    check_items(checkpoint, items, settings)
    began = time.perf_counter()
    source = None
    writers = [Writer("digital", Stepper(checkpoint.model), settings)]
    if circuit is not None:
        bits = settings.dac_bits, settings.adc_bits
        source = CrossbarSource(circuit.manifest, circuit.engine, *bits, seed=settings.seed)
        writers.append(Writer("hardware", HardwareStepper(checkpoint.model, source), settings, source.begin))
    work = [(item, form) for item in items for form in forms_of(checkpoint, item, settings)]
    name = circuit.manifest.name if circuit is not None else absolute(checkpoint.path).parent.name
    with new_run(out, f"generate-{name}") as folder:
        written: list[Written] = []
        with torch.inference_mode():
            for item, form in work:
                for writer in writers:
                    written.append(writer.write(item, form))
                    if progress is not None:
                        progress("writing sentences", len(written), len(work) * len(writers))
        rows = list(_rows(checkpoint, written))
        summary = {
            "checkpoint": _described(checkpoint),
            "settings": asdict(settings),
            "seeds": {"latents": settings.seed, "words": settings.seed, "converters": settings.seed},
            "hardware": None if circuit is None else _hardware(circuit),
            "equal": _equal_part(rows),
            "sentences": rows,
            "seconds": round(time.perf_counter() - began, 3),
            "versions": versions("torch", "numpy", "PySpice"),
        }
        write_rows(folder / SENTENCES, rows, SCHEMA)
        write_sealed(folder / SUMMARY, summary)
    return GenerationResult(folder, checkpoint, tuple(written), summary)


def _rows(checkpoint: Checkpoint, written: Sequence[Written]) -> Iterator[dict[str, Any]]:
    """Rows of the table; a row of the hardware follows that of the digital model."""
    digital: tuple[int, ...] = ()
    for one in written:
        sources = source_texts(checkpoint, one.item)
        if one.side == "digital":
            digital = one.tokens
        yield {
            "kind": one.item.kind,
            "number": one.item.number,
            "source": sources[0] if sources else None,
            "second": sources[1] if len(sources) > 1 else None,
            "weight": one.item.weight if len(sources) > 1 else None,
            "form": one.form,
            "model": one.side,
            "text": text_of(checkpoint, one.tokens),
            "tokens": len(one.tokens),
            "stopped": one.stopped,
            "right": one.right,
            "nats": one.nats,
            "equal": None if one.side == "digital" else one.tokens == digital,
        }


def _equal_part(rows: Sequence[Mapping[str, Any]]) -> float | None:
    """Fraction of the hardware's sentences that are the digital model's; None without hardware."""
    side: Side = "hardware"
    equal = [row["equal"] for row in rows if row["model"] == side]
    return sum(equal) / len(equal) if equal else None


def _described(checkpoint: Checkpoint) -> dict[str, Any]:
    return {
        "file": f"{absolute(checkpoint.path).parent.name}/{checkpoint.path.name}",
        "sha256": sha256(checkpoint.path),
        "tokenizer": checkpoint.tokenizer,
        "objective": checkpoint.training_config.objective,
        "epoch": checkpoint.metrics.get("epoch"),
        "trained_on": checkpoint.metrics.get("corpus"),
    }


def _hardware(circuit: Circuit) -> dict[str, Any]:
    manifest = circuit.manifest
    return {
        "netlist": manifest.name,
        "manifest_sha256": sha256(manifest.path),
        "engine": circuit.engine.name,
        "engine_facts": circuit.engine.facts(),
        "name": manifest.hardware.name,
        "description": hardware_to_dict(manifest.hardware),
        "device_backend": manifest.device_backend,
        "memristors": manifest.memristors,
    }
