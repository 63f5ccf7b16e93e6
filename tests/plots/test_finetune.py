"""The figure of finetuning: three panels with what the history says."""

from __future__ import annotations

from hvae_mnn.plots.finetune import finetune_figure

HISTORY = [
    {"update": 0, "clipped": False, "train_loss": None, "valid_top1": 0.2, "valid_ppl": 90.0},
    {"update": 50, "clipped": False, "train_loss": 40.5, "valid_top1": 0.3, "valid_ppl": 20.0},
    {"update": 80, "clipped": False, "train_loss": 39.0, "valid_top1": 0.29, "valid_ppl": 21.0},
]


def test_panels_show_the_history_and_the_best_update():
    loss, accuracy, perplexity = finetune_figure(HISTORY, HISTORY[1]).axes
    assert [list(line) for line in loss.lines[0].get_data()] == [[50, 80], [40.5, 39.0]]
    assert list(accuracy.lines[0].get_ydata()) == [0.2, 0.3, 0.29]
    assert list(perplexity.lines[0].get_ydata()) == [90.0, 20.0, 21.0]
    assert all(list(axes.lines[1].get_xdata()) == [50, 50] for axes in (loss, accuracy, perplexity))
    assert accuracy.texts[0].get_text() == "best"


def test_what_clipping_alone_did_stands_apart():
    after = [{**record, "clipped": True} for record in HISTORY[1:]]
    clipped = {"update": 0, "clipped": True, "train_loss": None, "valid_top1": 0.28, "valid_ppl": 30.0}
    _, accuracy, _ = finetune_figure([HISTORY[0], clipped, *after], after[0]).axes
    assert list(accuracy.lines[0].get_ydata()) == [0.28, 0.3, 0.29]
    assert list(accuracy.lines[2].get_ydata()) == [0.2]
    assert [text.get_text() for text in accuracy.texts] == ["before clipping", "best"]
