"""Results look short, escape what they show, and give their tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from hvae_mnn.errors import InputError
from hvae_mnn.results import Result
from hvae_mnn.tables import write_rows


@dataclass(frozen=True, repr=False)
class Example(Result):
    folder: Path
    note: str
    values: tuple[float, ...] = ()

    def facts(self) -> Mapping[str, object]:
        return {"folder": self.folder, "note": self.note, "agreement": 2 / 3, "values": self.values}

    def _rows(self) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        return {"history": [{"epoch": 1, "loss": 2.5}, {"epoch": 2, "loss": 1.5}]}


def test_a_repr_is_one_short_line():
    assert repr(Example(Path("runs/a"), "good")) == (
        "Example(folder='runs/a', note='good', agreement=0.6667, values=())"
    )
    long = Example(Path("runs/a"), "x" * 5000 + "\n", tuple(map(float, range(5000))))
    assert len(repr(long)) < 250
    assert "\n" not in repr(long)


def test_html_is_escaped():
    html = Example(Path("<b>"), "<script>alert('x & y')</script>")._repr_html_()
    assert "<script>" not in html
    assert "<b>" not in html
    assert "&lt;script&gt;alert(&#x27;x &amp; y&#x27;)&lt;/script&gt;" in html
    assert "<th style='text-align:left'>agreement</th><td style='text-align:left'>0.6667</td>" in html
    assert "<code>history</code>" in html


def test_tables_are_arrow_tables(tmp_path):
    write_rows(tmp_path / "steps.parquet", [{"step": 1}, {"step": 2}])
    result = Example(tmp_path, "")
    assert result.tables == ("history", "steps")
    assert result.table("history").equals(pa.table({"epoch": [1, 2], "loss": [2.5, 1.5]}))
    assert result.table("steps").equals(pa.table({"step": [1, 2]}))
    with pytest.raises(InputError, match=r"unknown table 'stepz'; did you mean 'steps'\? allowed: history, steps"):
        result.table("stepz")


def test_tables_become_data_frames_where_pandas_is(tmp_path):
    pytest.importorskip("pandas")
    assert Example(tmp_path, "").table("history").to_pandas()["loss"].tolist() == [2.5, 1.5]
