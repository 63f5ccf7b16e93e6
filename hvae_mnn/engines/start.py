"""Starts an engine with the arrays of a netlist folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

from hvae_mnn.engines.array_process import array_decks
from hvae_mnn.engines.exact import ExactEngine
from hvae_mnn.engines.ideal import IdealEngine
from hvae_mnn.engines.ngspice import NgspiceEngine
from hvae_mnn.engines.protocol import Engine
from hvae_mnn.engines.transfer_cache import TransferCache
from hvae_mnn.errors import InputError, RunError
from hvae_mnn.files import cache_folder
from hvae_mnn.netlist.conductances import read_conductances
from hvae_mnn.netlist.manifest import Manifest
from hvae_mnn.parallel.cluster import Cluster

Progress = Callable[[str, int, int], None]
"""Called with the phase, the number of finished parts, and the number of all parts."""
BEHAVIOURAL_BYTES = 60 * 2**10
"""Measured memory of a behavioural memristor in ngspice."""
WIRED_BYTES = 5 * 2**10
"""Measured memory of a cell with its two wire segments in ngspice: 12 GiB for 2.2 million cells."""


def start_engine(
    name: str, manifest: Manifest, progress: Progress | None = None, cluster: Cluster | None = None
) -> Engine:
    """The engine `name` (`ideal`, `exact` or `ngspice`) with all arrays of a build loaded.

    The engine works on `cluster` (default: this process). Raises `InputError` for an engine that cannot simulate this
    build, `RunError` for a build that exceeds this machine's memory, `ManifestError` for damaged files, and the errors
    of `NgspiceEngine`.
    """
    if name == "ngspice":
        return ngspice_engine(manifest, progress, cluster)
    return ideal_engine(manifest) if name == "ideal" else exact_engine(manifest, progress, cluster)


def ideal_engine(manifest: Manifest) -> IdealEngine:
    """The ideal engine with the build's conductances. Raises `ManifestError` for damaged files."""
    conductances = {name: stored.conductance for name, stored in read_conductances(manifest).items()}
    return IdealEngine(conductances, manifest.layouts, manifest.moving)


def exact_engine(manifest: Manifest, progress: Progress | None = None, cluster: Cluster | None = None) -> ExactEngine:
    """The exact engine with the build's tiles, solved on `cluster` or taken from the user's cache.

    Raises `InputError` for moving memristors, `ManifestError` for damaged files, `RunError` if a worker fails twice.
    """
    if manifest.moving is not None:
        raise InputError(
            f"{manifest.folder} has memristors that move ({manifest.device_backend}), and the exact engine solves"
            " frozen ones; choose --engine ngspice, or build with --device-backend static"
        )
    conductances = {name: stored.conductance for name, stored in read_conductances(manifest).items()}
    loading = None if progress is None else partial(progress, "loading")
    return ExactEngine(
        conductances, manifest.layouts, cache=TransferCache(cache_folder()), cluster=cluster, progress=loading
    )


def ngspice_engine(
    manifest: Manifest, progress: Progress | None = None, cluster: Cluster | None = None
) -> NgspiceEngine:
    """The ngspice engine with the build's decks, one process per array.

    Raises `RunError` for a build that exceeds this machine's memory, and the errors of `NgspiceEngine`.
    """
    _require_memory(manifest)
    decks, loaded = array_decks(manifest), []

    def on_loaded(array: str) -> None:
        loaded.append(array)
        if progress is not None:
            progress("loading", len(loaded), len(decks))

    return NgspiceEngine(decks, on_loaded, cluster)


def _require_memory(manifest: Manifest) -> None:
    """Raise `RunError` if ngspice would exceed this machine's memory: with behavioural devices, each of which has an
    expression tree, or with wires, which add a node per segment."""
    count = manifest.memristors
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    wires = manifest.hardware.wires
    tiles = [(layout, tile) for layout in manifest.layouts.values() for tile in layout.tiles]
    cells = sum(len(tile.rows) * len(tile.bit_lines) * layout.lines_per_row for layout, tile in tiles)
    if (wires.word_ohm or wires.bit_ohm) and cells * WIRED_BYTES > memory:
        raise RunError(
            f"{manifest.folder} has {cells:,} cells with wires, about {cells * WIRED_BYTES / 2**30:.0f} GiB in ngspice;"
            f" this machine has {memory / 2**30:.0f} GiB: use --engine exact, and hvae-mnn verify for the proof"
        )
    if manifest.device_backend == "behavioural" and count * BEHAVIOURAL_BYTES > memory:
        raise RunError(
            f"{manifest.folder} has {count:,} behavioural memristors, about {count * BEHAVIOURAL_BYTES / 2**30:.0f} GiB"
            f" in ngspice; this machine has {memory / 2**30:.0f} GiB: build it with --device-backend osdi"
        )
