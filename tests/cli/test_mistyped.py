"""Whatever is mistyped at the prompt: exit code 2, one line that says where, and what is allowed; no files."""

from __future__ import annotations

import pytest
import rich_click as click

from hvae_mnn.cli.main import main
from hvae_mnn.cli.options import BuildName, Choice, Number, Place, Whole, Word, label
from tests.cli.click_tree import LEAVES, commands


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")


def of_each(leaves):
    return pytest.mark.parametrize(("words", "command"), leaves, ids=["-".join(words) for words, _ in leaves])


def values_of(param):
    """The types of a parameter's single values, and how many values are typed at once."""
    if isinstance(param.type, click.types.Tuple):
        return list(param.type.types)
    return [param.type]


def never_right(kind):
    """What no value of that type can be."""
    if isinstance(kind, Whole):
        beyond = [kind.least - 1, kind.most + 1, 10**30, *([] if kind.never is None else [kind.never])]
        return [*map(str, beyond), "9" * 5000, "1e30", "1.5", "nan", "many", "", " "]
    if isinstance(kind, Number):
        return ["nan", "inf", "-inf", "1e999", "1,5", "many", "", " "]
    if isinstance(kind, Choice):
        return ["", " ", "nonsense", "x" * 5000, kind.choices[0] + "x", kind.choices[0].swapcase()]
    if isinstance(kind, Place):
        return ["", " ", "x" * 300, "ü" * 200, "a/" * 3000, "a\0b", *(["file", "file/x"] if kind.folder else [])]
    if isinstance(kind, BuildName):
        return ["", " ", ".", "..", "a/b", "/", "a/", "x" * 300, "a\nb", "a\0b"]
    assert isinstance(kind, Word), f"a type of its own for {kind}: it accepts anything"
    return ["", " ", "\n"]


def typed(param, values):
    return [param.opts[-1], *values] if isinstance(param, click.Option) else list(values)


def with_needed(command, param, given):
    """What a person types of that parameter, with all that must be there besides it, in the command's order."""
    words = []
    for other in command.params:
        if other is param:
            words += given
        elif other.required:
            words += typed(other, ["somewhere"])
    return words


@of_each(LEAVES)
def test_a_value_that_cannot_be_right_is_refused_by_name(fails, tmp_path, words, command):
    (tmp_path / "file").write_text("hello")
    for param in command.params:
        if isinstance(param, click.Option) and param.is_flag:
            assert param.opts[-1] in fails(*words, *with_needed(command, param, [f"{param.opts[-1]}=x"]))
            continue
        kinds = values_of(param)
        for place, kind in enumerate(kinds):
            for wrong in never_right(kind):
                values = ["1"] * len(kinds)
                values[place] = wrong
                message = fails(*words, *with_needed(command, param, typed(param, values)))
                assert message.startswith((f"error: {label(param)} ", f"error: unknown {label(param)} ")), message
                assert len(message) < 400


def extreme(kind):
    """What a value of that type can be, but hardly is."""
    if isinstance(kind, Whole):
        return [str(kind.least), str(kind.most)]
    if isinstance(kind, Number):
        return ["-1", "0", "1e300", "-1e300", "1e-300"]
    if isinstance(kind, Place):
        return ["nowhere"] if kind.folder else ["nowhere", "file", "folder"]
    if isinstance(kind, Word):
        return ["nonsense", "x" * 300, "../..", "[/red]", "\x1b[31m", "nowhere.toml", "1,,2", "-1", "1e300"]
    return []


HOPELESS = {
    "train": ["--data-dir", "corpus", "--out", "taken"],
    "iv": ["--out", "taken"],
    "program": ["--random", "2", "2", "--out", "taken"],
    "ir-drop": ["--out", "taken"],
    "plot converters": ["nowhere"],
    "plot accuracy-vs-noise": ["nowhere"],
    "plot crossbar": ["nowhere"],
    "simulate": ["nowhere"],
    "verify": ["nowhere"],
    "cost": ["nowhere"],
    "verify-point": ["nowhere", "3f"],
}
"""By command: what makes every call fail before it computes anything; of those with one required argument, that one."""
_SKIPPED = {"--threads"}
"""It holds for the whole process."""


@pytest.fixture
def odd_things(tmp_path):
    (tmp_path / "file").write_text("hello")
    (tmp_path / "folder").mkdir()
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "best.pt").write_text("mine")
    (tmp_path / "corpus").mkdir()
    for split in ("train", "valid"):
        (tmp_path / "corpus" / f"{split}.txt").write_text("the dog sleeps\n" * 20)


