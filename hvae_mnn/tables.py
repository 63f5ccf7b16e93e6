"""The one way to write and read Parquet tables: whole or not at all, and with a checksum of every byte.

Parquet's own page checksums leave out the footer, where names and types of columns stand. So the footer also carries
the SHA-256 of the whole file, taken with zeros in the place of its own digits. Other tools read such a file as any
other.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from hvae_mnn.errors import TableError, UncheckedFileWarning
from hvae_mnn.files import disk_errors, replacing
from hvae_mnn.reading import read_bytes, shown

TABLE_BYTES = 4 * 2**30
"""Largest table that is read back."""
_KEY = b"hvae_mnn.sha256"
_DIGITS = 64
_TAIL = 2**20
"""The checksum stands in the footer, at the end; a footer of ours has some kilobytes."""


@contextmanager
def table_writer(path: Path, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
    """A writer of a table of `schema` that takes its name `path`, and its checksum, when all went well.

    Raises `StorageError` when the disk is full or the folder is not writable.
    """
    with replacing(path) as temporary:
        writer = pq.ParquetWriter(temporary, schema, write_page_checksum=True)
        try:
            yield writer
            writer.add_key_value_metadata({_KEY: b"0" * _DIGITS})
        except BaseException:
            with suppress(OSError):  # on a full disk not even the end of a table can be written
                writer.close()
            raise
        writer.close()
        _add_checksum(temporary)


def write_table(path: Path, table: pa.Table) -> None:
    """Write a table in one step; equal tables give equal bytes. Raises `StorageError`."""
    with table_writer(path, table.schema) as writer:
        writer.write_table(table)


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]], schema: pa.Schema | None = None) -> None:
    """Write rows, each a mapping from column to value, in one step. Raises `StorageError`."""
    write_table(path, pa.Table.from_pylist(list(rows), schema))


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """A table, or some columns of it, once its checksum is found right.

    A file that carries no checksum, of an older version or another program, is read with an `UncheckedFileWarning`.

    Raises `TableError` for a file that is missing, damaged, changed since it was written, or lacks a column.
    """
    data = read_bytes(path, TABLE_BYTES, "Parquet table")
    _check(path, data)
    try:
        with pq.ParquetFile(io.BytesIO(data), page_checksum_verification=True) as file:
            found = set(file.schema_arrow.names)
            lacking = [name for name in columns or () if name not in found]
            if lacking:
                raise TableError(f"{shown(path)} has no column {lacking[0]!r}; found: {', '.join(sorted(found))}")
            return file.read(columns=None if columns is None else list(columns))
    except (pa.ArrowException, OSError, ValueError, KeyError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise TableError(f"{shown(path)} is damaged or no Parquet table ({reason}); make it again") from None


def read_columns(path: Path, *names: str) -> dict[str, NDArray[Any]]:
    """Columns of a table as arrays, all of them where no names are given. Raises `TableError` as `read_table`."""
    table = read_table(path, names or None)
    return {name: table[name].to_numpy() for name in table.column_names}


def _add_checksum(path: Path) -> None:
    """Put the file's checksum in the place that was kept for it."""
    with disk_errors(path), path.open("r+b") as file:
        data = bytearray(file.read())
        place = _place(data)
        assert place is not None
        file.seek(place)
        file.write(hashlib.sha256(data).hexdigest().encode())


def _place(data: bytes | bytearray) -> int | None:
    """Where the digits of the checksum begin; None for a file without."""
    key = data.rfind(_KEY, max(0, len(data) - _TAIL))
    # Between key and value stand the value's field header (0x18) and its length, 64 (0x40).
    start = key + len(_KEY) + 2
    if key < 0 or data[start - 2 : start] != b"\x18\x40" or start + _DIGITS > len(data):
        return None
    return start


def _check(path: Path, data: bytes) -> None:
    place = _place(data)
    if place is None:
        tail = data[-_TAIL:]
        if _KEY[:8] in tail or _KEY[-7:] in tail:  # damage to one leaves the other
            raise TableError(f"{shown(path)} is damaged: its checksum cannot be found; make it again")
        warnings.warn(f"{shown(path)} carries no checksum, so damage to it cannot be noticed", UncheckedFileWarning, 3)
        return
    digest = hashlib.sha256(memoryview(data)[:place])
    digest.update(b"0" * _DIGITS)
    digest.update(memoryview(data)[place + _DIGITS :])
    if data[place : place + _DIGITS] != digest.hexdigest().encode():
        raise TableError(f"{shown(path)} does not match its checksum: it was changed since it was written")
