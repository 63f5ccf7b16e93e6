"""Machines as they are: users without a passwd entry, `.spiceinit` of others, odd temporary folders, tight limits."""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from hvae_mnn import build_netlist
from hvae_mnn.cli.main import main
from hvae_mnn.devices.presets import AIST
from hvae_mnn.engines.ngspice import NgspiceEngine, array_decks
from hvae_mnn.spice import osdi
from hvae_mnn.spice.backends import backend_problem
from hvae_mnn.spice.batch import read_point, run_text
from hvae_mnn.spice.probe import probe

pytestmark = pytest.mark.spice

UNKNOWN = 45678
"""A number that no passwd file has."""
VOLTS = np.random.default_rng(0).uniform(-0.05, 0.05, (2, 6))
CHILD = """
import json, sys
import numpy as np
from hvae_mnn.spice.backends import backend_problem
from hvae_mnn.engines.ngspice import NgspiceEngine, array_decks
from hvae_mnn.spice.probe import probe
from hvae_mnn.spice.library import SharedLibrary
from hvae_mnn.netlist.folder import read_manifest

facts = probe()
engine = NgspiceEngine(array_decks(read_manifest(sys.argv[1])))
found = engine.currents({"rnn_h": np.array(json.loads(sys.argv[2]))})["rnn_h"]
engine.close()
problems = [backend_problem(kind) for kind in sys.argv[3:]]
library = SharedLibrary()  # where we are, and not in a folder of its own
print(json.dumps([facts.problem, facts.divider_volts, found.tolist(), problems, len(library.errors)]))
"""


@pytest.fixture(scope="module")
def netlist(tmp_path_factory):
    """One small array, which everybody may read."""
    folder = tmp_path_factory.mktemp("machines") / "net"
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return build_netlist(nn.RNN(2, 3), folder)


@pytest.fixture(scope="module")
def expected(netlist):
    engine = NgspiceEngine(array_decks(netlist))
    found = engine.currents({"rnn_h": VOLTS})["rnn_h"]
    engine.close()
    return found


