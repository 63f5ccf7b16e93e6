"""Writing and reading of Parquet tables: whole or not at all, with a checksum of every byte.

Parquet's own page checksums do not cover the footer, which holds the names and types of columns. The footer therefore
also carries the SHA-256 of the whole file, computed with zeros in place of its own digits. Other tools read such a file
as usual.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from hvae_mnn.errors import EnvironmentProblem, InputError, TableError, UncheckedFileWarning
from hvae_mnn.files import Part, disk_errors, part_of
from hvae_mnn.reading import read_bytes, shown

TABLE_BYTES = 4 * 2**30
"""Largest table that is read, in bytes."""
_KEY = b"hvae_mnn.sha256"
_DIGITS = 64
_UNCHECKED_VALUES = 10**8
"""Largest number of values, and of text bytes per column, of a table without checksum."""
_TAIL = 2**20
"""Bytes at the end that are searched for the checksum: a footer of this package has some kilobytes."""


class Tables:
    """Tables of one folder that are written piece by piece. The context gives them their names together at its end;
    after an error it removes them."""

    def __init__(self, folder: Path, schemas: Mapping[str, pa.Schema], always: Collection[str] = ()) -> None:
        """`schemas`: columns by file name. `begin` or the first `write` begins a table; tables in `always` begin at
        once, so they exist even without rows."""
        self._folder, self._schemas, self._always = folder, schemas, always
        self._parts = ExitStack()
        self._open: dict[str, tuple[Part, pq.ParquetWriter]] = {}

    def begin(self, name: str) -> None:
        """Begin a table, which stays empty without a `write`. Raises `StorageError`."""
        part = self._parts.enter_context(part_of(self._folder / name))
        with disk_errors(part.path):
            writer = pq.ParquetWriter(part.temporary, self._schemas[name], write_page_checksum=True)
        self._open[name] = part, writer

    def write(self, name: str, rows: pa.Table) -> None:
        """Add rows to a table. Raises `StorageError` if the disk is full or the folder is not writable."""
        if name not in self._open:
            self.begin(name)
        with disk_errors(self._folder / name):
            self._open[name][1].write_table(rows)

    def flush(self) -> None:
        """Write gathered rows; for subclasses that gather rows."""

    def __enter__(self) -> Self:
        """The tables have temporary names until the end. Raises `StorageError`."""
        try:
            for name in self._always:
                self.begin(name)
        except BaseException as error:
            self.__exit__(type(error))
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Finish the tables and give them their names; after an error remove them. Raises `StorageError`."""
        with self._parts:
            try:
                if kind is None:
                    self.flush()
                    for part, writer in self._open.values():
                        _finish(part, writer)
                    for part, _writer in self._open.values():
                        part.take_name()
            finally:
                for _part, writer in self._open.values():
                    with suppress(OSError):  # a full disk prevents even the end of a table
                        writer.close()


def _finish(part: Part, writer: pq.ParquetWriter) -> None:
    """Close a table and write its checksum into the reserved place."""
    with disk_errors(part.path):
        writer.add_key_value_metadata({_KEY: b"0" * _DIGITS})
        writer.close()
        with part.temporary.open("r+b") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            begin = max(0, file.tell() - _TAIL)
            file.seek(begin)
            offset = _checksum_offset(file.read())
            assert offset is not None
            file.seek(begin + offset)
            file.write(digest.encode())


def write_table(path: Path, table: pa.Table) -> None:
    """Write a table in one step; equal tables give equal bytes. Raises `StorageError`."""
    with Tables(path.parent, {path.name: table.schema}) as tables:
        tables.write(path.name, table)


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]], schema: pa.Schema | None = None) -> None:
    """Write rows, each a mapping from column to value, in one step. Raises `StorageError`."""
    write_table(path, pa.Table.from_pylist(list(rows), schema))


