"""`hvae-mnn generate`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click
from rich.table import Table
from rich.text import Text

from hvae_mnn.cli.mistakes import refuse_beside
from hvae_mnn.cli.options import (
    COUNT,
    NUMBER,
    PLACE,
    WORD,
    Choice,
    Whole,
    data_dir_option,
    engine_options,
    option,
    out_option,
    seed_option,
    split_option,
)
from hvae_mnn.cli.show import add_row, new_table, print_lines, print_tables, shown_first

if TYPE_CHECKING:
    from hvae_mnn.studies.generation.items import Item
    from hvae_mnn.studies.generation.run import GenerationResult
    from hvae_mnn.studies.generation.writer import Written

EPILOG = """
Examples:

    hvae-mnn generate checkpoints/demo/best.pt --reconstruct

    hvae-mnn generate checkpoints/demo/best.pt --reconstruct --text "the old sailor sings" --text "he was huge"

    hvae-mnn generate checkpoints/ptb/best.pt --reconstruct --data-dir ptb --sentences 20 --out results/ptb-texts

    hvae-mnn generate checkpoints/demo/best.pt --prior 5 --form sampled --temperature 0.8 --seed 1

    hvae-mnn generate checkpoints/demo/best.pt --interpolate "the old sailor sings" "he was huge" --steps 5

    hvae-mnn generate netlists/demo --prior 3 --most-words 12

    hvae-mnn generate checkpoints/demo/best.pt --reconstruct --netlist netlists/demo --engine exact
