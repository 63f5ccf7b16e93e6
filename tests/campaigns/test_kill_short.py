"""A few kills; `make campaign` has many more, of every command."""

from __future__ import annotations

import pytest

from tests.campaigns.kill import Campaign


@pytest.mark.slow
@pytest.mark.spice
@pytest.mark.timeout(1200)
def test_killed_commands_are_resumed_to_the_result_of_an_undisturbed_run(tmp_path):
    campaign = Campaign(tmp_path / "campaign", seed=7, only=("train", "rebuild", "simulate ngspice"))
    outcomes = [campaign.kill(number) for number in range(len(campaign.cases))]
    assert sum(len(outcome.kills) for outcome in outcomes) >= len(outcomes) // 2
    assert [finding for outcome in outcomes for finding in outcome.findings] == []
