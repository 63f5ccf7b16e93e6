"""Capabilities of the ngspice on this machine, found by running it."""

from __future__ import annotations

import io
import json
import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hvae_mnn.owned import temporary_folder
from hvae_mnn.spice.tied import tied

if TYPE_CHECKING:
    from hvae_mnn.spice.library import SharedLibrary

_DECK = """hvae-mnn probe: a divider
.options klu
V1 a 0 DC 3
R1 a b 1k
R2 b 0 2k
"""

_OSDI_SOURCE = """
#include <stdint.h>
uint32_t OSDI_VERSION_MAJOR = 0, OSDI_VERSION_MINOR = %d, OSDI_NUM_DESCRIPTORS = 0;
%s
char OSDI_DESCRIPTORS[1];
"""
_OSDI_VERSIONS = {"0.3": (3, ""), "0.4": (4, "uint32_t OSDI_DESCRIPTOR_SIZE = 512;")}

_LINK = "./device.osdi"
_TIMEOUT_S = 60


@dataclass(frozen=True)
class NgspiceFacts:
    """Result of a probe; None or empty for an unknown fact."""

    version: str | None
    """Version that libngspice reports."""
    library: str | None
    """Name or path for the dynamic loader."""
    solver: str | None
    """Direct solver used by a deck with `.options klu`: `KLU` or `SPARSE 1.3`."""
    divider_volts: float | None
    """Output of the probe's voltage divider; 2 V is right."""
    osdi: bool
    """Whether the command that loads compiled Verilog-A exists."""
    osdi_versions: tuple[str, ...]
    """OSDI versions of which a compiled library was loaded; empty without a C compiler."""
    problem: str | None
    """Reason why the probe stopped."""


def probe() -> NgspiceFacts:
    """Run libngspice in a separate process in an empty folder, and report its capabilities."""
    with temporary_folder() as folder:
        libraries = _compile_osdi(folder)
        done = _in_child(folder, json.dumps(libraries))
    if done is None:
        return NgspiceFacts(None, None, None, None, False, (), f"libngspice did not answer within {_TIMEOUT_S} s")
    for line in done.stdout.splitlines():
        if line.startswith("{"):
            stored = json.loads(line)
            return NgspiceFacts(**{**stored, "osdi_versions": tuple(stored["osdi_versions"])})
    tail = (done.stderr.strip().splitlines() or ["no output"])[-1]
    return NgspiceFacts(None, None, None, None, False, (), f"libngspice ended with code {done.returncode}: {tail}")


def osdi_refusal(library: Path) -> str | None:
    """Reason why this machine's ngspice refuses a compiled device, found by loading it; None if it accepts it."""
    with temporary_folder() as folder:
        # A name without a folder: ngspice splits its commands into words, and accepts ASCII only.
        (folder / _LINK).symlink_to(library)
        done = _in_child(folder, "--osdi", _LINK)
    if done is None:
        return f"libngspice did not answer within {_TIMEOUT_S} s"
    if done.returncode == 0:
        return None
    said = [line.replace(_LINK, library.name) for line in done.stdout.splitlines() if line.strip()]
    said.sort(key=lambda line: "supports" not in line)  # why, before that
    return said[0] if said else f"libngspice ended with code {done.returncode}"


def _in_child(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str] | None:
    return _ended([sys.executable, "-m", "hvae_mnn.spice.probe", *arguments], folder)


