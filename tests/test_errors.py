"""All problems of a file at once, in one form for every kind of file."""

from __future__ import annotations

import pickle

from hvae_mnn.errors import HardwareError, InputError


def test_one_problem_is_one_line():
    error = HardwareError.of("chip.toml", ["sense.gain is 0; allowed: above 0"])
    assert str(error) == "chip.toml: sense.gain is 0; allowed: above 0"
    assert isinstance(error, HardwareError)
    assert error.problems == ("sense.gain is 0; allowed: above 0",)


def test_several_problems_are_lines_under_their_number():
    error = InputError.of("s.toml", ["a", "b"])
    assert str(error) == "s.toml: 2 problems\n  a\n  b"
    assert pickle.loads(pickle.dumps(error)).problems == ("a", "b")


def test_of_thousands_the_first_are_listed():
    first, *lines = str(InputError.of("s.toml", [f"p{number}" for number in range(1500)])).splitlines()
    assert first == "s.toml: 1500 problems"
    assert (len(lines), lines[0], lines[-1]) == (21, "  p0", "  and 1,480 more")
