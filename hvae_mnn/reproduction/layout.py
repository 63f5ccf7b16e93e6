"""Tables as text: one block of columns per corpus and report, in Markdown and LaTeX. Reports are never in one block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hvae_mnn.reproduction.figures import Figure, Report, RowSummary, columns_of
from hvae_mnn.reproduction.markup import NONE, latex_table, markdown_table, unmarked
from hvae_mnn.reproduction.plan import CorpusPlan, TablePlan
from hvae_mnn.reproduction.printed import printed_source, printed_title

_KIND_MARKS = {"langevin": "†"}
_TITLES: dict[Report, str] = {
    "paper": "`paper`: the published formulas, which are no bounds",
    "proper": "`proper`: bounds on the likelihood, and what the latent carries",
}
_LEGEND = (
    "Mean ± standard deviation over seeds, on the test split; nats per sentence, but for PPL. Figures of `paper` and of"
    " `proper` are not comparable with each other.",
    "`paper`: KL averaged over the encoder's steps, latent at its mean, words + 2 tokens, MI within batches of 64."
    " Beside it stand the printed figures of TWR-VAE and of the paper's own model, which were computed in this way.",
    "`proper`: latent drawn, KL of the latent that is used, words + 1 tokens; IW: importance-weighted, the ELBO of the"
    " whole set less the gap on the sentences that were weighted; MI over the whole set; AU: active units. Beside it"
    " stand the printed figures of the copied baselines, whose NLL and PPL are importance-weighted."
    " †: Sri-VAE's own estimate, which is similar only.",
    "Rows without a printed figure are not in the paper.",
)


@dataclass(frozen=True)
class Block:
    """The columns of one report on one corpus, as text."""

    corpus: CorpusPlan
    report: Report
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @property
    def title(self) -> str:
        """Corpus and report."""
        return f"{self.corpus.name}, {_TITLES[self.report]}"


def blocks_of(summaries: Sequence[RowSummary], *, is_compact: bool = False) -> list[Block]:
    """Two blocks for every corpus, in the order of the summaries; `is_compact`: for a terminal, without spread, and
    with printed figures in brackets."""
    blocks = []
    for corpus in dict.fromkeys(summary.corpus for summary in summaries):
        own = [summary for summary in summaries if summary.corpus == corpus]
        reports: tuple[Report, ...] = ("paper", "proper")
        blocks += [_block(corpus, own, report, is_compact) for report in reports]
    return blocks


def _block(corpus: CorpusPlan, summaries: Sequence[RowSummary], report: Report, is_compact: bool) -> Block:
    figures = columns_of(summaries, report)
    if report == "proper":
        figures += columns_of(summaries, "hardware") + columns_of(summaries, "further")
    if is_compact:
        figures = [figure for figure in figures if not figure.label.startswith("s.e.")]
    printed = {figure.name for figure in figures if any(figure.name in one.printed for one in summaries)}
    apart = set() if is_compact else printed
    headings = ["model", "seeds"]
    for figure in figures:
        headings += [figure.label, "printed"] if figure.name in apart else [figure.label]
    rows = []
    for summary in summaries:
        cells = [summary.label, _seeds(summary)]
        for figure in figures:
            own, beside = _cell(summary, figure, not is_compact), _printed(summary, figure)
            if figure.name in apart:
                cells += [own, beside]
            else:
                cells.append(own if figure.name not in printed or beside == NONE else f"{own} ({beside})")
        rows.append(tuple(cells))
    return Block(corpus, report, tuple(headings), tuple(rows))


def _seeds(summary: RowSummary) -> str:
    failed = f", {len(summary.failed)} failed" if summary.failed else ""
    return f"{summary.seeds}{failed}"


def _cell(summary: RowSummary, figure: Figure, with_spread: bool) -> str:
    mean = summary.mean(figure.name)
    deviation = summary.deviation(figure.name) if with_spread else None
    if mean is None:
        return NONE
    spread = "" if deviation is None else f" ± {figure.unit * deviation:.{figure.digits}f}"
    return f"{figure.unit * mean:z.{figure.digits}f}{spread}"


def _printed(summary: RowSummary, figure: Figure) -> str:
    value = summary.printed.get(figure.name)
    return NONE if value is None else f"{value:.1f}{_KIND_MARKS.get(summary.kind or '', '')}"


def markdown(plan: TablePlan, summaries: Sequence[RowSummary]) -> str:
    """The table as Markdown."""
    lines = [f"# {plan.title}", "", f"Printed figures: {printed_title(plan.table)} of {printed_source()}.", ""]
    lines += [f"Profile `{plan.profile}`. {plan.note}".strip(), ""]
    lines += [line for paragraph in (*_LEGEND, *about_hardware(plan, summaries)) for line in (paragraph, "")]
    for corpus in dict.fromkeys(summary.corpus for summary in summaries):
        lines += [f"## {corpus.name}", "", _about(corpus), ""]
        for block in (block for block in blocks_of(summaries) if block.corpus == corpus):
            lines += [f"### {_TITLES[block.report]}", "", *markdown_table(block.headings, block.rows, ["model"]), ""]
    failed = [f"- {one.label} on {one.corpus.name}: {reason}" for one in summaries for reason in one.failed]
    failed += [f"- {one.label} on {one.corpus.name}, hardware: {why}" for one in summaries for why in one.off_hardware]
    if failed:
        lines += ["## Failed", "", *failed, ""]
    broken = [f"- {one.label} on {one.corpus.name}: {line}" for one in summaries for line in one.broken]
    if broken:
        lines += ["## Relations that do not hold", "", *broken, ""]
    return "\n".join(lines)


def about_hardware(plan: TablePlan, summaries: Sequence[RowSummary]) -> list[str]:
    """What the columns of the hardware are, in a line; none without such columns."""
    if plan.hardware is None or not columns_of(summaries, "hardware"):
        return []
    sentences = "all" if plan.hardware.sentences is None else f"the first {plan.hardware.sentences:,}"
    return [
        "right %: words and ends of sentences that are the most likely next word, the right words going in, of"
        f" {sentences} test sentences; digital: in float64; hardware: mean over {plan.hardware.chips} drawn chips, and"
        f" their standard deviation. Hardware: {plan.hardware.text}. Only recurrent layers are on it."
    ]


def _about(corpus: CorpusPlan) -> str:
    """What a reader has to know about a corpus."""
    bound = "" if corpus.longest is None else f", sentences of at most {corpus.longest} words"
    if corpus.stands_for is None:
        against = "The paper has no figures on it."
    elif corpus.is_same:
        against = f"It is the paper's {corpus.stands_for}."
    else:
        against = (
            f"It is not the paper's {corpus.stands_for}: **orderings of rows compare, figures do not**. The printed"
            " figures stand beside ours for their order only."
        )
    return " ".join(filter(None, [f"Tokenizer `{corpus.tokenizer}`{bound}.", against, corpus.note]))


def latex(plan: TablePlan, summaries: Sequence[RowSummary]) -> str:
    """The table as LaTeX for the package booktabs: a `table` for every corpus and report."""
    lines = [f"% {plan.title}; profile {plan.profile}", f"% printed figures: {printed_source()}"]
    for block in blocks_of(summaries):
        caption = f"{block.title}. {_about(block.corpus)} Mean ± standard deviation over seeds."
        columns = "l" + "r" * (len(block.headings) - 1)
        lines += latex_table(unmarked(caption), columns, block.headings, block.rows)
    return "\n".join(lines) + "\n"
