from pathlib import Path

import pytest

from hvae_mnn.plots.evaluation import evaluation_figure, save_evaluation_figure

PROPER = {
    "kl": 3.0,
    "profile": {"by_position": [0.1, None, 0.4, 3.0], "by_step": [0.1, 2.0], "from_end": [3.0, 0.4]},
    "ablation": {"own": 30.0, "shuffled": 41.0, "prior": 40.0},
}


def test_the_panels_show_the_reports_figures() -> None:
    position, end, latent = evaluation_figure(PROPER).axes
    assert [bar.get_height() for bar in position.patches] == [0.1, 0.4, 3.0]
    assert [bar.get_x() + bar.get_width() / 2 for bar in position.patches] == pytest.approx([0.125, 0.625, 0.875])
    assert [bar.get_height() for bar in end.patches] == [3.0, 0.4]
    assert [bar.get_width() for bar in latent.patches] == [30.0, 41.0, 40.0]


def test_a_latent_without_information_can_be_drawn(tmp_path: Path) -> None:
    nothing = {**PROPER, "kl": 0.0, "profile": {"by_position": [0.0] * 4, "by_step": [0.0], "from_end": [0.0]}}
    png, svg = save_evaluation_figure(nothing, tmp_path)
    assert png.read_bytes().startswith(b"\x89PNG")
    assert b"</svg>" in svg.read_bytes()
