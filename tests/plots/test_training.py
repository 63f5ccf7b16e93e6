from pathlib import Path
from typing import Any

import pytest

from hvae_mnn.plots.training import save_training_figure, training_figure


def record(epoch: int) -> dict[str, Any]:
    names = ("paper_nll", "paper_kl", "paper_ppl", "elbo_nll", "elbo_kl", "elbo_ppl")
    return {
        "epoch": epoch,
        "train_rec": 90.0 / epoch,
        "train_kl": 2.0,
        "valid": dict.fromkeys(names, 100.0 / epoch),
    }


def test_the_information_stands_beside_the_kl_where_it_was_measured() -> None:
    """An earlier version's epochs have none; a resumed run goes on with it."""
    history = [record(epoch) for epoch in range(1, 5)]
    for late in history[2:]:
        late["valid"] |= {"mutual_information": 10.0 / late["epoch"], "information_error": 0.5}
    assert training_figure(history[:2]).axes[1].get_title() == "KL"
    kl = training_figure(history).axes[1]
    (bars,) = kl.containers
    line, _, (spread,) = bars.lines
    assert list(line.get_xdata()) == [3, 4]
    assert list(line.get_ydata()) == [10.0 / 3, 2.5]
    assert spread.get_segments()[1][:, 1].tolist() == [2.0, 3.0]


@pytest.mark.parametrize("epochs", [0, 1, 4])
def test_the_curve_is_drawn_and_saved(tmp_path: Path, epochs: int) -> None:
    history = [record(epoch) for epoch in range(1, epochs + 1)]
    nll, kl, ppl = training_figure(history, best_epoch=1).axes
    assert list(nll.lines[1].get_ydata()) == [100.0 / epoch for epoch in range(1, epochs + 1)]
    assert {"perplexity" in axes.get_title() for axes in (nll, kl, ppl)} == {True, False}
    png, svg = save_training_figure(history, tmp_path, best_epoch=1)
    assert png.read_bytes().startswith(b"\x89PNG")
    assert b"</svg>" in svg.read_bytes()
