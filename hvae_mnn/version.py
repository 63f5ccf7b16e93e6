"""The package's version, and the versions that a result depends on."""

from __future__ import annotations

import platform
from importlib.metadata import version

__version__ = "0.1.0"


def versions() -> dict[str, str]:
    """Versions by name, for the records of a run: this package, Python, and the libraries that compute."""
    return {
        "hvae_mnn": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "numpy", "PySpice")},
    }
