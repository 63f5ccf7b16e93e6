"""Worker processes of this machine, and schedulers elsewhere: who can reach them, and what too little room does."""

from __future__ import annotations

import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from ipaddress import ip_address
from pathlib import Path

import dask.config
import psutil
import pytest

from hvae_mnn import sweep
from hvae_mnn.errors import EnvironmentProblem
from hvae_mnn.parallel.cluster import Cluster
from hvae_mnn.parallel.local_cluster import _PER_CORE


def listening() -> list[tuple[str, int]]:
    """Addresses and ports on which this process or one that it started listens."""
    me = psutil.Process()
    return [
        (found.laddr.ip, found.laddr.port)
        for process in (me, *me.children(recursive=True))
        for found in process.net_connections("inet")
        if found.status == psutil.CONN_LISTEN
    ]


@pytest.mark.slow
def test_a_sweep_on_workers_listens_on_loopback_only(tmp_path, make_checkpoint):
    before = set(listening())
    found: set[tuple[str, int]] = set()
    shutil.copy(make_checkpoint("rnn"), tmp_path / "net.pt")
    (tmp_path / "s.toml").write_text(
        'models = { net = "net.pt" }\nseeds = 1\nsentences = 2\nmetrics = ["top1"]\n[baseline]\nname = "clean"\n'
    )
    sweep(tmp_path / "s.toml", out=tmp_path / "out", workers=2, progress=lambda done, total: found.update(listening()))
    ours = found - before
    assert len(ours) >= 6  # scheduler and workers, their web servers, and what watches over the workers
    assert all(ip_address(ip).is_loopback for ip, _ in ours), ours


def test_web_servers_show_nothing():
    with Cluster.local(1) as cluster:
        assert cluster.map(len, ["ab"]) == [2]
        known = cluster.remote._client.scheduler_info(n_workers=-1)
        ports = [server["services"]["dashboard"] for server in (known, *known["workers"].values())]
        codes = []
        for port in ports:
            for page in ("/", "/info/main/workers.html", "/metrics", "/health", "/json/counts.json"):
                with pytest.raises(urllib.error.HTTPError) as answer:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}{page}", timeout=30)
                codes.append(answer.value.code)
                answer.value.close()
    assert set(codes) == {404}
    assert len(ports) == 2


def test_nothing_stays_in_the_folder_for_temporary_files(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with Cluster.local(1) as cluster:
        assert cluster.map(len, ["ab"]) == [2]
        # A folder that others know the name of would be on the path of imports.
        assert not any("dask-scratch-space" in name for name in os.listdir(tmp_path))
        assert not [path for path in sys.path if Path(path).parent == Path(tempfile.gettempdir())]
    assert os.listdir(tmp_path) == []


def test_more_workers_than_a_machine_bears_are_refused():
    most = _PER_CORE * (os.cpu_count() or 1)
    for workers in (0, most + 1):
        with pytest.raises(EnvironmentProblem, match=rf"^{workers} workers .* allowed on this machine: 1 to {most}$"):
            Cluster.local(workers)


def test_too_few_open_files_are_noticed_before_anything_is_started(monkeypatch):
    import hvae_mnn.parallel.local_cluster as local_cluster

    monkeypatch.setattr(local_cluster, "distributed", None)  # not reached
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 30, hard))
    try:
        with pytest.raises(EnvironmentProblem, match=r"2 worker processes cannot .*Too many open files.*ulimit -n"):
            local_cluster.start_local(2, "", None)  # type: ignore[arg-type]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> dict[str, str]:
    """Dask's settings for a certificate that signs itself, and stands for every role."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    make_certificate(folder)
    return tls_settings(folder)


def make_certificate(folder: Path) -> None:
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test"),
            *("-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")),
        ],
        check=True,
        capture_output=True,
    )


def tls_settings(folder: Path) -> dict[str, str]:
    found = {"distributed.comm.tls.ca-file": str(folder / "cert.pem")}
    for role in ("scheduler", "worker", "client"):
        found |= {
            f"distributed.comm.tls.{role}.cert": str(folder / "cert.pem"),
            f"distributed.comm.tls.{role}.key": str(folder / "key.pem"),
        }
    return found


def as_environment(settings: dict[str, str]) -> dict[str, str]:
    return {f"DASK_{name.upper().replace('.', '__').replace('-', '_')}": value for name, value in settings.items()}


@pytest.fixture
def tls_scheduler(certificate, tmp_path):
    """Address of a scheduler with a worker that speak TLS only."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, **as_environment(certificate)}
    address = f"tls://127.0.0.1:{port}"
    commands = (
        ("scheduler", "--host", "127.0.0.1", "--port", str(port), "--protocol", "tls", "--no-dashboard"),
        ("worker", address, "--nthreads", "1", "--no-dashboard", "--no-nanny", "--local-directory", str(tmp_path)),
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "dask", *command],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for command in commands
    ]
    yield address
    for process in processes:
        process.kill()
        process.wait()


def test_tls_settings_of_dask_are_used_for_a_scheduler(certificate, tls_scheduler, connected, tmp_path):
    with dask.config.set(certificate), connected(tls_scheduler) as cluster:
        assert cluster.map(len, ["ab", "c"]) == [2, 1]
        assert all(address.startswith("tls://") for address in cluster.remote.alive())
    with pytest.raises(EnvironmentProblem, match=r"no Dask scheduler answers at tls://.*distributed\.comm\.tls"):
        Cluster.at(tls_scheduler)  # without any settings
    make_certificate(tmp_path)
    with (
        dask.config.set(tls_settings(tmp_path)),
        pytest.raises(EnvironmentProblem, match=r"certificate.*distributed\.comm\.tls"),
    ):
        Cluster.at(tls_scheduler)


def test_tls_settings_of_dask_are_used_for_workers_of_this_machine(certificate):
    with dask.config.set({**certificate, "distributed.comm.require-encryption": True}), Cluster.local(1) as cluster:
        assert cluster.map(len, ["ab"]) == [2]
        assert all(address.startswith("tls://127.0.0.1:") for address in cluster.remote.alive())
