"""Parquet tables: equal ones give equal bytes, damage is noticed, and half a table is never seen."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hvae_mnn.errors import StorageError, TableError, UncheckedFileWarning
from hvae_mnn.tables import Tables, read_columns, read_table, write_rows, write_table

SCHEMA = pa.schema([("name", pa.string()), ("count", pa.int64()), ("value", pa.float64()), ("sure", pa.bool_())])
ROWS = [{"name": f"row {n}", "count": n, "value": n / 7, "sure": n % 3 == 0} for n in range(300)]
TABLE = pa.Table.from_pylist(ROWS, SCHEMA)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_table(tmp_path / "t.parquet", TABLE)
    return tmp_path / "t.parquet"


def refused(path: Path, **options: Any) -> str:
    with pytest.raises(TableError) as caught:
        read_table(path, **options)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert len(message) < 700
    return message


def test_a_table_comes_back_here_and_elsewhere(path: Path) -> None:
    assert read_table(path).equals(TABLE)
    assert pq.read_table(path).equals(TABLE)
    assert read_table(path, ["value", "name"]).column_names == ["value", "name"]
    assert [entry.name for entry in path.parent.iterdir()] == ["t.parquet"]


def test_equal_tables_give_equal_bytes(path: Path, tmp_path: Path) -> None:
    write_rows(tmp_path / "else" / "where.parquet", ROWS, SCHEMA)
    assert (tmp_path / "else" / "where.parquet").read_bytes() == path.read_bytes()
    write_table(tmp_path / "again.parquet", read_table(path))
    assert (tmp_path / "again.parquet").read_bytes() == path.read_bytes()


def test_every_flipped_byte_is_noticed(path: Path) -> None:
    good, rng = path.read_bytes(), random.Random(3)
    footer = len(good) - int.from_bytes(good[-8:-4], "little") - 8
    places = [rng.randrange(len(good)) for _ in range(300)] + [rng.randrange(footer, len(good)) for _ in range(400)]
    for place in places:
        path.write_bytes(good[:place] + bytes([good[place] ^ rng.randrange(1, 256)]) + good[place + 1 :])
        refused(path)
    for _ in range(100):
        path.write_bytes(good[: rng.randrange(len(good))])
        refused(path)


def test_blocks_that_are_moved_or_lost_are_noticed_or_told(path: Path) -> None:
    good, rng = path.read_bytes(), random.Random(4)
    for _ in range(200):
        data, size = bytearray(good), rng.randrange(1, 200)
        start, other = (rng.randrange(len(data) - size) for _ in range(2))
        data[start : start + size] = bytes(size) if rng.random() < 0.5 else data[other : other + size]
        path.write_bytes(bytes(data))
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            try:
                found = read_table(path)
            except TableError:
                continue
        assert data == good or [warning.category for warning in told] == [UncheckedFileWarning]
        assert found.equals(TABLE)


def test_a_table_of_another_program_is_read_with_a_note(tmp_path: Path) -> None:
    path = tmp_path / "old.parquet"
    pq.write_table(TABLE, path)
    with pytest.warns(UncheckedFileWarning, match=r"old\.parquet carries no checksum") as told:
        assert read_table(path).equals(TABLE)
    assert told[0].filename == __file__
    unchecked: list[Path] = []
    read_table(path, unchecked=unchecked)
    assert unchecked == [path]


def test_a_table_that_only_names_the_checksum_is_no_damaged_one(tmp_path: Path) -> None:
    path = tmp_path / "old.parquet"
    pq.write_table(pa.table({"text": ["hvae_mnn.sha256", "hvae_mnn", ".sha256"]}), path, write_statistics=False)
    assert read_table(path, unchecked=[]).num_rows == 3


def test_text_that_is_no_text_in_a_table_without_checksum(tmp_path: Path) -> None:
    path = tmp_path / "old.parquet"
    pq.write_table(pa.table({"text": pa.array([b"\xff\xfe"], pa.binary()).view(pa.string())}), path)
    assert "damaged or not a Parquet table" in refused(path, unchecked=[])


def test_few_bytes_that_claim_to_be_many_values(tmp_path: Path) -> None:
    path = tmp_path / "bomb.parquet"
    with pq.ParquetWriter(path, pa.schema([("a", pa.bool_())])) as writer:
        part = pa.table({"a": pa.array(np.zeros(10**7, dtype=bool))})
        for _ in range(11):
            writer.write_table(part)
    assert path.stat().st_size < 1_000_000
    assert "claims 110,000,000 rows; allowed without a checksum: 100,000,000 values" in refused(path, unchecked=[])


def test_one_text_that_is_there_many_times(tmp_path: Path) -> None:
    path = tmp_path / "bomb.parquet"
    text = pa.DictionaryArray.from_arrays(np.zeros(10**6, dtype=np.int32), pa.array(["x" * 10**6]))
    pq.write_table(pa.table({"a": text.slice(0, 10**6)}), path, store_schema=False)
    assert path.stat().st_size < 100_000
    assert "texts in column 'a' are 1,000,000,000,000 bytes" in refused(path, unchecked=[])


@pytest.mark.parametrize("data", [b"", b"PAR1", b"PAR1" * 3, bytes(100), b"PAR1" + b"\xff" * 8 + b"PAR1"])
def test_what_is_no_table(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.parquet"
    path.write_bytes(data)
    assert "is damaged or not a Parquet table" in refused(path)
    assert "no Parquet table at" in refused(tmp_path / "nowhere")
    assert "is a folder" in refused(tmp_path)
    assert "has no column 'other'; found: count, name" in refused(written(tmp_path), columns=["other"])


def written(folder: Path, **columns: Any) -> Path:
    table = TABLE.slice(0, 2)
    for name, values in columns.items():
        table = table.set_column(table.column_names.index(name), name, values)
    write_table(folder / "y.parquet", table)
    return folder / "y.parquet"


def test_columns_are_arrays_of_the_kinds_that_were_written(path: Path) -> None:
    found = read_columns(path, SCHEMA)
    assert [found[name].dtype.kind for name in SCHEMA.names] == ["O", "i", "f", "b"]
    np.testing.assert_array_equal(found["value"], np.arange(300) / 7)
    assert list(read_columns(path, SCHEMA, "count")) == ["count"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"value": pa.array(["a", "b"])}, "column value holds string, allowed: double"),
        ({"count": pa.array([1.0, 2.0])}, "column count holds double, allowed: int64"),
        ({"value": pa.array([1.0, np.nan])}, "column value holds values that are missing, NaN or infinite"),
        ({"value": pa.array([-np.inf, 1.0])}, "column value holds values that are missing, NaN or infinite"),
        ({"value": pa.array([None, 1.0])}, "column value holds values that are missing"),
        ({"count": pa.array([None, 1])}, "column count holds values that are missing"),
        ({"name": pa.array([None, "a"])}, "column name holds values that are missing"),
    ],
)
def test_columns_of_other_kinds_or_without_values_are_refused(
    tmp_path: Path, columns: dict[str, Any], message: str
) -> None:
    path = written(tmp_path, **columns)
    with pytest.raises(TableError, match=message):
        read_columns(path, SCHEMA)
    ((name, values),) = columns.items()
    if values.type == SCHEMA.field(name).type:
        assert len(read_columns(path, SCHEMA, unlimited=[name])[name]) == 2


def test_tables_take_their_names_together(tmp_path: Path) -> None:
    schemas = dict.fromkeys(("a.parquet", "b.parquet", "c.parquet"), SCHEMA)
    with Tables(tmp_path, schemas, always=["b.parquet"]) as tables:
        for start in range(0, 300, 100):
            tables.write("a.parquet", TABLE.slice(start, 100))
        assert not list(tmp_path.glob("*.parquet"))
    assert {entry.name for entry in tmp_path.iterdir()} == {"a.parquet", "b.parquet"}
    assert read_table(tmp_path / "a.parquet").equals(TABLE)
    assert read_table(tmp_path / "b.parquet").num_rows == 0


def test_after_an_error_no_table_is_left_and_older_ones_stay(path: Path, tmp_path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(KeyError), Tables(tmp_path, {"a.parquet": SCHEMA, "t.parquet": SCHEMA}) as tables:  # noqa: PT012
        tables.write("a.parquet", TABLE)
        tables.write("t.parquet", TABLE.slice(0, 1))
        raise KeyError
    assert [entry.name for entry in tmp_path.iterdir()] == ["t.parquet"]
    assert path.read_bytes() == before


@pytest.mark.parametrize("size", [3, 600, 4000])
def test_a_full_disk_leaves_no_half_table(
    size: int, tmp_path: Path, largest_file: Callable[[int], AbstractContextManager[None]]
) -> None:
    def write() -> None:
        with Tables(tmp_path, {"a.parquet": SCHEMA, "b.parquet": SCHEMA}) as tables:
            tables.write("a.parquet", TABLE.slice(0, 1))
            tables.write("b.parquet", TABLE)

    with largest_file(size), pytest.raises(StorageError, match=r"cannot write .*[ab]\.parquet: .*free the disk"):
        write()
    assert not list(tmp_path.iterdir())


def test_tables_that_cannot_be_begun_leave_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    schemas = {"a.parquet": SCHEMA, "file/b.parquet": SCHEMA}
    with pytest.raises(StorageError, match=r"b\.parquet"), Tables(tmp_path, schemas, always=list(schemas)):
        pass
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_link_stays_a_link(path: Path, tmp_path: Path) -> None:
    (tmp_path / "link.parquet").symlink_to(path)
    write_table(tmp_path / "link.parquet", TABLE.slice(0, 1))
    assert (tmp_path / "link.parquet").is_symlink()
    assert read_table(path).num_rows == 1