"""
_SHOWN = 20
"""Largest number of latents whose sentences are printed."""


@click.command(epilog=EPILOG)
@click.option_panel("What is written", options=["--reconstruct", "--prior", "--interpolate", "--steps"])
@click.option_panel("Sentences to reconstruct", options=["--text", "--file", "--data-dir", "--split", "--sentences"])
@click.option_panel("Choice of words", options=["--form", "--temperature", "--most-words", "--seed"])
@click.option_panel("Hardware", options=["--netlist", "--engine", "--dac-bits", "--adc-bits"])
@click.option_panel("Run", options=["--workers", "--scheduler", "--out"])
@click.argument("model", type=PLACE)
@click.option("--reconstruct", is_flag=True, help="Write sentences anew from their posteriors' means.")
@click.option("--prior", type=COUNT, help="Number of latents drawn from N(0, I), a sentence from each.")
@click.option(
    "--interpolate",
    type=(WORD, WORD),
    metavar="A B",
    help="Two sentences: write from latents between their posteriors' means.",
)
@click.option(
    "--steps",
    type=Whole(2),
    default=7,
    show_default=True,
    help="Number of latents of --interpolate, those of the two sentences included.",
)
@click.option("--text", "texts", type=WORD, multiple=True, help="One sentence to reconstruct; may be repeated.")
@click.option("--file", type=PLACE, help="Text file of sentences to reconstruct, one a line, gzipped or not.")
@data_dir_option(" of sentences to reconstruct")
@split_option("test", "valid", "train")
@click.option(
    "--sentences",
    type=COUNT,
    default=5,
    show_default=True,
    help="Number of sentences of the split to reconstruct, the first ones.",
)
@option(
    "--form",
    "forms",
    type=Choice(["teacher-forced", "greedy", "sampled"]),
    multiple=True,
    text="Form of text, may be repeated: teacher-forced, the most likely word after each right word (--reconstruct"
    " only); greedy, the most likely word after the decoder's own; sampled, a drawn word after its own.",
    default="all that apply",
)
@click.option(
    "--temperature",
    type=NUMBER,
    default=1.0,
    show_default=True,
    help="Divisor of the logits of sampled words: below 1 likelier words, above 1 more varied ones.",
)
@click.option(
    "--most-words",
    type=COUNT,
    default=60,
    show_default=True,
    help="Largest number of words of a greedy or sampled sentence, for decoders that never end.",
)
@seed_option("latents and words, and for converters' noise; the same numbers for model and hardware")
@option(
    "--netlist",
    type=PLACE,
    text="Netlist folder of the model, whose arrays write the same sentences beside it.",
    default="MODEL, if it is a netlist folder; else the digital model alone",
)
@engine_options
@out_option()
@click.pass_context
def command(ctx: click.RichContext, /, model: Path, **given: Any) -> None:
    """Write sentences with MODEL, a checkpoint, or a netlist folder, in which crossbars write beside the digital model.

    Every random number belongs to one sentence: no other sentence changes it. On crossbars, the decoder's arrays write,
    and the encoder's read the sentences to reconstruct.
    """
    from hvae_mnn import api

    _refuse_idle(ctx, model, given)
    if not given["forms"]:
        del given["forms"]
    _show(api.generate(model, **given))


def _refuse_idle(ctx: click.RichContext, model: Path, given: dict[str, Any]) -> None:
    """Raise `InputError` for options that would be ignored silently."""
    of_a_split = ("data_dir", "split", "sentences")
    if not given["reconstruct"]:
        refuse_beside(ctx, ("texts", "file", *of_a_split), "without --reconstruct no text is read")
    elif given["texts"]:
        refuse_beside(ctx, ("file", *of_a_split), "--text is what is read")
    elif given["file"]:
        refuse_beside(ctx, of_a_split, "--file is what is read")
    if given["interpolate"] is None:
        refuse_beside(ctx, ("steps",), "--steps belongs to --interpolate")
    if given["netlist"] is None and not model.is_dir():
        hardware = ("engine", "dac_bits", "adc_bits", "workers", "scheduler")
        refuse_beside(ctx, hardware, "without --netlist the digital model writes alone")


def _show(result: GenerationResult) -> None:
    items = list(result.items().items())
    shown = items[:_SHOWN]
    for kind in dict.fromkeys(item.kind for item, _ in shown):
        print_tables(_table(result, kind, [one for one in shown if one[0].kind == kind]))
    summary = result.summary
    settings, hardware = summary["settings"], summary["hardware"]
    lines = [
        *shown_first(len(items), _SHOWN, "sentences", f" in {result.folder}/sentences.parquet"),
        f"checkpoint {summary['checkpoint']['file']}, seed {settings['seed']} for latents and words, temperature"
        f" {settings['temperature']:g}, {summary['seconds']:.1f} s",
    ]
    if hardware is not None:
        lines += [
            f"hardware {hardware['name']} of {hardware['netlist']}: {hardware['memristors']:,} memristors, seed"
            f" {settings['seed']} for converters' noise; engine {hardware['engine']}"
            f" ({hardware['engine_facts']['solver']})",
            f"sentences equal to the digital model's: {summary['equal']:.1%}",
        ]
    print_lines(*lines, f"wrote {result.folder}/: generation.json, sentences.parquet")


def _table(result: GenerationResult, kind: str, items: Sequence[tuple[Item, Sequence[Written]]]) -> Table:
    """All that was written of one kind, a section per latent."""
    headings = ("", "form", "model", "text")
    table = new_table(kind, headings, headings, folded=("text",))
    for item, written in items:
        table.add_section()
        number = str(item.number)
        if len(item.sources) > 1:
            number += f": {item.weight:.0%} of the second"
        sources = [] if len(item.sources) > 1 and item.number > 1 else result.sources(item)
        for source in sources:
            add_row(table, number, "source", "", source)
            number = ""
        digital: list[str] = []
        for one in written:
            words = result.words(one)
            digital = words if one.side == "digital" else digital
            add_row(table, number, one.form, one.side, _marked(result, digital, words, one.stopped))
            number = ""
    return table


def _marked(result: GenerationResult, digital: Sequence[str], words: Sequence[str], stopped: str) -> Text:
    """Text of the words; those that are not the digital model's are red."""
    text = Text()
    for position, word in enumerate(words):
        same = position < len(digital) and word == digital[position]
        text.append(result.joined([*([""] if position else []), word]), style="" if same else "bold red")
    if stopped in ("limit", "not finite"):
        text.append(" ..." if stopped == "limit" else " (the logits are not finite)", style="dim")
    return text
