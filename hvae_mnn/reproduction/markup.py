"""Lines of tables in Markdown and in LaTeX (package booktabs), for all tables of the paper."""

from __future__ import annotations

from collections.abc import Collection, Sequence

NONE = "–"
"""A cell without a value."""
Cells = Sequence[str]
_MARKDOWN = str.maketrans({"|": r"\|", "<": "&lt;"})
_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        **{letter: f"\\{letter}" for letter in "&%$#_{}"},
        "^": r"\textasciicircum{}",
        "~": r"\textasciitilde{}",
        "<": "$<$",
        ">": "$>$",
        "|": "$|$",
        "±": r"$\pm$",
        "†": r"$\dagger$",
        NONE: "--",
    }
)
"""What pdflatex takes for a letter that is special, or that it lacks."""
_OURS = "本文"
"""What the paper calls its own model: "this paper"."""


def markdown_table(headings: Cells, rows: Sequence[Cells], left: Collection[str]) -> list[str]:
    """Lines of a table; columns whose heading is in `left` are aligned left, the others right."""
    rule = " | ".join("---" if heading in left else "---:" for heading in headings)
    lines = [" | ".join(cell.translate(_MARKDOWN) for cell in cells) for cells in (headings, *rows)]
    return [f"| {line} |" for line in (lines[0], rule, *lines[1:])]


def latex_table(
    caption: str, columns: str, headings: Cells, rows: Sequence[Cells], *, foot: Cells | None = None, wide: bool = False
) -> list[str]:
    """Lines of a `table`, or of a `table*` over both columns of the page if `wide`.

    `columns` is LaTeX's own specification, all else is plain text. `foot` is a last row, below a rule.
    """
    kind = "table*" if wide else "table"
    sums = [] if foot is None else [r"    \midrule", _row(foot)]
    return [
        rf"\begin{{{kind}}}",
        r"  \centering",
        rf"  \caption{{{escaped(caption)}}}",
        rf"  \begin{{tabular}}{{{columns}}}",
        r"    \toprule",
        _row(headings),
        r"    \midrule",
        *map(_row, rows),
        *sums,
        r"    \bottomrule",
        r"  \end{tabular}",
        rf"\end{{{kind}}}",
    ]


def _row(cells: Cells) -> str:
    return f"    {' & '.join(map(escaped, cells))} \\\\"


def escaped(text: str) -> str:
    """Text for LaTeX; the paper's own label, which is Chinese, becomes HSR-VAE."""
    return text.replace(_OURS, "HSR-VAE").translate(_LATEX)


def unmarked(text: str) -> str:
    """Text without Markdown's marks of bold and code."""
    return text.replace("**", "").replace("`", "")
