"""`hvae-mnn doctor`."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import rich_click as click
from rich.console import Console
from rich.table import Table

EPILOG = """
Examples:

    hvae-mnn doctor

Exit code 0: the main job runs here. Exit code 1: it would fail; every problem is named with its remedy.
"""

_NGSPICE_REMEDY = "make system, or install ngspice and libngspice0, 42 or later (Debian 12: from bookworm-backports)"


@dataclass(frozen=True)
class Check:
    """One finding: good, a note (works, but less), or a problem (the main job would fail)."""

    what: str
    found: str
    level: str = "good"
    """`good`, `note` or `problem`."""
    remedy: str = ""


@click.command(epilog=EPILOG)
def command() -> None:
    """Check this machine, by really running ngspice: versions, direct solver, OSDI; each problem with its remedy."""
    console = Console()
    checks = [*_python_checks(), *_ngspice_checks(), *_device_checks()]
    table = Table(title="hvae-mnn doctor", title_justify="left")
    for heading in ("", "what", "found", "remedy"):
        table.add_column(heading, overflow="fold")
    marks = {"good": "[green]ok[/]", "note": "[yellow]note[/]", "problem": "[bold red]problem[/]"}
    for check in checks:
        table.add_row(marks[check.level], check.what, check.found, check.remedy)
    console.print(table)
    problems = [check for check in checks if check.level == "problem"]
    if problems:
        console.print(f"{len(problems)} problem(s): the main job would fail here", highlight=False)
        sys.exit(1)
    console.print("the main job runs here", highlight=False)


def _python_checks() -> Iterator[Check]:
    supported = (3, 11) <= sys.version_info[:2] <= (3, 13)
    remedy = "" if supported else "use Python 3.11, 3.12 or 3.13: make clean, then make setup PYTHON=python3.12"
    yield Check("Python", platform.python_version(), "good" if supported else "problem", remedy)
    for package in ("torch", "PySpice", "numpy", "pyarrow"):
        try:
            yield Check(package, version(package))
        except PackageNotFoundError:
            yield Check(package, "not installed", "problem", "make setup, or pip install hvae-mnn")


def _ngspice_checks() -> Iterator[Check]:
    from hvae_mnn.spice.probe import command_line_version, probe

    facts = probe()
    if facts.problem is not None:
        yield Check("libngspice", facts.problem, "problem", _NGSPICE_REMEDY)
    else:
        yield Check("libngspice", f"{facts.version} ({facts.library})")
        right = facts.divider_volts is not None and abs(facts.divider_volts - 2) < 1e-9
        found = f"a 3 V divider 1:2 gives {facts.divider_volts} V"
        yield Check("operating point", found, "good" if right else "problem", "" if right else _NGSPICE_REMEDY)
        yield _solver_check(facts.solver)
        yield _osdi_check(facts.osdi, facts.osdi_versions)
    found_command = command_line_version()
    if found_command is None:
        remedy = "iv, program, and exported decks run by hand need it; " + _NGSPICE_REMEDY
        yield Check("ngspice command", "not found", "note", remedy)
    elif facts.version is not None and found_command != facts.version:
        yield Check(
            "ngspice command", found_command, "note", f"libngspice is {facts.version}: install one version of both"
        )
    else:
        yield Check("ngspice command", found_command)


def _device_checks() -> Iterator[Check]:
    """Every back end of moving memristors, by one pulse on one device."""
    from hvae_mnn.devices.moving import BACKENDS
    from hvae_mnn.spice.backends import backend_problem

    yield Check("devices: static", "resistors, on any ngspice")
    for backend in BACKENDS:
        problem = backend_problem(backend)
        if problem is None:
            yield Check(f"devices: {backend}", "a pulse moves a memristor as its equation says")
        else:
            yield Check(f"devices: {backend}", "does not run here", "note", problem)


def _solver_check(solver: str | None) -> Check:
    if solver == "KLU":
        return Check("direct solver", "KLU, in a run that asked for it")
    found = solver or "Sparse 1.3 (this ngspice knows no other)"
    return Check("direct solver", found, "problem", f"arrays of the paper's size need KLU: {_NGSPICE_REMEDY}")


def _osdi_check(osdi: bool, versions: tuple[str, ...]) -> Check:
    if not osdi:
        return Check(
            "OSDI", "this ngspice has no OSDI", "note", "compiled Verilog-A devices need it: " + _NGSPICE_REMEDY
        )
    if versions:
        return Check("OSDI", f"{' and '.join(versions)}, each by loading a library compiled here")
    from hvae_mnn.spice.probe import c_compiler

    compiler = "there is no C compiler" if c_compiler() is None else "the probe library was refused"
    return Check("OSDI", f"live; version not proven, as {compiler}", "note", "install a C compiler, e.g. gcc")
