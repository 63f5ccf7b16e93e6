"""Checks of this machine, which really run ngspice; each problem has a remedy."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

from hvae_mnn.results import Shown

_NGSPICE_REMEDY = "make system, or install ngspice and libngspice0, 42 or later (Debian 12: from bookworm-backports)"


@dataclass(frozen=True)
class Finding:
    """Result of one check."""

    what: str
    """Subject of the check."""
    state: str
    """State of the subject, e.g. a version."""
    level: Literal["good", "note", "problem"] = "good"
    """`note`: works with restrictions; `problem`: simulations would fail."""
    remedy: str = ""
    """Remedy for a note or a problem."""


@dataclass(frozen=True, repr=False)
class Diagnosis(Shown):
    """Results of all checks of a machine."""

    findings: tuple[Finding, ...]

    @property
    def problems(self) -> tuple[Finding, ...]:
        """Findings with which simulations would fail."""
        return tuple(one for one in self.findings if one.level == "problem")

    @property
    def passed(self) -> bool:
        """Whether simulations run on this machine."""
        return not self.problems

    def facts(self) -> Mapping[str, object]:
        """Verdict, number of checks, and every problem with its remedy."""
        return {"passed": self.passed, "findings": len(self.findings)} | {
            one.what: f"{one.state}; {one.remedy}" for one in self.problems
        }


def diagnose() -> Iterator[Finding]:
    """Check Python and its packages, ngspice, and every back end of memristors."""
    yield from _python()
    yield from _ngspice()
    yield from _devices()


def _python() -> Iterator[Finding]:
    supported = (3, 11) <= sys.version_info[:2] <= (3, 13)
    remedy = "" if supported else "use Python 3.11, 3.12 or 3.13: make clean, then make setup PYTHON=python3.12"
    yield Finding("Python", platform.python_version(), "good" if supported else "problem", remedy)
    for package in ("torch", "PySpice", "numpy", "pyarrow"):
        try:
            yield Finding(package, version(package))
        except PackageNotFoundError:
            yield Finding(package, "not installed", "problem", "make setup, or pip install hvae-mnn")


def _ngspice() -> Iterator[Finding]:
    from hvae_mnn.spice.probe import command_line_version, probe

    facts = probe()
    if facts.problem is not None:
        yield Finding("libngspice", facts.problem, "problem", _NGSPICE_REMEDY)
    else:
        yield Finding("libngspice", f"{facts.version} ({facts.library})")
        right = facts.divider_volts is not None and abs(facts.divider_volts - 2) < 1e-9
        answer = f"a 3 V divider 1:2 gives {facts.divider_volts} V"
        yield Finding("operating point", answer, "good" if right else "problem", "" if right else _NGSPICE_REMEDY)
        yield _solver(facts.solver)
        yield _osdi(facts.osdi, facts.osdi_versions)
    command = command_line_version()
    if command is None:
        remedy = "iv, program, and exported decks run by hand need it; " + _NGSPICE_REMEDY
        yield Finding("ngspice command", "not found", "note", remedy)
    elif facts.version is not None and command != facts.version:
        remedy = f"libngspice is {facts.version}: install one version of both"
        yield Finding("ngspice command", command, "note", remedy)
    else:
        yield Finding("ngspice command", command)


def _devices() -> Iterator[Finding]:
    """Checks of every back end of moving memristors, by one pulse on one device."""
    from hvae_mnn.devices.moving import BACKENDS
    from hvae_mnn.spice.backends import backend_problem

    yield Finding("devices: static", "resistors, on any ngspice")
    for backend in BACKENDS:
        problem = backend_problem(backend)
        if problem is None:
            yield Finding(f"devices: {backend}", "a pulse moves a memristor as its equation says")
        else:
            yield Finding(f"devices: {backend}", "does not run here", "note", problem)


def _solver(solver: str | None) -> Finding:
    if solver == "KLU":
        return Finding("direct solver", "KLU, in a run that requested it")
    state = solver or "Sparse 1.3 (the only one of this ngspice)"
    return Finding("direct solver", state, "problem", f"arrays of the paper's size need KLU: {_NGSPICE_REMEDY}")


def _osdi(osdi: bool, versions: tuple[str, ...]) -> Finding:
    if not osdi:
        remedy = "compiled Verilog-A devices need it: " + _NGSPICE_REMEDY
        return Finding("OSDI", "this ngspice has no OSDI", "note", remedy)
    if versions:
        return Finding("OSDI", f"{' and '.join(versions)}, each by loading a library compiled here")
    from hvae_mnn.spice.probe import c_compiler

    compiler = "there is no C compiler" if c_compiler() is None else "the probe library was refused"
    return Finding("OSDI", f"live; version not proven, as {compiler}", "note", "install a C compiler, e.g. gcc")
