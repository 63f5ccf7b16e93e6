"""Files spoilt by somebody who knows their format: values are changed by their structure, and checksums made anew, so
that what lies behind the checksums is reached."""

from __future__ import annotations

import functools
import gzip
import hashlib
import io
import json
import os
import random
import struct
import tomllib
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import safetensors.numpy
import torch

from hvae_mnn.errors import HvaeMnnError
from hvae_mnn.files import SEAL, arrays_sha256, seal, sha256
from hvae_mnn.models.archive import write_archive
from hvae_mnn.netlist.file_names import CONDUCTANCES, MANIFEST
from hvae_mnn.tables import write_table
from tests.campaigns.fuzz_mutations import CANARY, extremes, spoil_tree, spoilt_bytes, to_json, to_toml

_HEAD = struct.Struct("<4sIIQ")
"""Of an answer in a journal."""


class Evil:
    """Runs when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {CANARY}",)


# --- JSON and TOML


def _write_sealed(path: Path, stored: Any) -> None:
    if isinstance(stored, dict):
        stored.pop(SEAL, None)
    text = to_json(stored)
    try:
        sealed = f'"{SEAL}": "{seal(json.loads(text))}"'
        text = f"{text[:-1]}{', ' if len(text) > 2 else ''}{sealed}}}"
    except (ValueError, AttributeError, RecursionError):
        pass
    path.write_text(text, encoding="utf-8", errors="surrogatepass")


def sealed_json(rng: random.Random, path: Path) -> str:
    """Changed values under a right checksum."""
    stored = json.loads(path.read_text(encoding="utf-8"))
    told = spoil_tree(rng, stored)
    _write_sealed(path, stored)
    return told


def toml(rng: random.Random, path: Path) -> str:
    """Changed keys and values."""
    stored = tomllib.loads(path.read_text(encoding="utf-8"))
    told = spoil_tree(rng, stored)
    path.write_text(to_toml(stored), encoding="utf-8", errors="surrogatepass")
    return told


# --- netlists


def netlist(rng: random.Random, path: Path) -> str:
    """Any file of a netlist folder, with the manifest that goes with it."""
    folder = path.parent
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    if path.name == MANIFEST:
        told = spoil_tree(rng, manifest)
    else:
        if path.name == CONDUCTANCES:
            told = _tensors(rng, path, {})
        elif path.suffix == ".pt":
            told = archive(rng, path)
        else:
            told = _deck(rng, path)
        manifest["files"][path.name] = sha256(path)
    _write_sealed(folder / MANIFEST, manifest)
    return told


_EVIL_LINES = (
    f".control\nshell touch {CANARY}\n.endc",
    f"*#shell touch {CANARY}",
    f"* x\r.control\rshell touch {CANARY}\r.endc",
    f".csparam x={{shell touch {CANARY}}}",
    ".include /dev/zero",
    ".lib /etc/passwd x",
    "pre_osdi /tmp/x.osdi",
    "source /dev/zero",
    f"system touch {CANARY}",
    "R1 a b 1",
    "Rmi0_0 x0 bli0 1e999",
    "+ 1",
    "",
)


def _deck(rng: random.Random, path: Path) -> str:
    lines = path.read_text(encoding="ascii").split("\n")
    way = rng.choice(("evil", "evil", "bytes", "order"))
    if way == "evil":
        line = rng.choice(_EVIL_LINES)
        lines.insert(rng.randrange(len(lines)), line)
        path.write_text("\n".join(lines), encoding="ascii", newline="")
        return f"line {line[:60]!r}"
    if way == "order":
        rng.shuffle(lines)
        path.write_text("\n".join(lines), encoding="ascii")
        return "order of lines"
    data, told = spoilt_bytes(rng, path.read_bytes(), path.read_bytes())
    path.write_bytes(data)
    return told


# --- arrays


def _spoilt_array(rng: random.Random, value: Any) -> Any:
    ways: list[Callable[[Any], Any]] = [
        lambda a: a[:-1],
        lambda a: a.T.copy(),
        lambda a: a.ravel(),
        lambda a: a[np.newaxis],
        lambda a: np.zeros((0, *a.shape[1:]), a.dtype),
        lambda a: np.repeat(a, 3, axis=0),
        lambda a: a.astype(rng.choice((np.float32, np.float16, np.int64, np.int8, np.bool_))),
        lambda a: np.full_like(a, rng.choice((0, 1, -1))),
        lambda a: a * rng.choice((-1, 0, 2, 1e6)),
    ]
    if value.ndim == 0:
        return rng.choice((value[np.newaxis], value.astype(np.float32), value * np.nan))
    if value.dtype.kind == "f" and value.size and rng.random() < 0.4:
        value = value.copy()
        value.flat[rng.randrange(value.size)] = rng.choice((np.nan, np.inf, -np.inf, 0, -1.0, 1e300, 1e-300))
        return value
    return rng.choice(ways)(value)


def _tensors(rng: random.Random, path: Path, metadata: dict[str, str]) -> str:
    tensors = safetensors.numpy.load(path.read_bytes())
    name = rng.choice(list(tensors))
    way = rng.choice(("drop", "rename", "swap", "spoil", "spoil", "spoil", "add"))
    if way == "drop":
        del tensors[name]
    elif way == "rename":
        tensors[rng.choice((name + "x", "", "../x", "é"))] = tensors.pop(name)
    elif way == "swap":
        other = rng.choice(list(tensors))
        tensors[name], tensors[other] = tensors[other], tensors[name]
    elif way == "add":
        tensors["extra"] = np.zeros(3)
    else:
        tensors[name] = _spoilt_array(rng, tensors[name])
    if metadata:
        metadata = {**metadata, "sha256": arrays_sha256(tensors)}
    path.write_bytes(safetensors.numpy.save(tensors, metadata or None))
    return f"{way} {name}"


checked_tensors = functools.partial(_tensors, metadata={"array": "x"})


def journal(rng: random.Random, path: Path) -> str:
    """An answer with other currents, or a head that lies."""
    data = bytearray(path.read_bytes())
    places, place = [], 0
    while place < len(data):
        places.append(place)
        place += _HEAD.size + _HEAD.unpack_from(data, place)[3]
    place = rng.choice(places)
    magic, asked, _, length = _HEAD.unpack_from(data, place)
    payload = data[place + _HEAD.size : place + _HEAD.size + length]
    way = rng.choice(("values", "question", "length", "magic"))
    if way == "values":
        payload = np.frombuffer(bytes(payload)) * rng.choice((2.0, np.nan, 0.0))
        payload = bytearray(payload.tobytes())
    elif way == "question":
        asked ^= 1
    elif way == "length":
        length = rng.choice((0, 8, length + 8, 2**40, 2**64 - 1))
    else:
        magic = b"HVJ9"
    data[place : place + _HEAD.size] = _HEAD.pack(magic, asked, zlib.crc32(payload), length)
    data[place + _HEAD.size : place + _HEAD.size + len(payload)] = payload
    path.write_bytes(data)
    return way


def npy(rng: random.Random, path: Path) -> str:
    """A header that claims something else."""
    file = io.BytesIO()
    header = {
        "descr": rng.choice(("<f8", ">f4", "|O", "<c16", "<U9", "|V8", "<M8[s]", [("a", "<f8")], "<f16", "|b1")),
        "fortran_order": rng.choice((False, True)),
        "shape": rng.choice(((3, 4), (12,), (), (0, 5), (10**9, 10**9), (-3, -4), (2**62,), (1,) * 40)),
    }
    np.lib.format.write_array_header_1_0(file, header)
    path.write_bytes(file.getvalue() + bytes(rng.choice((0, 96, 97, 8))))
    return str(header)[:80]


# --- checkpoints


def _spoilt_tensor(rng: random.Random, value: torch.Tensor) -> Any:
    ways: tuple[Callable[[torch.Tensor], Any], ...] = (
        lambda t: t[:-1] if t.ndim else t[None],
        lambda t: t.reshape(-1),
        lambda t: t.t() if t.ndim == 2 else t[None],
        lambda t: t.to(rng.choice((torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.bool))),
        lambda t: t.to(torch.complex64),
        lambda t: t.to_sparse(),
        lambda t: t.to("meta"),
        lambda t: torch.quantize_per_tensor(t.float(), 0.1, 0, torch.qint8),
        lambda t: torch.zeros(1).expand(t.shape),
        lambda t: torch.zeros(1).expand(10**6, 10**6),
        lambda t: torch.empty(0),
        lambda t: torch.nn.Parameter(t) if t.is_floating_point() else t,
        lambda t: t * float("nan"),
        lambda t: t + rng.choice((1e-3, 1e30, float("inf"))),
        lambda t: t.tolist(),
        lambda t: t.numpy(),
        lambda t: torch.nested.nested_tensor([t.float(), t.float()]) if t.ndim else t,
        lambda t: Evil(),
    )
    return rng.choice(ways)(value)


def archive(rng: random.Random, path: Path) -> str:
    """Changed values and tensors, with our checksum or without."""
    content = torch.load(path, weights_only=True)
    told = spoil_tree(rng, content, _spoilt_tensor)
    try:
        if rng.random() < 0.5:
            write_archive(path, content)
            return f"{told}; with checksum"
    except (TypeError, RuntimeError, NotImplementedError, AttributeError, RecursionError, OverflowError, MemoryError):
        pass
    way = rng.choice(("zip", "zip", "zip", "legacy"))
    try:
        torch.save(content, path, _use_new_zipfile_serialization=way == "zip")
    except Exception:  # of what torch cannot write, nothing is read
        torch.save(Evil(), path)
        told = "code"
    return f"{told}; {way}"


# --- tables


def _spoilt_table(rng: random.Random, table: pa.Table) -> tuple[pa.Table, str]:
    name = rng.choice(table.column_names)
    place = table.column_names.index(name)
    column = table[name]
    way = rng.choice(("drop", "rename", "cast", "null", "value", "value", "value", "none", "many", "metadata", "order"))
    if way == "drop":
        return table.drop_columns([name]), f"drop {name}"
    if way == "rename":
        names = list(table.column_names)
        names[place] = rng.choice((name + "x", "", "$x$", "$\\frac", "seed", "hardware.x", names[-1]))
        return table.rename_columns(names), f"rename {name} {names[place]}"
    if way == "none":
        return table.slice(0, 0), "no rows"
    if way == "many":
        return pa.concat_tables([table] * rng.choice((2, 50))), "rows again"
    if way == "metadata":
        return table.replace_schema_metadata({b"format": b"other/1"}), "metadata"
    if way == "order":
        return table.select(table.column_names[::-1]), "order of columns"
    if way == "cast":
        kind = rng.choice((pa.string(), pa.float32(), pa.int8(), pa.bool_(), pa.binary(), pa.list_(pa.float64())))
        new = pa.array([None] * len(column), kind)
        return table.set_column(place, name, new), f"{name} as {kind}"
    values = column.to_pylist()
    for _ in range(rng.choice((1, len(values) or 1))):
        if values:
            values[rng.randrange(len(values))] = None if way == "null" else rng.choice(extremes())
    try:
        return table.set_column(place, name, pa.array(values, column.type)), f"{way} in {name}"
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        texts = pa.array([str(value)[:99] for value in values])
        return table.set_column(place, name, texts), f"{name} as text"


def table(rng: random.Random, path: Path) -> str:
    """Other columns or values, with our checksum or without."""
    changed, told = _spoilt_table(rng, pq.read_table(path, partitioning=None))
    try:
        if rng.random() < 0.7:
            write_table(path, changed)
            return f"{told}; with checksum"
    except (HvaeMnnError, pa.ArrowException):
        pass
    pq.write_table(changed, path)
    return f"{told}; without checksum"


# --- texts and others


def packed(rng: random.Random, path: Path) -> str:
    """Other text, packed again; or much of it."""
    text = gzip.decompress(path.read_bytes())
    if rng.random() < 0.2:
        path.write_bytes(gzip.compress(bytes(2**24), 9) * rng.choice((1, 40)))
        return "zeros"
    data, told = spoilt_bytes(rng, text, text)
    path.write_bytes(gzip.compress(data))
    return f"{told}; packed again"


def hashed(rng: random.Random, path: Path) -> str:
    """Other content with the right hash beside it."""
    library = path.with_suffix(".osdi")
    data, told = spoilt_bytes(rng, library.read_bytes(), library.read_bytes())
    library.write_bytes(data)
    path.with_suffix(".sha256").write_text(hashlib.sha256(data).hexdigest(), encoding="ascii")
    return f"{told}; hashed again"
