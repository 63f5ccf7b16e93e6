"""A checkpoint comes back whole, and everything else is refused in one line without running anything."""

import os
import pickle
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch

from hvae_mnn.errors import CheckpointError, StorageError
from hvae_mnn.models.checkpoint import load_checkpoint, save_checkpoint
from hvae_mnn.models.config import ModelConfig
from hvae_mnn.models.hsrvae import HSRVAE
from hvae_mnn.models.training_config import TrainingConfig
from hvae_mnn.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary.build([["a", "b", "c", "d", "e"]])
CONFIG = ModelConfig(len(VOCABULARY), 4, 5, 3, encoder_cells=("gru", "lstm"), peepholes=True)
RANGES = {"encoder1": {"inputs": {"x": {"max": 1.5}}}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    return save_checkpoint(
        tmp_path / "best.pt", HSRVAE(CONFIG), TrainingConfig(), VOCABULARY, "twr", {"epoch": 3}, RANGES
    )


def test_everything_comes_back(path: Path) -> None:
    torch.manual_seed(0)
    weights = HSRVAE(CONFIG).state_dict()
    state = torch.get_rng_state()
    found = load_checkpoint(path)
    assert torch.equal(torch.get_rng_state(), state)
    assert not found.model.training
    assert list(found.model.state_dict()) == list(weights)
    assert all(torch.equal(found.model.state_dict()[name], value) for name, value in weights.items())
    assert (found.config, found.training_config, found.vocabulary) == (CONFIG, TrainingConfig(), VOCABULARY)
    assert (found.tokenizer, found.metrics, found.activation_ranges) == ("twr", {"epoch": 3}, RANGES)
    assert found.path == path


def test_it_is_one_file_of_plain_values(path: Path) -> None:
    content = torch.load(path, weights_only=True)
    assert content["vocabulary"][4:] == ["a", "b", "c", "d", "e"]
    assert content["model_config"]["encoder_cells"] == ["gru", "lstm"]
    assert [entry.name for entry in path.parent.iterdir()] == ["best.pt"]


def test_a_file_without_a_family_is_of_the_first_one(path: Path) -> None:
    """Files of earlier versions have no such key."""
    content = torch.load(path, weights_only=True)
    assert content.pop("family") == "hsrvae"
    torch.save(content, path)
    assert type(load_checkpoint(path).model) is HSRVAE


def test_equal_models_give_equal_bytes(path: Path, tmp_path: Path) -> None:
    read = load_checkpoint(path)
    again = save_checkpoint(
        tmp_path / "again.pt", read.model, read.training_config, read.vocabulary, "twr", read.metrics, RANGES
    )
    assert again.read_bytes() == path.read_bytes()


def test_a_model_without_ranges_is_fine(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path / "x.pt", HSRVAE(CONFIG), TrainingConfig(), VOCABULARY, "plain", {})
    assert load_checkpoint(str(path)).activation_ranges is None


def refused(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    assert caught.value.exit_code == 2
    return message


class Malicious:
    """Pickles to a call that leaves a trace."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.trace),)


@pytest.mark.parametrize("way", ["zip", "legacy", "pickle"])
def test_pickled_code_is_not_run(tmp_path: Path, way: str) -> None:
    path, trace = tmp_path / "evil.pt", tmp_path / "trace"
    content = {"format": "hvae-mnn checkpoint", "version": 1, "state_dict": Malicious(trace)}
    if way == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=way == "zip")
    message = refused(path)
    assert not trace.exists()
    assert ("nothing was run" in message) == (way != "pickle")


def test_missing_folder_and_foreign_files(tmp_path: Path) -> None:
    assert "no checkpoint at" in refused(tmp_path / "no.pt")
    assert "is a folder" in refused(tmp_path)
    text = tmp_path / "text.pt"
    text.write_text("hello")
    assert "truncated or no PyTorch file (5 bytes)" in refused(text)
    empty = tmp_path / "empty.pt"
    empty.touch()
    assert "(0 bytes)" in refused(empty)
    other = tmp_path / "other.pt"
    torch.save({"model": torch.zeros(3)}, other)
    assert "not a checkpoint of hvae-mnn (format None" in refused(other)
    torch.save([1, 2], other)
    assert "holds a list" in refused(other)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.99])
def test_truncated(path: Path, part: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    assert "truncated" in refused(path)


def test_a_damaged_inside(path: Path) -> None:
    data = bytearray(path.read_bytes())
    middle = len(data) // 3
    data[middle : middle + 400] = bytes(400)
    path.write_bytes(bytes(data))
    refused(path)


def change(content: dict[str, Any], weights: str | None = None, value: Any = None, **parts: Any) -> None:
    content.update(parts)
    if weights is not None:
        content["state_dict"][weights] = value


def spoil(place: tuple[int, ...], value: float) -> Callable[[dict[str, Any]], None]:
    def do(content: dict[str, Any]) -> None:
        content["state_dict"]["decoder.weight_hh_l0"][place] = value

    return do


@pytest.mark.parametrize(
    ("do", "message"),
    [
        (lambda c: change(c, version=2), "format version 2; allowed: 1"),
        (lambda c: change(c, format="other"), "format 'other'"),
        (lambda c: change(c, family="seq2seq"), "unknown model family 'seq2seq'; allowed: hsrvae"),
        (lambda c: change(c, family=["hsrvae"]), "unknown model family ['hsrvae']; allowed: hsrvae"),
        (lambda c: c.pop("vocabulary"), "'vocabulary' is missing; allowed: a list"),
        (lambda c: change(c, metrics=None), "'metrics' is a NoneType; allowed: a dict"),
        (lambda c: change(c, activation_ranges=[1]), "'activation_ranges' is a list; allowed: a dict or None"),
        (lambda c: change(c, tokenizer="bpe"), "unknown tokenizer 'bpe'"),
        (lambda c: c["model_config"].update(decoder_cell="mlp"), "decoder_cell: unknown cell 'mlp'"),
        (lambda c: c["model_config"].update(encoder_cells=["gru", "x"]), "encoder_cells: unknown cell 'x'"),
        (lambda c: c["model_config"].pop("dropout"), "no field 'dropout'"),
        (lambda c: c["training_config"].update(beta="much"), "beta is 'much'"),
        (lambda c: c["vocabulary"].append("f"), "the vocabulary has 10 ids, the embedding 9"),
        (lambda c: c["vocabulary"].append("a"), "'a' twice"),
        (lambda c: c["vocabulary"].append(5), "an entry that is not text"),
        (lambda c: c["state_dict"].pop("to_mean.bias"), "weights 'to_mean.bias' are missing"),
        (lambda c: change(c, "extra", torch.zeros(1)), "unknown weights 'extra'"),
        (
            lambda c: change(c, "to_mean.bias", torch.zeros(4)),
            r"'to_mean.bias' have shape (4,), the specs ask for (3,)",
        ),
        (lambda c: change(c, "to_mean.bias", torch.zeros(3, dtype=torch.int64)), "no floating-point tensor"),
        (lambda c: change(c, "to_mean.bias", [0.0]), "no floating-point tensor"),
        (lambda c: c["model_config"].update(hidden_size=6), "the specs ask for"),
        (spoil((0, 1), float("nan")), "weights 'decoder.weight_hh_l0' hold 1 values that are NaN or infinite"),
        (spoil((2,), float("-inf")), "weights 'decoder.weight_hh_l0' hold 5 values that are NaN or infinite"),
    ],
)
def test_parts_that_do_not_fit(path: Path, do: Callable[[dict[str, Any]], None], message: str) -> None:
    content = torch.load(path, weights_only=True)
    do(content)
    torch.save(content, path)
    assert message in refused(path)


def test_saving_refuses_a_vocabulary_that_does_not_fit_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="the vocabulary has 5 ids, the model 9"):
        save_checkpoint(tmp_path / "x.pt", HSRVAE(CONFIG), TrainingConfig(), Vocabulary.build([["a"]]), "plain", {})
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_keeps_the_old_file(
    path: Path, largest_file: Callable[[int], AbstractContextManager[None]]
) -> None:
    before = path.read_bytes()
    with largest_file(1000), pytest.raises(StorageError, match=r"best\.pt: File too large; free the disk"):
        save_checkpoint(path, HSRVAE(CONFIG), TrainingConfig(), VOCABULARY, "twr", {})
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == ["best.pt"]


def test_sizes_that_the_weights_have_not_take_no_memory(path: Path) -> None:
    content = torch.load(path, weights_only=True)
    content["model_config"]["hidden_size"] = 10**6  # 60 TB of weights
    torch.save(content, path)
    assert "the weights are 892 numbers, the specs ask for 15,000,037,000,072 or more" in refused(path)


@pytest.mark.parametrize("value", [float("nan"), -1.0, float("inf"), "much", None, True, [1.0], {"a": {"b": 1.0}}])
def test_ranges_that_are_no_full_scales(path: Path, value: Any) -> None:
    content = torch.load(path, weights_only=True)
    content["activation_ranges"]["encoder1"]["inputs"]["x"]["max"] = value
    torch.save(content, path)
    assert "activation_ranges.encoder1.inputs.x.max" in refused(path)
    assert "; allowed: a finite number, 0 or above" in refused(path)
