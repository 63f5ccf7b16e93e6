"""`hvae-mnn simulate`."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click
from rich.table import Table
from rich.text import Text

from hvae_mnn.cli.mistakes import refuse_beside
from hvae_mnn.cli.options import (
    COUNT,
    PLACE,
    Choice,
    data_dir_option,
    engine_options,
    option,
    out_option,
    seed_option,
    split_option,
    text_option,
)
from hvae_mnn.cli.show import add_row, new_table, print_lines, print_tables
from hvae_mnn.cli.signals import resumable
from hvae_mnn.errors import HvaeMnnError

if TYPE_CHECKING:
    from hvae_mnn.cosim.simulation import SimulationResult

EPILOG = """
Examples:

    hvae-mnn simulate --steps 40

    hvae-mnn simulate netlists/ptb --data-dir ptb --sentences 5 --dac-bits 6 --adc-bits 8

    hvae-mnn simulate --text "the old sailor sings" --decoding free-running

    hvae-mnn simulate --engine ideal --dac-bits 0 --adc-bits 0 --steps 1000

    hvae-mnn simulate --engine exact --data-dir ptb --sentences 100

    hvae-mnn simulate --workers 2

    hvae-mnn simulate --resume
"""
_SHOWN_SENTENCES = 4


@click.command(epilog=EPILOG)
@click.option_panel(
    "Text", options=["--steps", "--sentences", "--text", "--data-dir", "--split", "--decoding", "--latent", "--seed"]
)
@click.option_panel("Hardware", options=["--engine", "--dac-bits", "--adc-bits"])
@click.option_panel("Run", options=["--workers", "--scheduler", "--out", "--resume"])
@click.argument("netlist", required=False, type=PLACE)
@option(
    "--steps",
    type=COUNT,
    text="Number of time steps in all, each a pass through every layer; the last sentence is cut to fit.",
    default="40",
)
@click.option("--sentences", type=COUNT, help="Largest number of sentences, taken in order.")
@text_option()
@data_dir_option()
@split_option("test", "valid", "train")
@click.option(
    "--decoding",
    type=Choice(["teacher-forced", "free-running"]),
    default="teacher-forced",
    show_default=True,
    help="Input of the decoder: the text's tokens, or its own last token until it writes <eos> (at most as many as the"
    " text has).",
)
@click.option(
    "--latent",
    type=Choice(["mean", "sampled"]),
    default="mean",
    show_default=True,
    help="Latent z of a sentence: the posterior's mean, or a sample drawn with --seed.",
)
@seed_option("a sampled latent and for converters' noise")
@engine_options
@out_option()
@click.option("--resume", is_flag=True, help="Resume the run in --out, or the newest unfinished one.")
@click.pass_context
def command(ctx: click.RichContext, /, netlist: Path | None, out: Path | None, resume: bool, **given: Any) -> None:
    """Run text through the netlists in NETLIST (default: the newest build), step by step, beside the digital model."""
    from hvae_mnn import api

    if resume:
        others = {name for name in ctx.params if name not in ("out", "resume", "workers", "scheduler")}
        refuse_beside(ctx, others, "--resume continues a run with its own options")
        folder = out or api.newest_run()
        print_lines(f"resuming {folder}")
        with resumable(_how_to_resume(folder)):
            result = api.resume(folder, workers=given["workers"], scheduler=given["scheduler"])
    else:
        if given["text"] is not None:
            refuse_beside(ctx, ("data_dir", "sentences", "split"), "--text is the one sentence that is read")
        options = api.Options(
            **{name: given.pop(name) for name in ("engine", "decoding", "latent", "dac_bits", "adc_bits", "seed")}
        )
        with resumable(_how_to_resume(out)):
            result = api.simulate(netlist, options=options, out=out, **given)
    _show(result)


def _how_to_resume(out: Path | None) -> Callable[[], str | None]:
    """A function that returns how to resume the run that begins now, or None if there is nothing to resume."""
    began = time.time()

    def how() -> str | None:
        from hvae_mnn.cosim.plan import PLAN
        from hvae_mnn.cosim.simulation import newest_run

        with suppress(HvaeMnnError):
            folder = out or newest_run()
            # A run that was stopped before its plan was written is not the newest one.
            if (folder / PLAN).exists() and (out is not None or (folder / PLAN).stat().st_mtime > began - 1):
                return f"resume with: hvae-mnn simulate --resume --out {shlex.quote(str(folder))}"
        return None

    return how


def _show(result: SimulationResult) -> None:
    summary = result.summary
    print_tables(*_sentences(result), _errors(summary))
    lines = [
        f"{summary['steps']} steps of {len(summary['preactivation_error'])} layers, hardware {summary['hardware']},"
        f" engine {summary['engine']} ({summary['engine_facts']['solver']})",
        *_times(summary),
        f"tokens equal to the digital model's: {summary['token_agreement']:.1%}",
        f"largest word-line voltage: {summary['max_word_line_volts'] * 1e3:.3g} mV",
        *_device_lines(summary["devices"], summary["engine"]),
    ]
    for kind, entries in summary["clipping"].items():
        clipped, samples = (sum(entry[key] for entry in entries.values()) for key in ("clipped", "samples"))
        lines.append(f"{kind.upper()} values beyond full scale: {clipped} of {samples}")
    lines.append(f"wrote {result.folder}/: summary.json; steps, tokens, preactivations, converters (.parquet);")
    moving = summary["devices"]["backend"] != "static"
    lines.append(f"  preactivations, error_over_steps{', read_disturb' if moving else ''} (.png, .svg)")
    print_lines(*lines)


def _sentences(result: SimulationResult) -> Iterator[Table]:
    """The first sentences: the text, and what the model and the hardware wrote."""
    from hvae_mnn.text.tokenizers import find_tokenizer

    joint = find_tokenizer(result.tokenizer).joint
    for index in range(min(_SHOWN_SENTENCES, len(result.tokens))):
        words, texts = result.words(index), result.texts(index)
        title = f"sentence {index + 1} of {len(result.tokens)}"
        table = new_table(title, ("", "tokens"), ("", "tokens"), folded=("tokens",), show_header=False)
        add_row(table, Text("text", "dim"), texts["text"])
        add_row(table, Text("digital", "dim"), texts["digital"])
        add_row(table, Text("hardware", "dim"), _marked(words["digital"], words["hardware"], joint))
        yield table


def _errors(summary: dict[str, Any]) -> Table:
    table = new_table(
        "pre-activation error, hardware against digital (read: one read alone, with the same inputs)",
        ("layer", "gate", "max", "rms", "full scale", "max/scale", "read/scale"),
        left=("layer", "gate"),
    )
    for layer, units in summary["preactivation_error"].items():
        for unit, error in units.items():
            names = ("max", "rms", "full_scale", "max_of_full_scale", "array_max_of_full_scale")
            add_row(table, layer, unit, *(f"{error[name]:.3g}" for name in names))
    return table


def _times(summary: dict[str, Any]) -> list[str]:
    """How long loading, stepping and drawing took."""
    loading = "tiles solved" if summary["engine"] == "exact" else "arrays loaded"
    lines = [
        f"{loading} in {summary['seconds_loading']:.1f} s; stepping {summary['seconds_stepping']:.1f} s,"
        f" {summary['seconds_in_engine']:.1f} s of it in the engine; figures {summary['seconds_figures']:.1f} s"
    ]
    known = summary["engine_facts"]["answers_from_journal"]
    if known:
        lines.append(f"  in this session; {known:,} answers of the engine came from the journal of an earlier one")
    return lines


def _device_lines(devices: dict[str, Any], engine: str) -> list[str]:
    """How far reading drove and moved the memristors."""
    lines = []
    if devices["above_threshold"]:
        threshold = devices["threshold_v"]
        beyond = f"their threshold of {threshold * 1e3:g} mV" if threshold else "0 V, and they have no threshold"
        lines.append(
            f"warning: in one read of a layer, up to {devices['above_threshold']:,} of {devices['count']:,} memristors"
            f" were driven beyond {beyond}"
        )
    if devices["backend"] == "static":
        return lines
    how = devices["backend"] if engine == "ngspice" else "their state equation in numpy"
    moved = f"{devices['moved']:,} of {devices['count']:,} memristors moved ({how})"
    lines.append(f"{moved}, by up to {devices['max_drift']:.3g} of the range of their state")
    return lines


def _marked(digital: list[str], hardware: list[str], joint: str) -> Text:
    """The hardware's tokens; those that differ from the digital ones are red, a space among them a visible one."""
    text = Text()
    for position, word in enumerate(hardware):
        same = position < len(digital) and word == digital[position]
        text.append(word if same or not word.isspace() else "\u2423", style="" if same else "bold red")
        text.append(joint)
    return text
