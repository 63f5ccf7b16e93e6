"""Tables as text and Parquet: figures of the two reports are never in one block; printed ones have their place."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from hvae_mnn.reproduction.figures import FIGURES, RowSummary, values_of
from hvae_mnn.reproduction.layout import blocks_of, latex, markdown
from hvae_mnn.reproduction.output import means_table, write_outputs
from hvae_mnn.reproduction.plan import CorpusPlan, Effort, Entry, TablePlan
from hvae_mnn.reproduction.record import Record
from hvae_mnn.tables import read_table

CORPUS = CorpusPlan("ptb20", "ptb", "ptb", False, "plain", 20, "Half of it.")
PLAN = TablePlan(
    "table2",
    "Table 2",
    "cpu",
    "Small.",
    tuple(Entry(CORPUS, row, Effort(1, 2, 5, 5, {})) for row in ("lm", "sri-vae", "bn-vae", "hsr-lstm-lstm")),
)


def record(row, seed, *, nll=60.0, status="done", reason="", further=None):
    """A record with figures that tell where each comes from."""
    task = {"corpus": CORPUS.__dict__, "row": row, "seed": seed, "profile": "cpu"}
    if status != "done":
        return Record(task, status, reason)
    paper = {"nll": nll, "ppl": nll + 1, "kl": 2.25, "mutual_information": 4.125}
    proper = {
        "elbo_nll": nll + 10,
        "elbo_ppl": nll + 11,
        "kl": 17.5,
        "mutual_information": -0.001,
        "information_error": 0.0625,
        "active_units": 3,
        "importance": {"set_nll": nll + 8, "set_ppl": nll + 9} if row != "lm" else None,
        "profile": {"from_end": [3.0, 1.0]},
    }
    return Record(task, "done", paper=paper, proper=proper, further=further or {})


RECORDS = [
    record("lm", 0),
    record("sri-vae", 0, nll=70.0),
    record("bn-vae", 0, nll=62.0),
    record("bn-vae", 1, nll=64.0),
    record("hsr-lstm-lstm", 0, status="failed", reason="the loss is nan"),
]


def rows_of(block):
    return {row[0]: dict(zip(block.headings[1:], row[1:], strict=True)) for row in block.rows}


def test_two_blocks_with_the_figures_of_one_report_each(tmp_path):
    summaries, _ = write_outputs(PLAN, RECORDS, tmp_path)
    paper, proper = blocks_of(summaries)
    assert paper.headings == ("model", "seeds", "NLL", "printed", "PPL", "printed", "KL", "printed", "MI")
    assert proper.headings[2:] == (
        "ELBO NLL", "ELBO PPL", "IW NLL", "printed", "IW PPL", "printed", "KL", "printed", "MI", "s.e. of MI", "AU",
    )  # fmt: skip
    assert [row[1:4] for row in paper.rows] == [
        ("1", "60.0", "–"),
        ("1", "70.0", "–"),
        ("2", "63.0 ± 1.4", "–"),
        ("0, 1 failed", "–", "79.4"),
    ]
    assert [row[4:6] for row in proper.rows] == [("–", "–"), ("78.0", "101.2†"), ("71.0 ± 1.4", "100.2"), ("–", "–")]
    assert {row[-3] for row in proper.rows} == {"0.00", "0.00 ± 0.00", "–"}  # no minus before a zero


def test_a_terminal_has_printed_figures_in_brackets(tmp_path):
    summaries, _ = write_outputs(PLAN, RECORDS, tmp_path)
    _, proper = blocks_of(summaries, is_compact=True)
    assert proper.headings[2:] == ("ELBO NLL", "ELBO PPL", "IW NLL", "IW PPL", "KL", "MI", "AU")
    assert rows_of(proper)["BN-VAE"]["IW NLL"] == "71.0 (100.2)"


def test_markdown_says_what_compares(tmp_path):
    _, (path, *_) = write_outputs(PLAN, RECORDS, tmp_path)
    text = path.read_text(encoding="utf-8")
    assert "10.11999/JEIT211431" in text
    assert "It is not the paper's ptb: **orderings of rows compare, figures do not**." in text
    assert "sentences of at most 20 words" in text
    assert re.search(r"LSTM \+ LSTM on ptb20: the loss is nan", text)
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in tables[: len(tables) // 2]}) == 1
    head_paper, head_proper = (line for line in tables if line.startswith("| model"))
    assert "ELBO" not in head_paper
    assert "IW" not in head_paper
    assert "PPL" in head_proper


def test_the_whole_text_of_the_paper_compares():
    same = CorpusPlan("ptb", "ptb", "ptb", True, "plain", None, "")
    summary = RowSummary(same, "lm", {"paper_nll": [1.0]}, 1)
    text = markdown(PLAN, [summary])
    assert "It is the paper's ptb." in text
    assert "orderings" not in text


def test_latex_escapes_and_aligns(tmp_path):
    _, paths = write_outputs(PLAN, RECORDS, tmp_path)
    text = paths[1].read_text(encoding="utf-8")
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 2
    assert r"63.0 $\pm$ 1.4" in text
    assert r"101.2$\dagger$" in text
    assert not re.search(r"[±†–`]", text.split("\n", 2)[2])
    for columns, body in re.findall(r"\\begin\{tabular\}\{(\w+)\}(.*?)\\end", text, re.DOTALL):
        lines = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert {line.count(" & ") + 1 for line in lines} == {len(columns)}
    assert latex(PLAN, []).count("\n") == 2


def test_parquet_has_means_spread_and_printed_figures(tmp_path):
    _, paths = write_outputs(PLAN, RECORDS, tmp_path)
    means = {row["row"]: row for row in read_table(paths[2]).to_pylist()}
    assert means["bn-vae"]["paper_nll"] == 63.0
    assert means["bn-vae"]["paper_nll_std"] == pytest.approx(2**0.5)
    assert (means["bn-vae"]["iw_nll"], means["bn-vae"]["iw_nll_printed"]) == (71.0, 100.2)
    assert means["bn-vae"]["paper_nll_printed"] is None
    assert means["hsr-lstm-lstm"]["paper_nll_printed"] == 79.4
    assert means["hsr-lstm-lstm"]["iw_nll_printed"] is None
    assert means["lm"]["iw_nll"] is None
    assert means["lm"]["last_step_share"] == 0.75
    seeds = read_table(paths[3]).to_pylist()
    assert [(row["row"], row["seed"], row["status"]) for row in seeds][-1] == ("hsr-lstm-lstm", 0, "failed")
    assert [row["elbo_nll"] for row in seeds] == [70.0, 80.0, 72.0, 74.0, None]


def test_figures_from_elsewhere_become_columns(tmp_path):
    records = [record("lm", 0, further={"next_word_right": 0.25})]
    summaries, paths = write_outputs(PLAN, records, tmp_path)
    paper, proper = blocks_of(summaries)
    assert proper.headings[-1] == "next word right"
    assert "next word right" not in paper.headings
    assert proper.rows[0][-1] == "0.250"
    assert read_table(paths[2]).to_pylist()[0]["next_word_right"] == 0.25


def test_relations_that_do_not_hold_are_listed(tmp_path):
    good, bad = record("lm", 0), record("bn-vae", 1)
    check = {"name": "MI <= KL", "left": 5.0, "right": 1.5, "slack": 0.0}
    bad = replace(bad, proper={**bad.proper, "checks": [{**check, "holds": False}, {**check, "holds": True}]})
    _, paths = write_outputs(PLAN, [good, bad], tmp_path)
    text = paths[0].read_text(encoding="utf-8")
    assert text.count("MI <= KL") == 1
    assert "- BN-VAE on ptb20: proper, seed 1: MI <= KL: 5 against 1.5" in text
    _, paths = write_outputs(PLAN, [good], tmp_path)
    assert "do not hold" not in paths[0].read_text(encoding="utf-8")


def test_names_of_figures_are_unique():
    names = [figure.name for figure in FIGURES]
    assert len(set(names)) == len(names)
    assert set(values_of(record("bn-vae", 0))) <= {*names, "last_step_share"}
    assert means_table(PLAN, []).num_rows == 0