@of_each([leaf for leaf in LEAVES if leaf[0][0] not in ("doctor", "hardware")])  # which have nothing to set
def test_extreme_values_end_in_one_line(fails, odd_things, words, command):
    hopeless = HOPELESS.get(" ".join(words), ["nowhere"])
    for param in command.params:
        if not isinstance(param, click.Option) or param.is_flag or param.opts[-1] in (*_SKIPPED, *hopeless):
            continue
        kinds = values_of(param)
        for values in zip(*map(extreme, kinds), strict=True):
            assert len(fails(*words, *hopeless, *typed(param, values))) < 600


@pytest.mark.parametrize("words", [words for words, _ in commands()], ids="-".join)
def test_an_unknown_option_names_the_nearest(fails, words):
    message = fails(*words, "--hlep")
    assert f"{' '.join(('hvae-mnn', *words))}: unknown option '--hlep'; did you mean '--help'? allowed: " in message


def test_unknown_commands_and_choices_name_the_nearest(fails):
    assert fails("simulat").startswith("error: unknown command 'simulat'; did you mean 'simulate'? allowed: doctor, tr")
    assert "unknown command 'build'; did you mean 'build-netlist'?" in fails("build", "x.pt")
    assert "unknown plot command 'crosbar'; did you mean 'crossbar'? allowed: " in fails("plot", "crosbar")
    assert fails("hardware", "shw", "paper").startswith("error: unknown hardware command 'shw'; did you mean 'show'?")
    assert (
        fails("simulate", "--engine", "ngspic")
        == "error: unknown --engine 'ngspic'; did you mean 'ngspice'? allowed: ngspice, exact, ideal"
    )
    assert "did you mean '--steps'?" in fails("simulate", "--stepps", "3")
    assert "unknown --preset 'smal'; did you mean 'small'?" in fails("train", "--preset", "smal", "--out", "x")


def test_what_click_refuses_is_one_line_too(fails):
    assert fails("train") == "error: missing option '--out'; see hvae-mnn train --help"
    assert fails("build-netlist") == "error: missing argument 'CHECKPOINT'; see hvae-mnn build-netlist --help"
    assert fails("doctor", "x") == "error: got unexpected extra argument (x); see hvae-mnn doctor --help"
    assert fails("simulate", "--steps") == "error: option '--steps' requires an argument"
    assert fails("program", "--random", "3") == "error: option '--random' requires 2 arguments"


@pytest.mark.parametrize("words", [[], ["plot"], ["hardware"]])
def test_a_group_alone_shows_its_help(capsys, words):
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    printed = capsys.readouterr().out
    assert "Usage: hvae-mnn" in printed
    assert ("doctor" if not words else "Commands") in printed


def test_names_that_do_not_exist_name_the_nearest(fails, make_checkpoint):
    checkpoint = make_checkpoint("lstm")
    assert "unknown hardware preset 'tile46'; did you mean 'tile64'? allowed: paper, tile64, pair128, pulse64" in fails(
        "build-netlist", checkpoint, "--hardware", "tile46"
    )
    for command in (["iv"], ["ir-drop"], ["program", "--random", 2, 2], ["build-netlist", checkpoint]):
        message = fails(*command, "--device", "hp_tio")
        assert "unknown device preset 'hp_tio'; did you mean 'hp_tio2'? allowed: aist, aist_literal, hp_tio2" in message
    assert "unknown non-ideality 'programming.sigm'; did you mean 'programming.sigma'?" in fails(
        "finetune", checkpoint, "--set", "programming.sigm=1"
    )
    assert "unknown device 'cdua'; did you mean 'cuda'? allowed: auto, cpu, cuda, cuda:N" in fails(
        "evaluate", checkpoint, "--device", "cdua"
    )
    assert "unknown cell 'ltsm'; did you mean 'lstm'?" in fails("train", "--out", "x", "--encoder-cells", "gru,ltsm")


@pytest.fixture
def netlist(make_checkpoint, tmp_path, capsys):
    main(["build-netlist", str(make_checkpoint("rnn")), "--name", "net"])
    capsys.readouterr()
    return tmp_path / "netlists" / "net"


