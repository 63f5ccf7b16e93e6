"""The compiled device: built once on the user's machine from our own source, kept under the hash of what made it."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

from hvae_mnn.engines.probe import probe
from hvae_mnn.errors import EnvironmentProblem
from hvae_mnn.files import replacing
from hvae_mnn.netlist.device_lines import OSDI_FILE, OSDI_SOURCE, model_file

_C_FLAGS = ("-O2", "-shared", "-fPIC")
_TIMEOUT_S = 120
_FALL_BACK = "or use --device-backend behavioural"


def cache_folder() -> Path:
    """Where compiled devices are kept."""
    given = os.environ.get("XDG_CACHE_HOME")
    return Path(given or Path.home() / ".cache") / "hvae-mnn" / "osdi"


def osdi_problem() -> str | None:
    """Why moving devices cannot run compiled on this machine, with the remedy; None when they can."""
    try:
        osdi_library()
    except EnvironmentProblem as error:
        return str(error)
    return None


@functools.cache
def osdi_library() -> Path:
    """The compiled device, built when it is not there yet; raises `EnvironmentProblem` with the remedy.

    An ngspice without OSDI takes `pre_osdi` without a word and exits with 0, so it is probed first.
    """
    facts = probe()
    if facts.problem:
        raise EnvironmentProblem(facts.problem)
    if not facts.osdi:
        raise EnvironmentProblem(
            f"ngspice {facts.version or ''} cannot load compiled devices (no OSDI): install ngspice 42 or later with"
            f" OSDI (make system), {_FALL_BACK}"
        )
    return _compiled()


def _compiled() -> Path:
    compiler, command = _compiler()
    source = model_file(OSDI_SOURCE)
    made_of = [source.read_bytes(), " ".join(command).encode(), _version(compiler), platform.machine().encode()]
    digest = hashlib.sha256(b"\0".join(made_of)).hexdigest()[:32]
    library = cache_folder() / digest / OSDI_FILE
    if not _whole(library):
        _compile(command, source, library)
    return library


def _compiler() -> tuple[str, tuple[str, ...]]:
    """Path of the C compiler, and the command without its files. `CC` may name it, as in a Makefile."""
    words = shlex.split(os.environ.get("CC", "")) or ["cc"]
    found = shutil.which(words[0])
    if found is None:
        raise EnvironmentProblem(
            f"no C compiler ({words[0]}) to build the OSDI device with: install one (Debian: apt-get install gcc"
            f" libc6-dev), or name it with CC, {_FALL_BACK}"
        )
    return found, (found, *words[1:], *_C_FLAGS)


def _version(compiler: str) -> bytes:
    done = subprocess.run([compiler, "--version"], capture_output=True, timeout=_TIMEOUT_S, check=False)
    return done.stdout


def _seal(library: Path) -> Path:
    return library.with_suffix(".sha256")


def _whole(library: Path) -> bool:
    """Whether the library is there as it was built: a cut-off file would take ngspice down."""
    try:
        sealed = _seal(library).read_text(encoding="ascii")
        return hashlib.sha256(library.read_bytes()).hexdigest() == sealed
    except (OSError, UnicodeDecodeError):
        return False


def _compile(command: tuple[str, ...], source: Path, library: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="hvae-mnn-osdi-") as folder:
        built = Path(folder) / OSDI_FILE
        try:
            done = subprocess.run(
                [*command, "-o", built, source], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired:
            raise EnvironmentProblem(f"{command[0]} did not finish within {_TIMEOUT_S} s; {_FALL_BACK[3:]}") from None
        if done.returncode or not built.is_file():
            said = (done.stderr.strip().splitlines() or ["no message"])[0]
            raise EnvironmentProblem(f"{command[0]} cannot build the OSDI device: {said}; mend it, {_FALL_BACK}")
        content = built.read_bytes()
    with replacing(library) as temporary:
        temporary.write_bytes(content)
    with replacing(_seal(library)) as temporary:
        temporary.write_text(hashlib.sha256(content).hexdigest(), encoding="ascii")
