"""Whether this machine can do the work. Needs neither torch nor PySpice, which may be what is missing."""

from __future__ import annotations

from hvae_mnn.studies.machine import Diagnosis, diagnose

__all__ = ["Diagnosis", "doctor"]


def doctor() -> Diagnosis:
    """Check this machine, by really running ngspice: versions, direct solver, OSDI, devices; each problem with its
    remedy. Raises nothing for what it finds."""
    return Diagnosis(tuple(diagnose()))