def test_what_is_wrong_with_a_build_that_is_there(fails, netlist, tmp_path):
    (tmp_path / "file").write_text("hello")
    for command in ("simulate", "cost", "verify"):
        run = [command, netlist]
        assert "no Dask scheduler answers at nonsense (" in fails(*run, "--scheduler", "nonsense")
        assert "exclude each other" in fails(*run, "--scheduler", "tcp://127.0.0.1:1", "--workers", 2)
        assert "--workers is 1000000; allowed: a whole number from 1 to 1,000" in fails(*run, "--workers", 1000000)
        assert "--data-dir is 'file', which is a file; give a folder" in fails(*run, "--data-dir", "file")
        assert "--out is 'file/x', and 'file' is a file" in fails(*run, "--out", "file/x")
        assert "not in the model's vocabulary" in fails(*run, "--text", "x" * 300)
        assert "--text is the one sentence" in fails(*run, "--text", "the dog", "--data-dir", "corpus")
    assert "unknown array 'decoder_x'; did you mean 'decoder_" in fails("plot", "crossbar", "--array", "decoder_x")
    assert "unknown array 'encoder1_x'; did you mean" in fails(
        "program", netlist, "--ngspice", "osdi", "--array", "encoder1_x"
    )
    assert "has no tile '7,7'; allowed: 0,0 to 0,0" in fails("plot", "crossbar", "--tile", "7,7")
    for tolerance in ("0", "-1"):
        assert f"--tolerance is {tolerance}; allowed: above 0" in fails("verify", "--tolerance", tolerance)
    for option, value, allowed in (
        ("--cell-pitch", "1e300", "1e-10 to 0.01"),
        ("--read-time", "1e-300", "1e-15 to 1000"),
        ("--mac-energy", "-1", "1e-24 to 1"),
    ):
        assert f"{option} is {float(value):g}; allowed: {allowed}" in fails("cost", option, value)


def test_what_a_build_cannot_be(fails, make_checkpoint):
    build = ["build-netlist", make_checkpoint("rnn"), "--allow-disturb"]
    for value in ("-1", "0"):
        assert f"read_v is {value}; allowed:" in fails(*build, "--read-voltage", value)
    for value in ("1e30", "101"):
        assert f"a read voltage of {float(value):g} V; allowed: above 0, 100 V at most" in fails(
            *build, "--read-voltage", value
        )
    for value in ("-1", "0", "1e-13", "2", "1e300"):
        assert "a read of " in fails(*build, "--read-time", value)


def test_options_that_would_be_ignored_are_refused(fails, netlist, make_checkpoint):
    assert "--out is the whole path; leave out --name" in fails(
        "build-netlist", make_checkpoint("lstm"), "--name", "a", "--out", "b"
    )
    corner = ["--wire-ohm", 1, "--corner", 2, 2]
    assert "only --ngspice programs a wired corner of an array; leave out --wire-ohm and --corner" in fails(
        "program", "--random", 4, 4, *corner
    )
    assert "leave out --split" in fails("simulate", netlist, "--text", "the dog", "--split", "valid")
    assert "leave out NETLIST and --steps" in fails("simulate", netlist, "--resume", "--steps", 3)
    assert "--all means every tile; leave out --tiles" in fails("verify", netlist, "--all", "--tiles", 3)
    assert "leave out --arrays" in fails("verify", netlist, "--arrays", 3)
    assert "leave out --steps" in fails("cost", netlist, "--text", "the dog", "--steps", 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sizes", "a,b"], "--sizes is 'a,b'; allowed: whole numbers with commas between them, as in 16,32,64"),
        (["--sizes", "0"], "--sizes has 0; allowed: whole numbers from 1 to 512, each once"),
        (["--sizes", "none"], "--sizes or --ohms has no value; give at least one to each"),
        (["--sizes", "1" * 5000], "--sizes is '111"),
        (["--sizes", "9" * 40], "--sizes has 999"),
        (["--spice-sizes", "16,x"], "--spice-sizes is '16,x'; allowed: whole numbers"),
        (["--spice-sizes", "17"], "--spice-sizes has 17, which --sizes has not"),
        (["--spice-sizes", "256"], "--spice-sizes has 256; allowed: whole numbers from 1 to 128"),
        (["--ohms", "nan"], "--ohms is nan; allowed: numbers from 0 to 1e+09"),
        (["--ohms", "inf"], "--ohms is inf; allowed: numbers from 0 to 1e+09"),
        (["--ohms", "0"], "--ohms is 0; allowed: numbers from 0 to 1e+09, each once, and not 0 alone"),
        (["--tiles", "1000000000"], "--tiles is 1000000000; allowed: 1 to 10,000"),
    ],
)
def test_sizes_and_resistances_of_ir_drop(fails, arguments, message):
    assert message in fails("ir-drop", *arguments)