def read_table(path: Path, columns: Sequence[str] | None = None, unchecked: list[Path] | None = None) -> pa.Table:
    """A table, or some of its columns, after its checksum was checked.

    A file without checksum (from an older version or another program) gives an `UncheckedFileWarning`, or, with
    `unchecked`, an entry in that list.

    Raises `TableError` for a file that is missing, damaged, changed since it was written, or lacks a column.
    """
    try:
        data = read_bytes(path, TABLE_BYTES, "Parquet table")
    except InputError as error:
        raise TableError(str(error)) from None
    is_checked = _check(path, data)
    try:
        with pq.ParquetFile(io.BytesIO(data), page_checksum_verification=True) as file:
            schema = file.schema_arrow
            for name in columns or ():
                if name not in schema.names:
                    names = shown(", ".join(sorted(schema.names)))
                    raise TableError(f"{shown(path)} has no column {name!r}; found: {names}")
            if is_checked:
                table = file.read(columns=columns)
        if not is_checked:
            table = _bounded(path, data, schema, columns)
    except (pa.ArrowException, OSError, ValueError, KeyError, MemoryError) as error:
        reason = shown(" ".join(str(error).split()) or type(error).__name__)
        if "Failed to launch worker thread" in reason:  # the fault of the machine, not of the file
            raise EnvironmentProblem(
                f"no more threads may be started, which reading {shown(path)} needs; raise the limit (ulimit -u)"
            ) from None
        raise TableError(f"{shown(path)} is damaged or not a Parquet table ({reason}); make it again") from None
    if not is_checked and unchecked is not None:
        unchecked.append(path)
    elif not is_checked:
        warnings.warn(f"{shown(path)} carries no checksum, so damage to it cannot be noticed", UncheckedFileWarning, 2)
    about = {key: value for key, value in (table.schema.metadata or {}).items() if key != _KEY}
    return table.replace_schema_metadata(about or None)  # the checksum belongs to the file, not to the table


def _bounded(path: Path, data: bytes, schema: pa.Schema, columns: Sequence[str] | None) -> pa.Table:
    """A table without checksum, within bounds: a few bytes can claim any number of values, or many copies of a long
    text."""
    texts = [field.name for field in schema if pa.types.is_string(field.type)]
    with pq.ParquetFile(io.BytesIO(data), page_checksum_verification=True, read_dictionary=texts) as file:
        groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
        values = sum(group.column(number).num_values for group in groups for number in range(group.num_columns))
        if max(values, file.metadata.num_rows * len(schema)) > _UNCHECKED_VALUES:
            raise TableError(
                f"{shown(path)} claims {file.metadata.num_rows:,} rows; allowed without a checksum:"
                f" {_UNCHECKED_VALUES:,} values"
            )
        table = file.read(columns=columns)
    table.validate(full=True)
    for name in set(texts) & set(table.column_names):
        parts = table[name].chunks
        lengths = [pc.sum(pc.take(pc.binary_length(part.dictionary), part.indices)).as_py() or 0 for part in parts]
        if sum(lengths) > _UNCHECKED_VALUES:
            raise TableError(f"{shown(path)}: texts in column {name!r} are {sum(lengths):,} bytes; make it again")
    return table.cast(pa.schema([schema.field(name) for name in table.column_names], schema.metadata))


def read_columns(
    path: Path, schema: pa.Schema, *names: str, unlimited: Collection[str] = ()
) -> dict[str, NDArray[Any]]:
    """Columns of a table that was written with `schema`, as arrays; all columns if no names are given.

    Numbers are finite and no value is missing, except in the `unlimited` columns. Raises `TableError` as `read_table`,
    and for columns of other types or values.
    """
    wanted = names or tuple(schema.names)
    table = read_table(path, wanted)
    columns = {}
    for name in wanted:
        kind, column = schema.field(name).type, table[name]
        if column.type != kind:
            raise TableError(f"{shown(path)}: column {name} holds {shown(column.type)}, allowed: {kind}; make it again")
        values = column.to_numpy()
        if name not in unlimited:
            is_bad = column.null_count or (pa.types.is_floating(kind) and not np.isfinite(values).all())
            if is_bad:
                raise TableError(f"{shown(path)}: column {name} holds values that are missing, NaN or infinite")
        columns[name] = values
    return columns


def _checksum_offset(data: bytes | bytearray) -> int | None:
    """Offset of the checksum's digits; None for a file without checksum."""
    key = data.rfind(_KEY, max(0, len(data) - _TAIL))
    # Between key and value stand the value's field header (0x18) and its length, 64 (0x40).
    start = key + len(_KEY) + 2
    if key < 0 or data[start - 2 : start] != b"\x18\x40" or start + _DIGITS > len(data):
        return None
    return start


def _check(path: Path, data: bytes) -> bool:
    """Whether the file carries a checksum. Raises `TableError` if it does not match."""
    offset = _checksum_offset(data)
    if offset is None:
        length = int.from_bytes(data[-8:-4], "little")
        footer = data[-8 - length : -8]
        if _KEY[:8] in footer or _KEY[-7:] in footer:  # damage to one leaves the other
            raise TableError(f"{shown(path)} is damaged: its checksum cannot be found; make it again")
        return False
    digest = hashlib.sha256(memoryview(data)[:offset])
    digest.update(b"0" * _DIGITS)
    digest.update(memoryview(data)[offset + _DIGITS :])
    if data[offset : offset + _DIGITS] != digest.hexdigest().encode():
        raise TableError(f"{shown(path)} does not match its checksum: it was changed since it was written")
    return True
