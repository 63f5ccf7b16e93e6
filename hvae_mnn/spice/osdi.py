"""The compiled device: built once on the user's machine from the package's sources, stored under a hash of its inputs.

It is stored in the cache folder, or, without a usable cache folder, for the lifetime of this process.

With a C compiler it is built from `memristor_osdi.c`; without one, but with `openvaf`, from the Verilog-A.
`HVAE_MNN_OSDI` names a library that was built elsewhere.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import hashlib
import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from hvae_mnn.errors import EnvironmentProblem, InputError, StorageError
from hvae_mnn.files import cache_folder, disk_errors, replacing, sha256
from hvae_mnn.netlist.device_lines import OSDI_FILE, OSDI_SOURCE, model_file
from hvae_mnn.owned import temporary_folder
from hvae_mnn.reading import absolute, is_file, read_text
from hvae_mnn.spice.probe import c_compiler, osdi_refusal, probe
from hvae_mnn.spice.tied import CANNOT_START, tied

READY_MADE = "HVAE_MNN_OSDI"
"""Environment variable that names a library built elsewhere."""
_TIMEOUT_S = 120
_FALL_BACK = "or use the behavioural back end, which needs none"


@functools.cache
def _own_folder() -> Path:
    """Temporary folder of this process, for a user without a home or with a full disk."""
    until_exit = contextlib.ExitStack()
    atexit.register(until_exit.close)
    return until_exit.enter_context(temporary_folder())


def osdi_problem(law: str = "aist") -> str | None:
    """Reason why compiled devices of this law cannot run here, with the remedy; None if they can."""
    try:
        osdi_library(law)
    except EnvironmentProblem as error:
        return str(error)
    return None


@functools.cache
def osdi_library(law: str) -> Path:
    """The compiled device, built if it does not exist yet, and accepted by this machine's ngspice.

    Raises `EnvironmentProblem` with the remedy, `StorageError` without a folder for it. An ngspice without OSDI accepts
    `pre_osdi` silently and exits with 0, so OSDI is checked first.
    """
    facts = probe()
    if facts.problem:
        raise EnvironmentProblem(facts.problem)
    if not facts.osdi:
        raise EnvironmentProblem(
            f"ngspice {facts.version or ''} cannot load compiled devices (no OSDI): install ngspice 42 or later with"
            f" OSDI (make system), {_FALL_BACK}"
        )
    library = _ready_made() or _compiled(_recipe(law))
    refused = osdi_refusal(library)
    if refused:
        raise EnvironmentProblem(
            f"ngspice {facts.version or ''} refuses {library}: {refused}; it has to be a library of OSDI 0.3 for this"
            f" machine: build it again, {_FALL_BACK}"
        )
    return library


def _ready_made() -> Path | None:
    named = os.environ.get(READY_MADE)
    if not named:
        return None
    if not is_file(Path(named)):
        raise EnvironmentProblem(f"{READY_MADE} names {named}, which is not a file; correct or unset it")
    return absolute(Path(named))


@dataclass(frozen=True)
class _Recipe:
    """Build command of a library: `command ... -o LIBRARY SOURCE`."""

    command: tuple[str, ...]
    source: Path

    def digest(self) -> str:
        """Hash of everything that the result depends on."""
        version = _run([self.command[0], "--version"])
        parts = (
            self.source.read_bytes(),
            "\0".join(self.command).encode(),
            version.stdout.encode(),
            platform.machine().encode(),
        )
        return hashlib.sha256(b"\0".join(parts)).hexdigest()[:32]


def _recipe(law: str) -> _Recipe:
    """The build command: the C compiler, or else openvaf."""
    compiler = c_compiler()
    if compiler is not None:
        return _Recipe((*compiler, "-O2", "-shared", "-fPIC"), model_file(OSDI_SOURCE))
    openvaf = shutil.which("openvaf")
    if openvaf is not None:
        return _Recipe((openvaf,), model_file(f"{law}.va"))
    raise EnvironmentProblem(
        f"no C compiler ({os.environ.get('CC') or 'cc'}) and no openvaf to build the OSDI device with: install one"
        f" (Debian: apt-get install gcc libc6-dev), or name it with CC, {_FALL_BACK}"
    )


def _compiled(recipe: _Recipe) -> Path:
    kept, digest = cache_folder("osdi"), recipe.digest()
    if kept is not None:
        with contextlib.suppress(StorageError):
            return _kept(recipe, kept / digest / OSDI_FILE)
    return _kept(recipe, _own_folder() / digest / OSDI_FILE)


def _kept(recipe: _Recipe, library: Path) -> Path:
    if not _whole(library):
        _build(recipe, library)
    return library


def _run(command: list[str], folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """`folder` holds the compiler's temporary files, which remain there if it is killed."""
    environment = None if folder is None else {**os.environ, "TMPDIR": str(folder)}
    why: object = None
    try:
        done = subprocess.run(
            tied(command),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
            check=False,
            env=environment,
        )
    except subprocess.TimeoutExpired:
        raise EnvironmentProblem(
            f"{command[0]} did not finish within {_TIMEOUT_S} s; repair it, {_FALL_BACK}"
        ) from None
    except OSError as error:
        why = error.strerror or error
    else:
        if done.returncode != CANNOT_START:
            return done
        why = done.stderr.strip()
    raise EnvironmentProblem(f"{command[0]} cannot be run ({why}); name a compiler with CC, {_FALL_BACK}")


def _seal(library: Path) -> Path:
    return library.with_suffix(".sha256")


def _whole(library: Path) -> bool:
    """Whether the library is complete: a truncated file would crash ngspice."""
    try:
        return sha256(library) == read_text(_seal(library), 1024)
    except InputError:
        return False


def _build(recipe: _Recipe, library: Path) -> None:
    compiler = recipe.command[0]
    with disk_errors(library):  # before the work
        library.parent.mkdir(parents=True, exist_ok=True)
    with temporary_folder() as folder:
        built = folder / OSDI_FILE
        command = [*recipe.command, "-o", str(built), str(recipe.source)]
        done = _run(command, folder)
        if done.returncode or not built.is_file():
            said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[0]
            raise EnvironmentProblem(f"{compiler} cannot build the OSDI device: {said}; repair it, {_FALL_BACK}")
        content = built.read_bytes()
    with replacing(library) as temporary:
        temporary.write_bytes(content)
    with replacing(_seal(library)) as temporary:
        temporary.write_text(hashlib.sha256(content).hexdigest(), encoding="ascii")
