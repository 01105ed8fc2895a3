"""Every command, argument and option says what it is, and no line of a help is cut."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from opsctl.cli import lazy

WIDTH = 80


def walk(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command and group below, by the words that lead to it."""
    yield path, command
    for name in command.list_commands(None) if hasattr(command, "list_commands") else ():
        yield from walk(command.get_command(None, name), (*path, name))


EVERY = dict(walk(lazy.make_root(), ("opsctl",)))


@pytest.fixture(params=EVERY, ids=" ".join)
def path(request: pytest.FixtureRequest) -> tuple[str, ...]:
    return request.param  # type: ignore[no-any-return]


def help_of(path: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    context = None
    for end in range(1, len(path) + 1):
        command = EVERY[path[:end]]
        context = command.context_class(command, info_name=path[end - 1], parent=context, **lazy._SETTINGS)
    return str(EVERY[path].get_help(context))


def test_the_walk_reaches_every_command_of_the_table() -> None:
    assert {entry.name for entry in lazy.COMMANDS} <= {path[1] for path in EVERY if len(path) == 2}
    assert {("opsctl", "backup", "run"), ("opsctl", "restore", "set"), ("opsctl", "journal", "go-on")} <= set(EVERY)


def test_every_command_argument_and_option_has_a_help(path: tuple[str, ...]) -> None:
    command = EVERY[path]
    assert command.help
    for param in command.params:
        assert getattr(param, "help", None), f"{' '.join(path)}: {param.name} has no help"


def test_every_value_is_shown_by_a_word_and_not_by_its_type(
    path: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = help_of(path, monkeypatch)
    assert [one for one in ("str", "int", "float", "Path", "path", "bool", "list[") if f"<{one}" in text] == []
    assert "TEXT..." not in text and "INTEGER" not in text
    assert [param.name for param in EVERY[path].params if param.metavar and param.metavar.islower()] == []


def test_nothing_is_cut_and_nothing_is_wide(path: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    lines = help_of(path, monkeypatch).splitlines()
    assert [line for line in lines if len(line) > WIDTH] == []
    assert [line for line in lines if line.endswith("...") and "Usage:" not in line] == []


def test_no_summary_is_cut_where_a_shell_completes(path: tuple[str, ...]) -> None:
    if len(path) > 2:
        assert not EVERY[path].get_short_help_str().endswith("...")