def environment(**values: str) -> dict[str, str]:
    """This process's, without what says where caches are, and importing what runs here from any folder."""
    unwanted = ("HOME", "XDG_CACHE_HOME", "HVAE_MNN_CACHE", "MPLCONFIGDIR", "TMPDIR", "USER", "LOGNAME")
    kept = {name: value for name, value in os.environ.items() if name not in unwanted}
    paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    return kept | {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONDONTWRITEBYTECODE": "1"} | values


@pytest.fixture
def their_folder() -> Iterator[Path]:
    """A folder of the unknown user; pytest's own are closed to others."""
    with tempfile.TemporaryDirectory(prefix="hvae-mnn-test-", ignore_cleanup_errors=True) as name:
        os.chown(name, UNKNOWN, UNKNOWN)
        yield Path(name)


@pytest.fixture
def unknown_user(request) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a command in `their_folder` as a user without a passwd entry, without HOME."""
    setpriv = shutil.which("setpriv")
    if setpriv is None or os.geteuid() != 0:
        pytest.skip("another user: needs setpriv, and root")
    folder = request.getfixturevalue("their_folder")
    # They may read everything, as Python and this checkout may lie in somebody's home, and write nothing of others.
    only = "-all,+dac_read_search"
    become = [setpriv, f"--reuid={UNKNOWN}", f"--regid={UNKNOWN}", "--clear-groups", f"--bounding-set={only}"]
    become += [f"--inh-caps={only}", f"--ambient-caps={only}"]

    def run(*command: str, before: Callable[[], None] | None = None, **values: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*become, *command],
            preexec_fn=before,
            cwd=folder,
            env=environment(TMPDIR=str(folder), **values),
            capture_output=True,
            text=True,
            check=False,
        )

    probe = run(sys.executable, "-c", "import os; print(os.getuid(), os.path.expanduser('~'))")
    if probe.stdout.split() != [str(UNKNOWN), "~"]:
        pytest.skip(f"another user: {probe.stderr.strip() or probe.stdout.strip()}")
    return run


def answers(done: subprocess.CompletedProcess[str]) -> list:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("home", [None, "/nonexistent"])
def test_a_user_without_a_passwd_entry_runs_ngspice_in_every_way(unknown_user, netlist, expected, home):
    backends = ["behavioural"] if shutil.which("cc") is None else ["behavioural", "osdi"]
    done = unknown_user(
        *(sys.executable, "-c", CHILD, str(netlist.folder), json.dumps(VOLTS.tolist()), *backends),
        **({} if home is None else {"HOME": home}),
    )
    problem, divider, found, problems, errors = answers(done)
    assert (problem, divider, errors) == (None, 2.0, 0)
    assert problems == [None] * len(backends)
    np.testing.assert_array_equal(np.array(found), expected)


COMMANDS = """
import sys
from hvae_mnn.cli.main import main

main(["train", "--preset", "tiny", "--out", "ck", "--data-dir", "data", "--epochs", "1", "--hidden", "4",
      "--embedding", "3", "--latent", "2"])
main(["build-netlist", "ck/best.pt", "--name", "net"])
for engine in ("ngspice", "exact"):
    main(["simulate", "netlists/net", "--steps", "2", "--engine", engine, "--data-dir", "data"])
main(["iv", "--frequency", "20", "--cycles", "1", "--backend", "behavioural"])
main(["sweep", "s.toml", "--data-dir", "data", "--workers", "1"])
main(["doctor"])
"""


@pytest.mark.slow
def test_a_user_without_a_passwd_entry_gets_through_the_whole_work(unknown_user, their_folder):
    folder = their_folder
    (folder / "data").mkdir()
    for name in ("train", "valid", "test"):
        (folder / "data" / f"{name}.txt").write_text("a b c\nb a\nc c b a\n" * 4)
    (folder / "s.toml").write_text(
        'models = { net = "ck/best.pt" }\nseeds = 1\nsentences = 2\nmetrics = ["top1"]\n[baseline]\nname = "clean"\n'
    )
    for path in folder.rglob("*"):
        os.chown(path, UNKNOWN, UNKNOWN)
    done = unknown_user(sys.executable, "-c", COMMANDS)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "cache directory" not in done.stderr  # of Matplotlib
    assert "the main job runs here" in done.stdout
    assert (folder / "runs" / "s" / "results.parquet").is_file()


@pytest.fixture
def with_home(tmp_path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a command as a user whose home, as the passwd file says, is the folder `home`; in the folder `here`."""
    unshare = shutil.which("unshare")
    namespace = ["--mount"] if os.geteuid() == 0 else ["--user", "--map-root-user", "--mount"]
    script = 'mount --bind "$0" /etc/passwd && exec "$@"'
    for name in ("home", "here"):
        (tmp_path / name).mkdir()
    passwd = tmp_path / "passwd"
    passwd.write_text(f"root:x:0:0::{tmp_path / 'home'}:/bin/sh\n")

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(unshare), *namespace, "sh", "-c", script, str(passwd), *command],
            cwd=tmp_path / "here",
            env=environment(HOME=str(tmp_path / "home")),
            capture_output=True,
            text=True,
            check=False,
        )

    if unshare is None:
        pytest.skip("another home: needs unshare")
    probe = run(sys.executable, "-c", "import pwd; print(pwd.getpwuid(0).pw_dir)")
    if probe.stdout.strip() != str(tmp_path / "home"):
        pytest.skip(f"another home: {probe.stderr.strip()}")
    return run


