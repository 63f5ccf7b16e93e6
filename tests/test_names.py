"""The one wording for names that do not exist."""

from __future__ import annotations

import pytest

from hvae_mnn.names import nearest, quoted, unknown_name

COMMANDS = ["doctor", "train", "build-netlist", "simulate", "r_off_ohm", "i_off"]


def test_the_message_names_what_was_found_the_nearest_and_all():
    assert (
        unknown_name("preset", "tile46", ["paper", "tile64"])
        == "unknown preset 'tile46'; did you mean 'tile64'? allowed: paper, tile64"
    )
    assert unknown_name("preset", "x", ["paper", "tile64"]) == "unknown preset 'x'; allowed: paper, tile64"
    assert unknown_name("grid", "x", []) == "unknown grid 'x'; allowed: none, as there are none"
    assert unknown_name("key", "b", ["d"], near=["d.b", "a.b"]) == (
        "unknown key 'b'; did you mean 'd.b' or 'a.b'? allowed: d"
    )
    assert unknown_name("preset", "d", ["c"], listing="c, or a file") == "unknown preset 'd'; allowed: c, or a file"


def test_very_many_names_are_not_all_listed():
    found = unknown_name("array", "u", [f"array{number}" for number in range(500)])
    assert found.endswith("array38, array39, ... (500 in all)")


@pytest.mark.parametrize(
    ("found", "name"),
    [
        ("simulat", "simulate"),
        ("SIMULATE", "simulate"),
        (" train ", "train"),
        ("build", "build-netlist"),  # begins like it, and is too short to be similar
        ("r_of", "r_off_ohm"),  # which begins like it, not i_off, which is more similar
        ("netlist", "build-netlist"),
    ],
)
def test_the_nearest_name(found, name):
    assert nearest(found, COMMANDS) == [name]


@pytest.mark.parametrize("found", ["", "  ", "xyz", 3, None, float("nan"), ["train"], "train" * 10_000])
def test_nothing_is_near(found):
    assert nearest(found, COMMANDS) == []


def test_a_wrong_value_is_quoted_on_one_short_line():
    assert quoted("a\nb") == r"'a\nb'"
    assert quoted("x" * 100) == f"'{'x' * 60}'..."
    assert quoted(list(range(100))).endswith("...")
    assert quoted(10**5000) == "a number of thousands of digits"
    assert quoted(0.5) == "0.5"
