"""The options that work everywhere, before and after the command."""

from __future__ import annotations

from typing import Any

import pytest

from opsctl.cli import everywhere


class TestOptionsThatWorkEverywhere:
    EVERY = ("--config", "/x", "--json", "--yes", "--dry-run", "-q", "-v", "--break-glass")

    @pytest.mark.parametrize(
        "words",
        [
            (*EVERY, "sample", "given"),
            ("sample", *EVERY, "given"),
            ("sample", "given", *EVERY),
            ("--json", "sample", "--config=/x", "given", "--yes", "-qv", "--dry-run", "--break-glass"),
            ("alone", "--quiet", "--verbose", *EVERY),
        ],
    )
    def test_wherever_they_stand(self, document: Any, words: tuple[str, ...]) -> None:
        found = document(*words)["result"]
        assert {name: found[name] for name in ("config", "json", "yes", "dry_run", "quiet", "verbose", "break_glass")} == {
            "config": "/x",
            "json": True,
            "yes": True,
            "dry_run": True,
            "quiet": True,
            "verbose": True,
            "break_glass": True,
        }
        assert found["names"] == []

    def test_the_last_config_counts(self, document: Any) -> None:
        assert document("--config", "/a", "alone", "--json", "--config=/b")["result"]["config"] == "/b"

    def test_nothing_is_taken_from_behind_the_dashes(self, document: Any) -> None:
        found = document("sample", "given", "--json", "a", "--", "--yes", "-q", "--config=/x")["result"]
        assert found["names"] == ["a", "--yes", "-q", "--config=/x"]
        assert (found["yes"], found["quiet"], found["config"]) == (False, False, None)

    @pytest.mark.parametrize(
        ("words", "expected"),
        [
            (("--word", "--yes"), {"word": "--yes"}),
            (("-w", "-q"), {"word": "-q"}),
            (("--word=--yes",), {"word": "--yes"}),
            (("--pair", "--yes", "--"), {"pair": ["--yes", "--"]}),
            (("--pair", "a", "-v"), {"pair": ["a", "-v"]}),
            (("--many", "--yes", "--many", "--config"), {"many": ["--yes", "--config"]}),
            (("--force", "--yes"), {"force": True, "yes": True}),
        ],
    )
    def test_a_value_that_looks_like_one(self, document: Any, words: tuple[str, ...], expected: Any) -> None:
        found = document("--json", "sample", "given", *words)["result"]
        plain: dict[str, Any] = {
            "word": None,
            "pair": None,
            "many": [],
            "force": False,
            "yes": False,
            "quiet": False,
        }
        assert {name: found[name] for name in plain} == {**plain, **expected}

    def test_json_as_a_value_is_no_wish_for_json(self, call: Any) -> None:
        code, out, _ = call("sample", "given", "--word", "--json")
        assert (code, out) == (0, "")

    @pytest.mark.parametrize("words", [("alone", "--config"), ("--config",), ("--config=", "alone")])
    def test_config_needs_a_directory(self, call: Any, words: tuple[str, ...]) -> None:
        assert call(*words) == (
            2,
            "",
            "opsctl: --config needs a directory\n  hint: --config DIR, or --config=DIR\n",
        )

    def test_modules_are_asked_only_where_a_value_may_be_meant(self) -> None:
        def never(words: Any, option: str) -> int:
            raise AssertionError(f"asked for {option}")

        assert everywhere.hoist(["--json", "a", "--x", "1", "--y=--yes", "-q"], never) == (
            ["--json", "-q"],
            ["a", "--x", "1", "--y=--yes"],
        )

    def test_flags_are_found_among_the_front(self) -> None:
        assert everywhere.has(["-vq"], "quiet") and everywhere.has(["--quiet"], "quiet")
        assert not everywhere.has(["--config", "-q"], "quiet") and not everywhere.has(["--verbose"], "quiet")
