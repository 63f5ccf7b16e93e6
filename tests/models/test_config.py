import json

import pytest

from hvae_mnn.errors import InputError
from hvae_mnn.models.config import ModelConfig
from hvae_mnn.models.presets import OBJECTIVES, configure, parse_cells
from hvae_mnn.models.training_config import TrainingConfig


def test_the_paper_preset_has_the_published_sizes() -> None:
    model, _ = configure("paper", "sound", 9947)
    assert (model.embedding_size, model.hidden_size, model.latent_size) == (512, 256, 32)
    assert (model.encoder_cells, model.decoder_cell, model.dropout) == (("lstm", "lstm"), "lstm", 0.5)


@pytest.mark.parametrize("preset", ["tiny", "small", "paper"])
def test_the_paper_objective_is_the_published_loss_at_every_size(preset: str) -> None:
    model, training = configure(preset, "paper", 100)
    assert model.encoder_sees_eos
    found = {name: getattr(training, name) for name in ("kl_target", "beta", "annealing", "free_bits", "mask_pads")}
    assert found == {"kl_target": "mean_t", "beta": 1.0, "annealing": "none", "free_bits": 0.0, "mask_pads": False}
    assert (training.learning_rate, training.adam_eps, training.weight_decay, training.clip) == (1e-4, 1e-6, 1e-5, None)
    assert (training.reduction, training.schedule, training.shuffle, training.batch_size) == (
        "sum",
        "constant",
        False,
        64,
    )
    assert training.selection == "paper_ppl"


def test_the_sound_objective_is_the_default_and_hides_eos() -> None:
    model, training = configure("paper-adam", "sound", 100)
    assert not model.encoder_sees_eos
    assert training == TrainingConfig(epochs=training.epochs)
    assert (training.kl_target, training.mask_pads, training.selection) == ("last", True, "elbo")


def test_the_papers_objective_is_the_same_in_every_preset() -> None:
    sgd, adam = (configure(preset, "paper", 100)[1] for preset in ("paper", "paper-adam"))
    named = OBJECTIVES["paper"].keys() & TrainingConfig().to_dict().keys()
    assert all(getattr(sgd, name) == getattr(adam, name) == OBJECTIVES["paper"][name] for name in named)
    assert (sgd.optimizer, sgd.batch_norm_gamma) == ("adam", 0.0)


def test_without_an_encoder_a_preset_is_a_language_model() -> None:
    model, training = configure("paper", "sound", 100, encoder_cells=())
    assert (model.latent_size, training.batch_norm_gamma, training.annealing) == (0, 0.0, "none")


def test_overrides_reach_either_spec_and_none_is_no_override() -> None:
    model, training = configure("tiny", "sound", 50, hidden_size=9, epochs=3, beta=None, encoder_cells=("gru", "rnn"))
    assert (model.hidden_size, training.epochs, training.beta) == (9, 3, 1.0)
    assert model.encoder_cells == ("gru", "rnn")


def test_specs_survive_json() -> None:
    model, training = configure("small", "paper", 77, encoder_cells=("gru", "lstm"))
    assert ModelConfig.from_dict(json.loads(json.dumps(model.to_dict()))) == model
    assert TrainingConfig.from_dict(json.loads(json.dumps(training.to_dict()))) == training


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"vocabulary_size": 4}, "vocabulary_size is 4; allowed: a whole number from 5 to 100,000,000"),
        ({"hidden_size": 0}, "hidden_size is 0"),
        ({"hidden_size": 2.0}, r"hidden_size is 2\.0"),
        ({"latent_size": True}, "latent_size is True"),
        ({"dropout": 1.0}, r"dropout is 1\.0; allowed: a finite number at least 0 and below 1"),
        ({"dropout": float("nan")}, "dropout is nan"),
        ({"encoder_cells": ("lstm", "mlp")}, "encoder_cells: unknown cell 'mlp'; allowed: rnn, lstm, gru"),
        ({"encoder_cells": ("lstm",) * 3}, "names 3 cells; allowed: 0 to 2"),
        ({"decoder_cell": "LSTM"}, r"decoder_cell: unknown cell 'LSTM'; did you mean 'lstm'\?"),
        ({"peepholes": 1}, "peepholes is 1; allowed: True or False"),
        ({"peepholes": True, "encoder_cells": ("gru", "gru"), "decoder_cell": "rnn"}, "no layer is an lstm"),
        ({"beta": -1.0}, r"beta is -1\.0; allowed: a finite number at least 0"),
        ({"learning_rate": 0.0}, r"learning_rate is 0\.0; allowed: a finite number above 0"),
        ({"clip": 0}, "clip is 0"),
        ({"epochs": 0}, "epochs is 0; allowed: a whole number from 1 to 1,000,000,000"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**63}, "seed is 9223372036854775808; allowed"),
        ({"seed": 10**5000}, "seed is a number of thousands of digits; allowed"),
        ({"beta": 10**5000}, "beta is a number of thousands of digits; allowed"),
        ({"beta": 1e300}, r"beta is 1e\+300"),
        ({"hidden_size": 10**9}, "hidden_size is 1000000000; allowed: a whole number from 1 to 1,000,000"),
        ({"vocabulary_size": 10**9}, "vocabulary_size is 1000000000; allowed"),
        ({"encoder_cells": 3}, "encoder_cells is 3; allowed: 0 to 2 cells"),
        ({"encoder_cells": "lstm,gru"}, "encoder_cells is 'lstm,gru'; allowed: 0 to 2 cells"),
        ({"encoder_cells": (["lstm"], "gru")}, r"encoder_cells: unknown cell \['lstm'\]"),
        ({"kl_target": ["sum"]}, r"unknown kl_target \['sum'\]"),
        ({"dropout": "x" * 10**6}, "dropout is 'x{60}'"),
        ({"kl_target": "first"}, "unknown kl_target 'first'; allowed: mean_t, last, sum"),
        ({"precision": "fp16"}, r"unknown precision 'fp16'; did you mean '.*'\? allowed: auto, fp32, bf16"),
        ({"shuffle": "yes"}, "shuffle is 'yes'"),
        ({"colour": 3}, "unknown setting 'colour'"),
    ],
)
def test_bad_values_are_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        configure("tiny", "sound", **{"vocabulary_size": 50, **values})


def test_unknown_names() -> None:
    with pytest.raises(InputError, match="unknown preset 'huge'; allowed: tiny, small, small-adam, paper, paper-adam"):
        configure("huge", "sound", 50)
    with pytest.raises(InputError, match="unknown objective 'best'; allowed: paper, sound"):
        configure("tiny", "best", 50)
    with pytest.raises(InputError, match="unknown objective 'best'"):
        TrainingConfig(objective="best")
    model = ModelConfig(50).to_dict()
    with pytest.raises(InputError, match="ModelConfig has unknown field 'width'"):
        ModelConfig.from_dict({**model, "width": 3})
    del model["dropout"]
    with pytest.raises(InputError, match="ModelConfig has no field 'dropout'"):
        ModelConfig.from_dict(model)
    assert parse_cells("LSTM, gru") == ("lstm", "gru")
    with pytest.raises(InputError, match="unknown cell 'x'"):
        parse_cells("lstm,x")
