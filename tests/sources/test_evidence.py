"""When it is known without asking the repository that nothing changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from opsctl.repositories.interface import Repository
from opsctl.sources.interface import Evidence


def same(entry: dict[str, Any], previous: dict[str, Any] | None, touched: int | None = None) -> bool:
    return Evidence(cast(Repository, None), entry, previous, tuple, Path(), touched=touched).same


def test_nothing_changed_where_restic_touched_no_file_and_none_is_missing() -> None:
    assert same({"files": 5}, {"files": 5}, 0)
    assert not same({"files": 4}, {"files": 5}, 0), "one went"
    assert not same({"files": 5}, {"files": 5}, 1)
    assert not same({"files": 5}, {"files": 5}), "of an old set nobody knows"
    assert not same({"files": 5}, None, 0)


def test_nothing_changed_where_both_sets_have_one_tree() -> None:
    assert same({"files": 5, "tree": "a"}, {"files": 5, "tree": "a"})
    assert not same({"files": 5, "tree": "a"}, {"files": 5, "tree": "b"})
    assert not same({"files": 5}, {"files": 5}), "two that are not known are not one"
