"""What several tests share: small networks that are symmetric in nothing, and the real corpora where they are."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings

from hvae_mnn.errors import EnvironmentProblem
from hvae_mnn.models.activations import activation_ranges
from hvae_mnn.models.checkpoint import save_checkpoint
from hvae_mnn.models.config import ModelConfig
from hvae_mnn.models.hsrvae import HSRVAE
from hvae_mnn.models.training_config import TrainingConfig
from hvae_mnn.parallel.cluster import Cluster
from hvae_mnn.text.grammar import grammar_corpus
from hvae_mnn.text.tokenizers import tokenize
from hvae_mnn.text.vocabulary import Vocabulary

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A suite that a shell started in the background ignores Ctrl-C, and so would the commands that it tests.
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # under nohup
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

settings.register_profile("patient", deadline=None)  # a busy machine is no error
settings.load_profile("patient")

CELL_SETS = {
    "lstm": ("lstm", "lstm", "lstm", False),
    "gru": ("gru", "gru", "gru", False),
    "rnn": ("rnn", "rnn", "rnn", False),
    "mixed": ("gru", "rnn", "lstm", False),
    "peephole": ("lstm", "lstm", "lstm", True),
}
"""Cells of encoder layer 1, layer 2 and decoder, and whether LSTMs have peepholes."""


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Solved arrays of tests stay out of the user's cache, and out of the next session's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HVAE_MNN_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real corpora; tests without it are skipped with the reason."""
    named = os.environ.get("HVAE_MNN_DATA")
    if not named:
        pytest.skip("real corpora: set HVAE_MNN_DATA to their folder")
    if not Path(named).is_dir():
        pytest.skip(f"real corpora: HVAE_MNN_DATA names {named}, which is no folder")
    return Path(named)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Such small tensors only lose by a second thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def make_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A checkpoint of random weights on the built-in corpus, by name of its cells and tokenizer; made once per session
    and names."""
    made: dict[tuple[str, str], Path] = {}
    corpus = grammar_corpus(train=400, valid=60, test=20)

    def make(name: str = "lstm", tokenizer: str = "plain") -> Path:
        if (name, tokenizer) not in made:
            train, valid = (
                [tokenize(tokenizer, " ".join(words)) for words in split] for split in (corpus.train, corpus.valid)
            )
            vocabulary = Vocabulary.build(train)
            first, second, decoder, peepholes = CELL_SETS[name]
            config = ModelConfig(
                vocabulary_size=len(vocabulary),
                embedding_size=7,
                hidden_size=5,
                latent_size=3,
                encoder_cells=(first, second),
                decoder_cell=decoder,
                peepholes=peepholes,
                encoder_sees_eos=False,
            )
            with torch.random.fork_rng():
                torch.manual_seed(4)
                model = HSRVAE(config).eval()
                with torch.no_grad():
                    for parameter in model.parameters():  # larger than at the start of training, and off centre
                        parameter.mul_(2).add_(0.3 * torch.randn_like(parameter))
            ranges = activation_ranges(model, [vocabulary.encode_sentence(words) for words in valid])
            path = tmp_path_factory.mktemp(name) / f"{name}.pt"
            made[name, tokenizer] = save_checkpoint(path, model, TrainingConfig(), vocabulary, tokenizer, {}, ranges)
        return made[name, tokenizer]

    return make


@pytest.fixture
def largest_file() -> Callable[[int], AbstractContextManager[None]]:
    """A context in which no file may have more bytes: writing fails as on a full disk, whoever writes."""

    @contextmanager
    def limited(size: int) -> Iterator[None]:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limited


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB of its own; skipped with the reason where none can be mounted."""
    path = tmp_path / "disk"
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "hvae-mnn-test", str(path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        pytest.skip(f"a disk of 2 MB: no mount ({error.strerror})")
    if done.returncode:
        pytest.skip(f"a disk of 2 MB: {done.stderr.strip()}")
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


@pytest.fixture
def read_only_disk(small_disk: Path) -> Path:
    """A file system that nobody can write to, not even root, who ignores a folder's modes."""
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    return small_disk


def _dask(*arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "dask", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        **options,
    )


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[bytes], Callable[..., subprocess.Popen[bytes]]]]:
    """Address of a Dask scheduler, its process, and a function that starts a worker for it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    processes = [_dask("scheduler", "--host", address, "--no-dashboard", cwd=tmp_path)]

    def start_worker(threads: int = 2, **options: Any) -> subprocess.Popen[bytes]:
        arguments = ("--nthreads", str(threads), "--no-dashboard", "--no-nanny", "--local-directory", str(tmp_path))
        processes.append(_dask("worker", address, *arguments, cwd=tmp_path, **options))
        return processes[-1]

    yield address, processes[0], start_worker
    for process in reversed(processes):
        process.kill()
        process.wait()


@pytest.fixture
def connected() -> Callable[[str], Cluster]:
    """A function that gives the cluster at an address, as soon as it has a worker."""

    def connect(address: str) -> Cluster:
        while True:
            try:
                return Cluster.at(address)
            except EnvironmentProblem as problem:
                if "has no workers; start some: dask worker tcp://" not in str(problem):
                    raise

    return connect
