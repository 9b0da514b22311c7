"""A little of each campaign of this folder; the whole ones run by command: docs/reliability.md."""

import pytest

from tests.reliability import corrupt, kill


def test_damage_is_noticed_and_named():
    seen = corrupt.campaign(n=60, seed=1)
    assert sum(seen.values()) == 60 and len(seen) > 12


@pytest.mark.parametrize(
    "task",
    [
        "fer",
        "seq",
        "attention",
    ],
)
@pytest.mark.slow  # half a minute each
def test_kills_change_nothing(task):
    assert kill.campaign(task, kills=3, seed=1)["kills"] == 3
