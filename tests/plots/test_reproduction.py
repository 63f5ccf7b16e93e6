"""The figure of a table: points, bars and printed values where they belong."""

from __future__ import annotations

import pytest

from hvae_mnn.models.rows import ROWS
from hvae_mnn.plots.reproduction import save_table_figure, table_figure
from hvae_mnn.reproduction.figures import RowSummary, printed_beside
from hvae_mnn.reproduction.plan import CorpusPlan

CORPUS = CorpusPlan("ptb20", "ptb", "ptb", False, "plain", 20, "")


def summary(row, **values):
    kind, printed = printed_beside("table2", "ptb", row)
    return RowSummary(CORPUS, row, {name: list(own) for name, own in values.items()}, 2, printed=printed, kind=kind)


def markers(axes):
    """Position and filling of every marker with a row's sign."""
    return [
        (line.get_xdata()[0], line.get_ydata()[0], line.get_markerfacecolor() != "none")
        for line in axes.lines
        if line.get_marker() not in ("None", "_", "|", None) and len(line.get_xdata()) == 1
    ]


def test_means_in_both_panels_and_printed_values_in_the_papers():
    rows = [
        summary(
            "hsr-gru-gru",
            paper_kl=(2.0, 4.0),
            paper_nll=(50.0, 52.0),
            kl=(9.0, 11.0),
            elbo_nll=(70.0, 72.0),
            iw_nll=(68.0, 70.0),
        ),
        summary("bn-vae", paper_kl=(1.0,), paper_nll=(60.0,), kl=(7.0,), elbo_nll=(66.0,)),
        summary("lm", paper_nll=(64.0,), elbo_nll=(64.0,)),
    ]
    figure = table_figure(rows, "Table $2")
    paper, proper = figure.axes
    assert markers(paper) == [(3.0, 51.0, True), (9.1, 79.4, False), (1.0, 60.0, True)]
    assert markers(proper) == [(10.0, 71.0, True), (7.0, 66.0, True)]
    dashes = [line for line in proper.lines if line.get_marker() == "_" and len(line.get_xdata()) == 2]
    assert [tuple(line.get_ydata()) for line in dashes] == [(69.0, 71.0)]
    (legend,) = figure.legends
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels == [ROWS["hsr-gru-gru"].label, ROWS["bn-vae"].label, ROWS["lm"].label, "open: printed"]


def test_every_row_has_a_sign_of_its_own():
    figure = table_figure([summary(row, paper_kl=(1.0,), paper_nll=(1.0,)) for row in ROWS], "all")
    (legend,) = figure.legends
    signs = [(line.get_marker(), line.get_color()) for line in legend.get_lines()][: len(ROWS)]
    assert len(set(signs)) == len(ROWS)


@pytest.mark.parametrize("rows", [[], ["bn-vae"]])
def test_a_table_without_figures_is_drawn(tmp_path, rows):
    paths = save_table_figure([summary(row) for row in rows] or [summary("lm")], "none yet", tmp_path, "table2")
    assert [path.name for path in paths] == ["table2.png", "table2.svg"]
    assert all(path.stat().st_size for path in paths)
