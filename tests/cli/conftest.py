"""What tests of commands share."""

from __future__ import annotations

import pytest

from hvae_mnn.cli.main import main


@pytest.fixture
def fails(capsys, tmp_path):
    """Run a command that must fail; returns its message. What lies in the folder must be the same afterwards."""

    def run(*arguments, code=2):
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(SystemExit) as caught:
            main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        assert caught.value.code == code, printed.err
        assert "Traceback" not in printed.err
        assert sorted(tmp_path.rglob("*")) == before, "something was left behind"
        (message,) = [line for line in printed.err.strip().splitlines() if not line.startswith("note: ")]
        assert message.startswith("error: ")
        return message

    return run