@pytest.mark.parametrize("place", ["home", "here"])
@pytest.mark.parametrize("command", ["quit", "osdi nothere.osdi", "shell touch {trace}"])
def test_nobodys_spiceinit_is_run(with_home, tmp_path, netlist, expected, place, command):
    trace = tmp_path / "executed"
    (tmp_path / place / ".spiceinit").write_text(command.format(trace=trace) + "\n")
    done = with_home(sys.executable, "-c", CHILD, str(netlist.folder), json.dumps(VOLTS.tolist()), "behavioural")
    problem, divider, found, problems, errors = answers(done)
    assert (problem, divider, problems, errors) == (None, 2.0, [None], 0)
    np.testing.assert_array_equal(np.array(found), expected)
    assert not trace.exists()


@pytest.fixture(params=["with a space", "with-é-and-語", "long" * 50 + "/" + "er" * 100])
def odd_folder(request, tmp_path, monkeypatch):
    """A folder for temporary files and caches that ngspice's command language cannot name."""
    folder = tmp_path / request.param
    folder.mkdir(parents=True)
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("HVAE_MNN_CACHE", str(folder / "cache"))
    monkeypatch.delenv(osdi.READY_MADE, raising=False)
    osdi.osdi_library.cache_clear()
    yield folder
    osdi.osdi_library.cache_clear()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_temporary_folders_of_any_name_serve(odd_folder, tmp_path, monkeypatch):
    assert set(probe().osdi_versions) >= {"0.3"}
    assert osdi.osdi_problem() is None
    assert odd_folder in osdi.osdi_library("aist").parents
    assert backend_problem("osdi") is None
    with torch.random.fork_rng():
        torch.manual_seed(2)
        module = nn.RNN(2, 3)
    spec = dataclasses.replace(AIST, name="odd")
    manifest = build_netlist(module, odd_folder / "net", device=spec, device_backend="osdi")
    engine = NgspiceEngine(array_decks(manifest))
    found = engine.currents({"rnn_h": VOLTS})["rnn_h"]
    engine.close()
    assert np.isfinite(found).all()
    assert np.abs(found).max() > 0
    monkeypatch.chdir(odd_folder)
    main(["iv", "--frequency", "20", "--cycles", "1", "--backend", "osdi", "--out", str(odd_folder / "iv run")])
    assert not [path for path in odd_folder.iterdir() if path.name not in ("cache", "net", "iv run")]


def test_raw_files_are_binary_whatever_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("SPICE_ASCIIRAWFILE", "1")
    text = "one resistor\nV1 a 0 1\nR1 a 0 2\n.control\nop\nwrite one.raw\n.endc\n.end\n"
    (raw,) = run_text(text, tmp_path, "one", ["one"])
    assert read_point(raw)["i(v1)"] == -0.5


def test_without_a_folder_for_temporary_files_one_line_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(SystemExit) as ended:
        main(["doctor"])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "TMPDIR" in line


@pytest.fixture(scope="module")
def twelve_arrays(make_checkpoint, tmp_path_factory):
    return build_netlist(make_checkpoint("lstm"), tmp_path_factory.mktemp("machines") / "twelve")


def limited(limit: int, value: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(limit, (value, value))


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    """The error of a command that ended for want of something."""
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    return line


def test_too_few_open_files_are_one_line(twelve_arrays, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "hvae_mnn", "simulate", str(twelve_arrays.folder), "--steps", "2", "--out", "run"],
        preexec_fn=limited(resource.RLIMIT_NOFILE, 30),
        cwd=tmp_path,
        env=environment(HOME=str(tmp_path)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "ulimit -n" in one_line(done)


@pytest.mark.slow
def test_too_few_processes_are_one_line(unknown_user, twelve_arrays):
    arguments = [str(twelve_arrays.folder), "--steps", "2", "--out", "run"]
    for options in ([], ["--workers", "2"]):
        done = unknown_user(
            *(sys.executable, "-m", "hvae_mnn", "simulate", *arguments, *options),
            before=limited(resource.RLIMIT_NPROC, 8),
        )
        assert "ulimit -u" in one_line(done)
