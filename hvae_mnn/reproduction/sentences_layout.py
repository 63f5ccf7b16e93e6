"""Table 3 in Markdown, LaTeX and Parquet: a block per form of text, the printed one beside the teacher-forced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa

from hvae_mnn.files import write_text
from hvae_mnn.reproduction.markup import latex_table, markdown_table
from hvae_mnn.reproduction.printed import printed_title
from hvae_mnn.reproduction.sentences import Reconstruction
from hvae_mnn.studies.generation.items import FORMS, Form, Settings
from hvae_mnn.tables import write_rows

TABLE = "table3"
TITLES: dict[Form, str] = {
    "teacher-forced": "Most likely next word after each word of the source (as printed)",
    "greedy": "Most likely words, after the decoder's own",
    "sampled": "Drawn words, after the decoder's own",
}
"""Title of each form's block."""
_LEGEND = (
    "In brackets: words of the source that stand at their places. The printed texts look like arg-max under teacher"
    " forcing, in which the decoder sees the right words before each one: likeness to the source is then no measure of"
    " what the latent carries. Latents are the means of the posteriors. The paper prints three other sentences for each"
    " model; here both read all six."
)
_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("source", "printed_label", "printed", "model", "form", "text")),
        ("nats", pa.float64()),  # teacher-forced: -ln p of the source
        *((name, pa.int64()) for name in ("words", "right", "printed_right", "seed")),
        ("temperature", pa.float64()),
    ]
)
Block = tuple[Form, list[list[str]]]
"""A form, and the rows of its block: headings, sentences, sums."""


def write_table3(
    rows: Sequence[Reconstruction], about: Mapping[str, str], settings: Settings, folder: Path
) -> list[Path]:
    """Write `table3.md`, `.tex` and `.parquet` to `folder`; `about` describes each model. Raises `StorageError`."""
    paths = [folder / f"{TABLE}{ending}" for ending in (".md", ".tex", ".parquet")]
    write_text(paths[0], _markdown(rows, about, settings))
    write_text(paths[1], _latex(rows, about, settings))
    drawn = {"seed": settings.seed, "temperature": settings.temperature}
    records = [
        {**asdict(row), "words": row.words, "right": row.right, "printed_right": row.printed_right, **drawn}
        for row in rows
    ]
    write_rows(paths[2], records, _SCHEMA)
    return paths


def blocks_of(rows: Sequence[Reconstruction]) -> list[Block]:
    """A block per form, with a column per model; the block of the teacher-forced texts has the printed ones, too."""
    models = list(dict.fromkeys(row.model for row in rows))
    return [(form, _block([row for row in rows if row.form == form], models, form)) for form in FORMS]


def _block(rows: Sequence[Reconstruction], models: Sequence[str], form: Form) -> list[list[str]]:
    printed = form == "teacher-forced"
    cells = [["source", *(["printed by the paper"] if printed else []), *models]]
    words, right = 0, dict.fromkeys(["printed", *models], 0)
    for source in dict.fromkeys(row.source for row in rows):
        own = {row.model: row for row in rows if row.source == source}
        first = own[models[0]]
        words += first.words
        right["printed"] += first.printed_right
        line = [source]
        if printed:
            line.append(f"{first.printed_label}: {first.printed} ({first.printed_right}/{first.words})")
        for model in models:
            right[model] += own[model].right
            line.append(f"{own[model].text} ({own[model].right}/{first.words})")
        cells.append(line)
    sums = right if printed else {model: right[model] for model in models}
    cells.append(["words right", *(f"{count}/{words}" for count in sums.values())])
    return cells


def _drawn_with(settings: Settings) -> str:
    return f"Drawn words: seed {settings.seed}, temperature {settings.temperature:g}."


def _markdown(rows: Sequence[Reconstruction], about: Mapping[str, str], settings: Settings) -> str:
    lines = [
        "# Table 3: sentences and their reconstructions",
        "",
        f"Printed texts: {printed_title('table3')}.",
        "",
        _LEGEND,
    ]
    lines += ["", _drawn_with(settings), "", *(f"- {model}: {told}" for model, told in about.items()), ""]
    for form, cells in blocks_of(rows):
        lines += [f"## {TITLES[form]}", "", *markdown_table(cells[0], cells[1:], cells[0]), ""]
    return "\n".join(lines)


def _latex(rows: Sequence[Reconstruction], about: Mapping[str, str], settings: Settings) -> str:
    """For the package booktabs; a `table*` per form."""
    lines = [f"% {model}: {told}" for model, told in about.items()]
    for form, cells in blocks_of(rows):
        caption = f"{TITLES[form]}. {_drawn_with(settings) if form == 'sampled' else ''}".strip()
        columns = f"*{{{len(cells[0])}}}{{p{{{0.9 / len(cells[0]):.2f}\\linewidth}}}}"
        lines += latex_table(caption, columns, cells[0], cells[1:-1], foot=cells[-1], wide=True)
    return "\n".join(lines) + "\n"