def _ended(command: list[str], folder: Path | None = None) -> subprocess.CompletedProcess[str] | None:
    """The completed command in a folder; None if it did not end in time."""
    try:
        return subprocess.run(
            tied(command),
            cwd=folder,
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None


def command_line_version() -> str | None:
    """Version of the `ngspice` command; None if it is not installed or reports none."""
    path = shutil.which("ngspice")
    done = None if path is None else _ended([path, "--version"])
    return None if done is None else _version_in(done.stdout.splitlines())


def _version_in(lines: list[str]) -> str | None:
    for line in lines:
        for word in line.split():
            if word.startswith("ngspice-"):
                return word.removeprefix("ngspice-")
    return None


def c_compiler() -> tuple[str, ...] | None:
    """Command of the C compiler, which `CC` may name as in a Makefile; None if there is none."""
    try:
        words = shlex.split(os.environ.get("CC", "")) or ["cc"]
    except ValueError:  # a quotation that does not end
        return None
    path = shutil.which(words[0])
    return None if path is None else (os.path.abspath(path), *words[1:])  # it runs in other folders


def _compile_osdi(folder: Path) -> dict[str, str]:
    """Libraries without devices in `folder`, one per OSDI version, to test whether ngspice accepts the version.

    Returns their paths from there, by version.
    """
    compiler = c_compiler()
    if compiler is None:
        return {}
    libraries = {}
    for name, (minor, extra) in _OSDI_VERSIONS.items():
        # A file called `osdi` would be taken for a script.
        source, library = f"./v{minor}.c", f"./v{minor}.osdi"
        (folder / source).write_text(_OSDI_SOURCE % (minor, extra), encoding="ascii")
        command = [*compiler, "-shared", "-fPIC", "-o", library, source]
        try:
            # Its temporary files go to a folder that is removed if it is killed.
            own = {**os.environ, "TMPDIR": str(folder)}
            built = subprocess.run(
                tied(command), cwd=folder, capture_output=True, timeout=_TIMEOUT_S, check=False, env=own
            )
        except (OSError, subprocess.TimeoutExpired):  # CC does not name a program
            return {}
        if built.returncode == 0:
            libraries[name] = library
    return libraries


def _probe_here(libraries: dict[str, str]) -> NgspiceFacts:
    """The probe itself; runs in the child process. `libraries`: paths from its working folder, by OSDI version."""
    from hvae_mnn.spice.library import SharedLibrary, library_name

    library = SharedLibrary()
    version = _version_in(library.command("version -f"))
    library.log.clear()
    library.load([*_DECK.splitlines(), ".end"])
    library.command("op")
    solver = None
    for line in library.log:
        if line.startswith("Using ") and "Direct Linear Solver" in line:
            solver = line.removeprefix("Using ").split(" as ")[0]
    printed = " ".join(library.command("print v(b)"))
    volts = float(printed.rpartition("=")[2]) if "=" in printed else None
    osdi_versions = []
    library.log.clear()
    library.command("osdi ./nonexistent.osdi")
    osdi = not any("no such command" in line for line in library.log)
    for name, path in libraries.items() if osdi else ():
        if not _loading_errors(library, path):
            osdi_versions.append(name)
    return NgspiceFacts(version, library_name(), solver, volts, osdi, tuple(osdi_versions), None)


def _loading_errors(library: SharedLibrary, path: str) -> list[str]:
    """ngspice's errors about a compiled device; it reports them by no exit status."""
    library.log.clear()
    library.command(f"osdi {path}")
    signs = ("only supports", "couldn't be loaded", "error", "does not", "not found")
    return [line.strip() for line in library.log if any(sign in line.lower() for sign in signs)]


def _try_here(path: str) -> None:
    """Load one compiled device; exits with 1 and ngspice's message if it is refused. Runs in the child process."""
    from hvae_mnn.spice.library import SharedLibrary

    errors = _loading_errors(SharedLibrary(), path)
    print("\n".join(errors))  # noqa: T201
    sys.exit(bool(errors))


if __name__ == "__main__":
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")  # as it is read
    if sys.argv[1] == "--osdi":
        _try_here(sys.argv[2])
    from hvae_mnn.errors import HvaeMnnError

    try:
        facts = _probe_here(json.loads(sys.argv[1]))
    except (HvaeMnnError, OSError) as error:
        facts = NgspiceFacts(None, None, None, None, False, (), str(error))
    print(json.dumps(asdict(facts)))  # noqa: T201
