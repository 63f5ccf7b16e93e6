"""The public names: every command is a function, every parameter and result has a type, nothing heavy is imported."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest

import hvae_mnn
from hvae_mnn import api, errors
from hvae_mnn.api.language import TrainingSettings
from hvae_mnn.models.config import ModelConfig
from hvae_mnn.models.training_config import TrainingConfig
from hvae_mnn.results import Shown
from tests.cli.click_tree import LEAVES

PACKAGE = Path(hvae_mnn.__file__).parent
FUNCTIONS = {name: getattr(hvae_mnn, name) for name in hvae_mnn.__all__ if inspect.isfunction(getattr(hvae_mnn, name))}
COMMANDS = {
    "plot accuracy-vs-noise": "plot_accuracy",
    "hardware presets": None,
    "hardware show": "read_hardware",
    "hardware check": "read_hardware",
    "reproduce table2": "reproduce",
    "reproduce table4": "reproduce",
}
"""Commands whose function has another name, or none."""
LONG = [name for name, function in FUNCTIONS.items() if "progress" in inspect.signature(function).parameters]


def test_every_command_is_a_function():
    for words, _ in LEAVES:
        name = COMMANDS.get(" ".join(words), "_".join(words).replace("-", "_"))
        assert name is None or name in FUNCTIONS, words
    assert {"resume"} < set(FUNCTIONS)  # an option of simulate


def test_every_error_and_note_is_public():
    own = {name for name, kind in vars(errors).items() if inspect.isclass(kind) and kind.__module__ == errors.__name__}
    assert own <= set(hvae_mnn.__all__)
    assert all(getattr(hvae_mnn, name) is getattr(errors, name) for name in own)


def test_the_lists_of_names_agree():
    assert set(api.__all__) <= set(hvae_mnn.__all__)
    for module, names in api._MODULES.items():
        assert set(names) <= set(vars(importlib.import_module(module))), module
    for path, module in ((PACKAGE / "__init__.py", "hvae_mnn"), (PACKAGE / "api" / "__init__.py", "hvae_mnn.api")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        (guarded,) = (
            node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        )
        typed = {alias.name for node in guarded.body for alias in node.names}
        assert typed == set(importlib.import_module(module).__all__) - set(vars(errors)), path
        assert set(dir(importlib.import_module(module))) >= typed


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_every_parameter_has_a_type(name):
    function = FUNCTIONS[name]
    sign = inspect.signature(function)
    for parameter in (*sign.parameters.values(), inspect.Parameter("back", 0, annotation=sign.return_annotation)):
        assert parameter.annotation is not inspect.Parameter.empty, parameter
        assert not re.search(r"\bAny\b", str(parameter.annotation)), parameter
        assert parameter.kind is not inspect.Parameter.VAR_KEYWORD or "Unpack[" in str(parameter.annotation)
    assert "Raises" in (function.__doc__ or ""), name
    if name in LONG:
        assert sign.parameters["progress"].default is True
        assert str(sign.parameters["progress"].annotation).startswith("bool | ")


@pytest.mark.parametrize("name", [*LONG, "doctor", "plot_accuracy", "plot_converters", "plot_crossbar"])
def test_every_result_is_a_dataclass_that_shows_itself(name):
    module = importlib.import_module(FUNCTIONS[name].__module__)
    typed = FUNCTIONS[name].__annotations__["return"]
    kind = getattr(module, typed, None) or getattr(hvae_mnn, typed)
    assert is_dataclass(kind)
    if name != "build_netlist":
        assert issubclass(kind, Shown)


def test_settings_of_a_training_are_the_fields_of_its_specs():
    own = {field.name: str(field.type) for spec in (ModelConfig, TrainingConfig) for field in fields(spec)}
    typed = {name: hint.__forward_arg__ for name, hint in TrainingSettings.__annotations__.items()}
    # The objective is a parameter; words are counted; `reduction` belongs to the objective.
    expected = {name: kind for name, kind in own.items() if name not in ("vocabulary_size", "objective", "reduction")}
    assert typed == {name: kind if kind.endswith("| None") else f"{kind} | None" for name, kind in expected.items()}


@pytest.mark.parametrize(
    ("use", "unwanted"),
    [
        ("", {"torch", "PySpice", "rich", "click", "numpy", "pyarrow", "matplotlib", "hvae_mnn.api"}),
        ("hvae_mnn.InputError, dir(hvae_mnn)", {"torch", "PySpice", "rich", "numpy", "pyarrow", "matplotlib"}),
        ("hvae_mnn.doctor", {"torch", "PySpice", "matplotlib"}),
        ("hvae_mnn.iv, hvae_mnn.program", {"torch", "PySpice"}),
    ],
)
def test_only_what_is_used_is_imported(use, unwanted):
    code = f"import sys, hvae_mnn; {use or 'pass'}; print(*sorted(set(sys.modules) & {unwanted!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_no_public_name_is_a_module_too():
    """An imported module hides the public name: `hvae_mnn.finetune` was a folder, and the function was gone."""
    modules = {path.stem for path in PACKAGE.glob("*.py")} | {
        path.parent.name for path in PACKAGE.glob("*/__init__.py")
    }
    assert not modules & set(hvae_mnn.__all__)


def test_an_unknown_name_is_told():
    with pytest.raises(AttributeError, match="module 'hvae_mnn' has no attribute 'simulat'"):
        hvae_mnn.simulat  # noqa: B018


def test_the_package_says_that_it_is_typed():
    assert (PACKAGE / "py.typed").is_file()


SCRIPT = """
import hvae_mnn
from hvae_mnn import build_netlist, simulate
result = simulate(build_netlist("best.pt"), steps=40, progress=False)
reveal_type(result)
"""
WRONG = """
simulate(stepz=3)
hvae_mnn.simulat
"""


@pytest.mark.slow
def test_a_strict_type_checker_sees_every_annotation(tmp_path):
    """A script outside the package, which is found as it is installed: without py.typed, nothing of it has a type."""
    pytest.importorskip("mypy")
    script = tmp_path / "script.py"
    names = sorted(FUNCTIONS)
    script.write_text(SCRIPT + "\n".join(f"reveal_type(hvae_mnn.{name})" for name in names) + WRONG, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", script.name],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stdout.splitlines()
    notes = [line for line in lines if ": note: Revealed type" in line]
    assert len(notes) == 1 + len(names), done.stdout + done.stderr
    assert 'SimulationResult"' in notes[0]
    for line in notes:
        assert "Any" not in line.replace("numpy.ndarray[tuple[Any, ...], ", ""), line  # numpy's own: any shape
    wrong = [line for line in lines if ": error: " in line]
    assert len(wrong) == 2, done.stdout
    assert 'Unexpected keyword argument "stepz" for "simulate"' in wrong[0]
    assert 'Module has no attribute "simulat"' in wrong[1]
