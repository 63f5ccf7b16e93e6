"""The catalogue: every row's specs, and its model step by step against torch's own layers."""

from __future__ import annotations

import pytest
import torch

from hvae_mnn.errors import InputError
from hvae_mnn.models.families import model_class
from hvae_mnn.models.inference.infer import infer
from hvae_mnn.models.presets import OBJECTIVES
from hvae_mnn.models.recurrent import RecurrentModel
from hvae_mnn.models.rows import ROWS, configure_row
from hvae_mnn.models.stepwise import Stepper, run_batch
from hvae_mnn.text.batches import collate

SENTENCES = [[2, 5, 7, 9, 6, 3], [2, 8, 5, 6, 3], [2, 9, 3]]
SIZES = {"embedding_size": 7, "hidden_size": 6, "latent_size": 4}


def model_of(name: str) -> RecurrentModel:
    config, _ = configure_row(name, 11, epochs=2, **SIZES)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = model_class("hsrvae")(config).double().eval()
        for parameter in model.parameters():
            parameter.data.mul_(3.0)
    return model


def test_the_twelve_rows_of_table_4_and_the_eight_of_table_2_are_there() -> None:
    table4 = [f"twr-{cell}" for cell in ("rnn", "lstm", "gru")]
    table4 += [f"hsr-{a}-{b}" for a in ("rnn", "lstm", "gru") for b in ("rnn", "lstm", "gru")]
    table2 = ["vae-lstm", "sa-vae", "cyc-vae", "lag-vae", "bn-vae", "sri-vae", "twr-lstm", "hsr-gru-gru"]
    assert {*table2, *table4, "lm"} <= set(ROWS)
    assert ROWS["hsr-gru-rnn"].settings["encoder_cells"] == ("gru", "rnn")


@pytest.mark.parametrize("name", ROWS)
def test_a_row_steps_as_torch_computes(name: str) -> None:
    model = model_of(name)
    batch = collate(SENTENCES)
    posterior = infer(model, batch.tokens, batch.lengths)
    with torch.no_grad():
        expected = model.decode(batch.tokens, posterior.last()[0])  # (B, T - 1, V)
        steps = run_batch(Stepper(model), SENTENCES)
    assert len(steps) == 5
    for t, logits in enumerate(steps):
        torch.testing.assert_close(logits, expected[: len(logits), t], rtol=0, atol=1e-12)


def test_a_latent_per_step_sees_no_later_word() -> None:
    model = model_of("hsr-lstm-lstm-per-step")
    one, other = collate([[2, 5, 7, 9, 6, 3]]), collate([[2, 5, 7, 8, 6, 3]])
    latents = [infer(model, batch.tokens, batch.lengths).last()[0].view(5, 4) for batch in (one, other)]
    assert torch.equal(latents[0][:3], latents[1][:3])  # read: start, 5, 7
    assert not torch.allclose(latents[0][3], latents[1][3])


def test_what_a_recipe_states_in_epochs_keeps_its_part_of_the_run() -> None:
    _, whole = configure_row("vae-lstm", 11)
    _, half = configure_row("vae-lstm", 11, epochs=20)
    assert (whole.epochs, whole.annealing_epochs) == (40, 9.0)
    assert (half.epochs, half.annealing_epochs) == (20, 4.5)
    _, lagging = configure_row("lag-vae", 11, epochs=20)
    assert (lagging.plateau_from, lagging.patience) == (pytest.approx(3.2), 1)


def test_short_runs_of_timestep_wise_rows_take_a_larger_step() -> None:
    rates = {epochs: configure_row("twr-lstm", 11, epochs=epochs)[1].learning_rate for epochs in (20, 500, 1000)}
    assert rates == {20: pytest.approx(1e-3), 500: pytest.approx(2e-4), 1000: 1e-4}


def test_the_size_of_a_latent_is_no_matter_for_a_language_model() -> None:
    assert configure_row("lm", 11, **SIZES)[0].latent_size == 0


def test_timestep_wise_rows_have_the_published_objective() -> None:
    _, training = configure_row("twr-gru", 11)
    assert all(
        getattr(training, name) == value for name, value in OBJECTIVES["paper"].items() if hasattr(training, name)
    )


def test_an_unknown_row_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match="unknown row 'bn-vea'; did you mean 'bn-vae'"):
        configure_row("bn-vea", 11)
