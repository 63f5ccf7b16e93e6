"""The package's version, and the versions that a result depends on."""

from __future__ import annotations

__version__ = "0.1.0"


def versions(*libraries: str) -> dict[str, str]:
    """Versions by name, for the records of a run: this package, Python, and the `libraries` that it depends on."""
    import platform  # here, because importing the package imports this module
    from importlib.metadata import version

    return {
        "hvae_mnn": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in libraries},
    }
