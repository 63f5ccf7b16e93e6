"""The claims file: Markdown to read, Parquet to compute with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from hvae_mnn.errors import InputError
from hvae_mnn.files import write_text
from hvae_mnn.reading import is_folder, is_missing, shown
from hvae_mnn.reproduction.claims.catalogue import JudgedClaim
from hvae_mnn.reproduction.claims.evidence import ERRORS, Evidence
from hvae_mnn.reproduction.printed import printed_source
from hvae_mnn.reproduction.record import Record, read_records
from hvae_mnn.reproduction.run import MARK
from hvae_mnn.tables import write_rows

CLAIMS_FILES = ("claims.md", "claims.parquet")


def evidence_in(folders: Iterable[Path]) -> Evidence:
    """Evidence of the records in folders of results.

    Raises `InputError` for a folder that is none, or without a finished row, and for a damaged record.
    """
    records: list[Record] = []
    for folder in folders:
        if not is_folder(folder) or is_missing(folder / MARK):
            raise InputError(f"{shown(folder)} holds no results of a table; run hvae-mnn reproduce, and name its --out")
        records += read_records(folder)
    if not any(record.status == "done" for record in records):
        raise InputError("no row is finished there; run hvae-mnn reproduce table2 to the end first")
    return Evidence.of(records)


def write_claims(claims: Sequence[JudgedClaim], evidence: Evidence, folder: Path) -> list[Path]:
    """Write `claims.md` and `claims.parquet`; returns both paths. Raises `StorageError`."""
    paths = [folder / name for name in CLAIMS_FILES]
    write_text(paths[0], _markdown(claims, evidence))
    write_rows(paths[1], [asdict(claim) for claim in claims])
    return paths


def _markdown(claims: Sequence[JudgedClaim], evidence: Evidence) -> str:
    counts = {
        verdict: sum(claim.verdict == verdict for claim in claims)
        for verdict in dict.fromkeys(c.verdict for c in claims)
    }
    lines = [
        "# The paper's claims about language models, judged",
        "",
        f"{printed_source()}.",
        "",
        "Every verdict follows by the rule stated below it, from the records of trained models or from the paper's own"
        " tables. Two metrics are kept apart: `paper`, the published formulas, which are no bounds on a likelihood, and"
        " `proper`. A claim that only the first bears out holds only in the paper's metric. A claim about the paper's"
        " own row is asked of two rows that it may mean, and the better one counts. A difference between rows counts"
        f" where it exceeds {ERRORS:g} standard errors over seeds; with a single seed, any difference does.",
        "",
        "Models: " + "; ".join(f"{group.name}, {len(group.rows)} rows" for group in evidence.groups) + ".",
        "On texts that are not the paper's, orderings count and figures do not.",
        "",
        f"{len(claims)} claims: " + ", ".join(f"{count} {verdict}" for verdict, count in counts.items()) + ".",
        "",
        "| place | claim | verdict |",
        "| --- | --- | --- |",
        *(f"| {one.place} | {one.text} | {one.verdict} |" for one in claims),
        "",
    ]
    for one in claims:
        figures = [f"- Figures: {one.figures}"] if one.figures else []
        lines += [f"## {one.text}", "", f"- Place: {one.place} (`{one.name}`)", f"- Verdict: **{one.full_verdict}**"]
        lines += [f"- Rule: {one.rule}", *figures, ""]
    return "\n".join(lines)
