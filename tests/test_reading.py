"""What a user gives is read within bounds, and refused in one line; nothing waits, nothing grows."""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hvae_mnn.errors import HardwareError, InputError
from hvae_mnn.files import read_json
from hvae_mnn.reading import (
    JSON_BYTES,
    SETTINGS_BYTES,
    absolute,
    errors_as,
    is_file,
    is_folder,
    is_missing,
    names_in,
    parse_json,
    parse_toml,
    read_bytes,
    read_text,
    read_toml,
    shown,
)

LONG = "x" * 300
SECONDS = 20
"""A bound on hangs, generous on a busy machine."""


def refused(call, *arguments) -> str:
    start = time.monotonic()
    with pytest.raises(InputError) as caught:
        call(*arguments)
    assert time.monotonic() - start < SECONDS
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 600
    return message


@pytest.fixture
def odd(tmp_path):
    """Paths at which no file can be read, by what they are."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("x")
    with socket.socket(socket.AF_UNIX) as server:
        place = os.getcwd()
        os.chdir(tmp_path)  # a socket's name may have 107 characters only
        server.bind("socket")
        os.chdir(place)
    return {
        "missing": tmp_path / "none",
        "long": tmp_path / LONG,
        "zero byte": Path("a\0b"),
        "loop": tmp_path / "loop",
        "fifo": tmp_path / "fifo",
        "socket": tmp_path / "socket",
        "folder": tmp_path / "folder",
        "below a file": tmp_path / "file" / "x",
        "zero": Path("/dev/zero"),
        "null": Path("/dev/null"),
    }


MESSAGES = {
    "missing": "no list at",
    "long": "File name too long; give a readable list",
    "zero byte": "cannot read a\\x00b: ",
    "loop": "Too many levels of symbolic links",
    "fifo": "is a pipe, a socket or a device; give a regular file",
    "socket": "is a pipe, a socket or a device; give a regular file",
    "folder": "is a folder; give the list in it",
    "below a file": "Not a directory",
    "zero": "/dev/zero is a pipe, a socket or a device",
    "null": "/dev/null is a pipe, a socket or a device",
}


@pytest.mark.parametrize("kind", MESSAGES)
def test_what_is_no_file_is_refused_at_once(odd, kind):
    assert MESSAGES[kind] in refused(read_bytes, odd[kind], 100, "list")
    assert MESSAGES[kind].replace("list", "TOML file") in refused(read_toml, odd[kind])


def test_standard_input_is_read_when_it_is_a_file_and_refused_when_it_is_a_pipe(tmp_path):
    code = "from hvae_mnn.reading import read_text; print(read_text('/dev/stdin', 9))"
    (tmp_path / "given").write_text("words")
    with (tmp_path / "given").open() as given:
        found = subprocess.run([sys.executable, "-c", code], stdin=given, capture_output=True, text=True, check=True)
    assert found.stdout == "words\n"
    found = subprocess.run([sys.executable, "-c", code], input="words", capture_output=True, text=True, check=False)
    assert "/dev/stdin is a pipe" in found.stderr


def test_questions_about_paths_raise_nothing(odd):
    assert [kind for kind, path in odd.items() if is_missing(path)] == ["missing", "below a file"]
    assert [kind for kind, path in odd.items() if is_folder(path)] == ["folder"]
    assert not any(map(is_file, odd.values()))
    assert is_file(odd["folder"].parent / "file")
    assert absolute(odd["zero byte"]) == odd["zero byte"]
    for path in odd.values():
        absolute(path)


def test_names_in_a_folder(odd):
    folder = odd["folder"]
    for name in "cab":
        (folder / name).touch()
    assert names_in(folder) == ["a", "b", "c"]
    assert "does not exist; give an existing corpus" in refused(names_in, odd["missing"], "corpus")
    assert "is not a folder" in refused(names_in, odd["below a file"].parent)
    for kind in ("long", "zero byte", "loop"):
        assert "cannot read" in refused(names_in, odd[kind])


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_missing_rights_are_told_as_such(tmp_path):
    for name in ("closed", "unreadable"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("x")
    (tmp_path / "unreadable" / "file").chmod(0)
    (tmp_path / "closed").chmod(0)
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    code = (
        "import sys; from hvae_mnn.reading import *; from hvae_mnn.errors import InputError\n"
        "def tried(call, *arguments):\n"
        "    try: print(call(*arguments))\n"
        "    except InputError as error: print(error)\n"
        "for path in ('closed/file', 'unreadable/file'):\n"
        "    tried(read_bytes, path, 9)\n"
        "    print(is_missing(path), is_file(path))\n"
        "tried(names_in, 'closed')"
    )
    command = ["setpriv", "--reuid", "12345", "--clear-groups", sys.executable, "-c", code]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert found.stdout.splitlines() == [
        "cannot read closed/file: Permission denied; give a readable file",
        "False False",
        "cannot read unreadable/file: Permission denied; give a readable file",
        "False True",
        "cannot read closed: Permission denied; give a readable folder",
    ], found.stderr


def test_a_file_is_read_up_to_its_bound_and_not_beyond(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_bytes(path, 5) == b"12345"
    assert "has 5 bytes; allowed for a list: 4" in refused(read_bytes, path, 4, "list")
    huge = tmp_path / "huge"
    with huge.open("wb") as file:
        file.truncate(2**41)  # a hole
    assert f"has {2**41:,} bytes; allowed for a list" in refused(read_bytes, huge, 2**40, "list")


def test_files_that_say_they_are_empty_and_are_not():
    assert read_text(Path("/proc/self/status"), 10_000).startswith("Name:")
    assert "has more than 10 bytes" in refused(read_text, Path("/proc/self/status"), 10)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\xff\xfea\0", "is UTF-16 text; convert it to UTF-8"),
        (
            "a = 1".encode("utf-16-be"),
            "line 1: a zero byte, which no text in UTF-8 has; convert the file if it is UTF-16",
        ),
        ("a = 1".encode("utf-32"), "is UTF-32 text; convert it to UTF-8"),
        (b"\0\0\xfe\xff" + "a = 1".encode("utf-32-be"), "is UTF-32 text; convert it to UTF-8"),
        (b"# fine\n# \0\n", "line 2: a zero byte"),
        (b"a = 1\nb = '\xff'", "line 2: byte 0xff at position 6 is not UTF-8"),
        (b"", None),
        (b"\xef\xbb\xbfa = 1", None),
    ],
)
def test_encodings(tmp_path, data, message):
    path = tmp_path / "file"
    path.write_bytes(data)
    if message is None:
        assert read_toml(path) == ({"a": 1} if data else {})
    else:
        assert message in refused(read_toml, path)


# --- TOML


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a." * 100_000 + "a = 1", "has a key of more than 16 parts"),
        ("[" + "a." * 100_000 + "a]", "has a key of more than 16 parts"),
        ("a . " * 50_000 + "a = 1", "has a key of more than 16 parts"),
        ('"$".' * 50_000 + "a = 1", "has a key of more than 16 parts"),
        ('\'x y\'."\\"#".' * 8 + "a = 1", "has a key of more than 16 parts"),
        ('x = { a = """q""""", ' + "b." * 50_000 + "a = 1 }", "has a key of more than 16 parts"),
        ("x = { a = '''q''''', " + "b." * 50_000 + "a = 1 }", "has a key of more than 16 parts"),
        ("\n".join(f"a{number} = 1" for number in range(70_000)), "has 70,000 keys; allowed in a settings file: 2,000"),
        ("a = [" + "{b=1}," * 100_000 + "]", "has 100,001 keys; allowed"),
        ("a = " + "[" * 500_000, "nests too deeply"),
        ("a = " + "[" * 150 + "]" * 150, "nests deeper than 100 levels"),
        ("a = " + "{a=" * 200_000, "nests too deeply"),
        ("a = " + "9" * 100_000, "Exceeds the limit"),
        ("a = 0x" + "f" * 1_000_000, "a is a whole number beyond 64 bits"),
        ("a = 18446744073709551616", "a is a whole number beyond 64 bits"),
        ("b = [1, -99999999999999999999]", "an array holds a whole number beyond 64 bits"),
        ("a = 1e999", "1e999 is beyond the largest number"),
        ("a = 1\na = 2", "Cannot overwrite a value"),
        ("a = {" + "k" * 300_000 + " = 1, " + "k" * 300_000 + " = 1}", "Duplicate inline table key"),
        ("a = 2000-99-99", "cannot be read as TOML"),
        ('a = "' + '\\"' * 500_000, "Unterminated string"),
        ("'" * 1_000_000, "Expected '='"),
        ("\0", "cannot be read as TOML"),
    ],
)
def test_toml_that_would_take_for_ever_or_is_none(text, message):
    assert message in refused(parse_toml, text, "f.toml")


def test_what_only_looks_like_a_long_key_is_read():
    dots = "." * 100
    text = f'a = \'{dots}\'  # {dots}\nb = """{dots}\n{dots}"""\n# {"a." * 50}\nc = [{"1.5, " * 50}]\nd.e.f = nan\n'
    assert parse_toml(text, "f")["a"] == dots
    assert parse_toml("x = -inf", "f") == {"x": float("-inf")}
    assert parse_toml("seed = 9223372036854775807", "f") == {"seed": 2**63 - 1}


def test_a_settings_file_is_not_larger_than_it_can_sensibly_be(tmp_path):
    path = tmp_path / "big.toml"
    path.write_text("#" * (SETTINGS_BYTES + 1))
    assert "bytes; allowed for a device file: 1,048,576" in refused(read_toml, path, "device file")


# --- JSON


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 1_000_000, "nests too deeply"),
        ('{"a":' * 1_000_000, "nests too deeply"),
        ("[" * 150 + "]" * 150, "nests deeper than 100 levels"),
        ("NaN", "NaN is not a number"),
        ("[-Infinity]", "-Infinity is not a number"),
        ("1e999", "1e999 is beyond the largest number"),
        ("-1e999", "beyond the largest number"),
        ("9" * 100_000, "Exceeds the limit"),
        ("9" * 100_000 + ".0", "is beyond the largest number"),
        ('{"a": 18446744073709551616}', "a is a whole number beyond 64 bits"),
        ("18446744073709551616", "holds a whole number beyond 64 bits"),
        ('{"a": 1, "b": 2, "a": 3}', "the key 'a' occurs twice"),
        ('{"' + "k" * 100_000 + '": 1, "' + "k" * 100_000 + '": 3}', "occurs twice"),
        ("{", "cannot be read as JSON"),
        ("", "cannot be read as JSON"),
    ],
)
def test_json_that_is_none(text, message):
    assert message in refused(parse_json, text, "f.json")


def test_json_that_is_read(tmp_path):
    value = {"a": [1, 2.5, None, True, "x"], "b": {"c": -(2**64) + 1}}
    assert parse_json(json.dumps(value), "f") == value
    path = tmp_path / "f.json"
    path.write_text(json.dumps(value))
    assert read_json(path, "plan") == value
    path.write_text("[1]")
    assert "holds a list, not a JSON object; give a plan" in refused(read_json, path, "plan")
    with path.open("wb") as file:
        file.truncate(JSON_BYTES + 1)
    assert "allowed for a plan" in refused(read_json, path, "plan")


# --- messages


def test_errors_become_those_of_the_layer():
    with pytest.raises(HardwareError, match=r"^chip$"), errors_as(HardwareError):
        raise InputError("chip")
    with pytest.raises(KeyError), errors_as(HardwareError):
        raise KeyError("chip")


def test_values_in_messages_are_one_short_line():
    assert shown("a\nb\t\x1b[31m\udcff") == "a\\nb\\t\\x1b[31m\\udcff"
    assert shown("[/red] ä µ") == "[/red] ä µ"
    assert len(shown("x" * 10**6)) < 200


def test_memory_stays_bounded(tmp_path):
    """A thousandth of what is at the path would not fit the limit."""
    code = (
        "import sys, resource; from pathlib import Path\n"
        "from hvae_mnn.errors import InputError; from hvae_mnn.reading import read_bytes\n"
        f"resource.setrlimit(resource.RLIMIT_AS, ({2**30}, {2**30}))\n"
        "for path in map(Path, sys.argv[1:]):\n"
        "    try: read_bytes(path, 2**50)\n"
        "    except InputError as error: print(error)"
    )
    huge = tmp_path / "huge"
    with huge.open("wb") as file:
        file.truncate(2**40)
    command = [sys.executable, "-c", code, str(huge), "/dev/zero"]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    first, second = found.stdout.splitlines()
    assert first.endswith("has 1,099,511,627,776 bytes, for which there is not enough memory")
    assert second.startswith("/dev/zero is a pipe")
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 2**21
