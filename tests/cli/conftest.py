"""main, called with the sample commands."""

from __future__ import annotations

import json
from typing import Any

import pytest

from opsctl.cli import lazy, main
from tests.cli import samples


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Call main with the sample commands; gives the exit code, standard output and standard error."""
    monkeypatch.setattr(lazy.Root, "entries", samples.ENTRIES)

    def run(*words: str) -> tuple[int, str, str]:
        code = main(words)
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def document(call: Any) -> Any:
    """Call main, and read the one document that must be on standard output."""

    def run(*words: str) -> dict[str, Any]:
        code, out, _ = call(*words)
        assert out.endswith("\n") and out.count("\n") == 1
        found = json.loads(out)
        assert list(found) == ["schema", "command", "exit_code", "run", "result", "errors", "warnings"]
        assert found["schema"] == "opsctl/1" and found["exit_code"] == code
        return found

    return run
