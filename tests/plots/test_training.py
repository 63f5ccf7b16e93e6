from pathlib import Path

import pytest

from hvae_mnn.plots.training import save_training_figure, training_figure


def record(epoch: int) -> dict[str, object]:
    names = ("paper_nll", "paper_kl", "paper_ppl", "elbo_nll", "elbo_kl", "elbo_ppl")
    return {
        "epoch": epoch,
        "train_rec": 90.0 / epoch,
        "train_kl": 2.0,
        "valid": dict.fromkeys(names, 100.0 / epoch),
    }


@pytest.mark.parametrize("epochs", [0, 1, 4])
def test_the_curve_is_drawn_and_saved(tmp_path: Path, epochs: int) -> None:
    history = [record(epoch) for epoch in range(1, epochs + 1)]
    nll, kl, ppl = training_figure(history, best_epoch=1).axes
    assert list(nll.lines[1].get_ydata()) == [100.0 / epoch for epoch in range(1, epochs + 1)]
    assert {"perplexity" in axes.get_title() for axes in (nll, kl, ppl)} == {True, False}
    png, svg = save_training_figure(history, tmp_path, best_epoch=1)
    assert png.read_bytes().startswith(b"\x89PNG")
    assert b"</svg>" in svg.read_bytes()
