"""What people and programs get to see: harmless text, tables that fit, one valid document, progress."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import unicodedata
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from opsctl.cli import render
from opsctl.cli.progress import BarDisplay, LineDisplay, ProgressDisplay, display, words
from opsctl.cli.report import Column, Mark, Out, Report, Table, Tone
from opsctl.cli.session import Session
from opsctl.errors import Partial
from opsctl.model.safe_text import shown
from opsctl.model.snapshots import Progress

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=80)  # lone surrogates too
OBEYED = {"Cc", "Cs", "Zl", "Zp", "Co", "Cn"}
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def is_harmless(text: str) -> bool:
    return all(
        unicodedata.category(char) not in OBEYED
        and (unicodedata.category(char) != "Cf" or char in "\u200c\u200d")
        for char in text
    )


class TestShown:
    @given(st.one_of(ANY_TEXT, st.binary(max_size=80)))
    @example("\x1b]0;title\x07")
    @example("a\u202etxt.exe")
    @example("\u009b31m")
    def test_nothing_in_it_is_obeyed(self, text: str | bytes) -> None:
        found = shown(text)
        assert is_harmless(found)
        found.encode("utf-8", "strict")
        assert shown(found) == found

    @given(st.text(st.characters(categories=("L", "N", "P", "S", "M"))))
    def test_letters_stay(self, text: str) -> None:
        assert shown(text) == text

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("नगर पालिका क्\u200dष", "नगर पालिका क्\u200dष"),
            ("a\nb\tc\r", "a\\nb\\tc\\r"),
            ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
            (b"caf\xe9", "caf\\xe9"),
            ("caf\udce9", "caf\\xe9"),
            ("\ud800", "\\ud800"),
            ("\u202egnp.exe", "\\u202egnp.exe"),
            ("\u009b", "\\u009b"),
            ("\U000e0041", "\\U000e0041"),
            ("[red]x[/red]", "[red]x[/red]"),
            ("a\\b", "a\\b"),
        ],
    )
    def test_examples(self, text: str | bytes, expected: str) -> None:
        assert shown(text) == expected


class TestDocument:
    @given(
        st.recursive(
            st.one_of(st.none(), st.booleans(), st.integers(), ANY_TEXT, st.binary(max_size=20)),
            lambda inner: st.one_of(
                st.lists(inner, max_size=4), st.dictionaries(ANY_TEXT, inner, max_size=4)
            ),
        )
    )
    def test_is_one_line_of_valid_json_in_valid_utf8(self, value: Any) -> None:
        text = render.document(Report(result={"value": value}), "x")
        assert text.encode("utf-8", "strict").count(b"\n") == 1 and text.endswith("\n")
        assert not CONTROL.search(text)
        json.loads(text)

    @given(st.text())
    def test_text_that_is_text_comes_back_as_it_was(self, text: str) -> None:
        found = json.loads(render.document(Report(result={text: [text]}, warnings=[text]), text))
        assert found["result"] == {text: [text]} and found["warnings"] == [text] and found["command"] == text

    def test_values_that_become_strings(self) -> None:
        moment = datetime(2026, 12, 1, 6, tzinfo=UTC)
        result = {
            "path": Path("/a/\udcff"),
            "time": moment,
            "tone": Tone.GOOD,
            "set": frozenset({1}),
            "t": (1, 2),
        }
        assert json.loads(render.document(Report(result=result), ""))["result"] == {
            "path": "/a/\\xff",
            "time": "2026-12-01T06:00:00+00:00",
            "tone": "green",
            "set": [1],
            "t": [1, 2],
        }

    @pytest.mark.parametrize("value", [object(), float("inf")])
    def test_what_json_cannot_hold_is_refused(self, value: object) -> None:
        with pytest.raises((TypeError, ValueError)):
            render.document(Report(result={"value": value}), "")


SET_ID = "20261124-0230-portal-7f3a"
SETS = Table(
    ("set", Column("size", right=True), "state", Column("what is wrong", flexible=True)),
    [
        (SET_ID, "1.5GiB", Mark("good", Tone.GOOD), ""),
        (
            SET_ID,
            "912KiB",
            Mark("damaged", Tone.BAD),
            "pack 12ab34cd is missing, which reaches three files of uploads",
        ),
    ],
    title="Sets",
)


def plain(write: Callable[[Out], None]) -> list[str]:
    stream = io.StringIO()
    write(render.make_out(stream, {"TERM": "xterm"}))
    return stream.getvalue().splitlines()


class Terminal(io.StringIO):
    """A stream that says it is a terminal; rich asks the environment for its width."""

    def isatty(self) -> bool:
        return True


def on_terminal(
    monkeypatch: pytest.MonkeyPatch, width: int, write: Callable[[Out], None], **environ: str
) -> str:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = Terminal()
    write(render.make_out(stream, {"TERM": "xterm-256color", **environ}))
    return stream.getvalue()


def without_colours(text: str) -> list[str]:
    return re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()


class TestPlain:
    def test_a_table_has_lines_of_any_length_and_no_escapes(self) -> None:
        assert plain(lambda out: out.table(SETS)) == [
            "Sets",
            "set                          size  state    what is wrong",
            f"{SET_ID}  1.5GiB  good",
            f"{SET_ID}  912KiB  damaged  pack 12ab34cd is missing, which reaches three files of uploads",
        ]

    def test_columns_line_up_under_letters_of_any_width(self) -> None:
        rows = [("नगर", "1"), ("東京", "2"), ("e\u0301", "3")]
        lines = plain(lambda out: out.table(Table(("name", "n"), rows)))
        assert {render.cells_wide(line[:-1]) for line in lines[1:]} == {6}

    def test_facts_headings_and_lines(self) -> None:
        def write(out: Out) -> None:
            out.heading("One")
            out.facts({"a": "1", "long": Mark("2\n", Tone.WARN)})
            out.heading("Two")
            out.lines(["x", "[red]y"])
            out.table(Table(("a",), [], empty="no sets"))

        assert plain(write) == ["One", "a     1", "long  2\\n", "", "Two", "x", "[red]y", "no sets"]

    @pytest.mark.parametrize("terminal", ["", "dumb"])
    def test_a_terminal_that_knows_no_escapes_gets_none(self, terminal: str) -> None:
        stream = Terminal()
        render.make_out(stream, {"TERM": terminal}).table(SETS)
        assert "\x1b" not in stream.getvalue()


class TestTerminal:
    @pytest.mark.parametrize("width", [80, 66, 200])
    def test_a_table_fits_and_ids_stay_whole(self, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
        lines = without_colours(on_terminal(monkeypatch, width, lambda out: out.table(SETS)))
        assert max(map(len, lines)) <= width
        assert sum(line.startswith(f"{SET_ID} ") for line in lines) == 2
        text = " ".join(" ".join(line[44:].split()) for line in lines[2:])
        assert "pack 12ab34cd is missing, which reaches three files of uploads" in text

    def test_a_terminal_too_narrow_gets_blocks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        lines = without_colours(on_terminal(monkeypatch, 40, lambda out: out.table(SETS)))
        assert max(map(len, lines)) <= 40
        assert [line.split() for line in lines if line.startswith(("set ", "state "))] == [
            ["set", SET_ID],
            ["state", "good"],
            ["set", SET_ID],
            ["state", "damaged"],
        ]

    def test_a_remark_is_never_broken_into_single_words(self, monkeypatch: pytest.MonkeyPatch) -> None:
        remark = "lifts itself in 56 s unless confirmed: opsctl isolate confirm h0"
        told = on_terminal(monkeypatch, 80, lambda out: out.table(
            Table(("host", "stands", Column("remark", flexible=True)), [("h" * 50, "isolated", remark)])))
        assert remark in told

    def test_colours_unless_they_are_not_wanted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert "\x1b[32m" in on_terminal(monkeypatch, 80, lambda out: out.table(SETS))
        silent = on_terminal(monkeypatch, 80, lambda out: out.table(SETS), NO_COLOR="1")
        assert not re.search(r"\x1b\[[0-9;]*3[0-9]", silent)

    def test_nothing_is_taken_for_markup_or_obeyed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        evil = "[red]:smile: [link=http://x]\x1b]0;t\x07\n"

        def write(out: Out) -> None:
            out.line(evil)
            out.heading(evil)
            out.facts({evil: evil})
            out.table(Table((evil,), [(evil,)], title=evil))

        lines = without_colours(on_terminal(monkeypatch, 200, write))
        assert sum(line.count(shown(evil)) for line in lines) == 7
        assert "\x1b" not in "".join(lines)

    def test_a_long_path_has_no_newline_in_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        path = "/" + "a" * 254
        assert path in on_terminal(monkeypatch, 80, lambda out: out.line(path))


class TestProgress:
    @pytest.mark.parametrize(
        ("event", "expected"),
        [
            (Progress("x", 1 << 30, 3 << 30, 120, 400, 125.0), "1GiB of 3GiB, 120 of 400 files, 2m5s left"),
            (Progress("x", 1 << 20), "1MiB"),
            (Progress("x", files_done=3), "3 files"),
            (Progress("x", bytes_total=0, files_total=0), "0B, 0 files"),
            (Progress("x"), ""),
            (Progress("x", seconds_left=-3.0), "0s left"),
        ],
    )
    def test_in_words(self, event: Progress, expected: str) -> None:
        assert words(event) == expected

    def test_plain_lines_at_most_every_ten_seconds_for_each_thing(self) -> None:
        stream, now = io.StringIO(), [0.0]
        show = LineDisplay(stream, lambda: now[0])
        for second, what in [
            (0, "a"),
            (1, "a"),
            (2, "b\n"),
            (9.9, "a"),
            (10, "a"),
            (11.9, "b\n"),
            (12, "b\n"),
        ]:
            now[0] = second
            show(Progress(what, bytes_done=int(second * 1024)))
        show.say(Mark("a\x1b", Tone.GOOD))
        assert stream.getvalue().splitlines() == ["a", "b\\n: 2KiB", "a: 10KiB", "b\\n: 12KiB", "a\\x1b"]

    @pytest.mark.parametrize("how", [{"quiet": True}, {"json": True}])
    def test_nothing_where_nothing_is_wanted(self, how: dict[str, bool], capsys: Any) -> None:
        with display(Session(**how)) as show:  # type: ignore[arg-type]
            assert type(show) is ProgressDisplay
            show(Progress("a", 1, 2))
            show.say("b")
        assert capsys.readouterr() == ("", "")

    def test_plain_lines_where_there_is_no_terminal(self, capsys: Any) -> None:
        with display(Session()) as show:
            show(Progress("portal-db", 1024, 2048))
        assert capsys.readouterr() == ("", "portal-db: 1KiB of 2KiB\n")

    def test_bars_on_a_terminal_and_nothing_of_them_afterwards(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COLUMNS", "80")
        monkeypatch.setenv("TERM", "xterm")
        stream = Terminal()
        with BarDisplay(stream, coloured=False) as show:
            show(Progress("portal-db [red]\x1b]0;t\x07", 1 << 20, 2 << 20, 1, 4, 5.0))
            show.say("half")
            show(Progress("uploads"))
            show(Progress("portal-db", 2 << 20, 2 << 20))
        text = stream.getvalue()
        assert "1MiB of 2MiB, 1 of 4 files, 5s left" in text and "half\n" in text and "[red]" in text
        assert "\x1b]0" not in text
        assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")  # the cursor is back

    def test_a_terminal_that_went_away_ends_no_work(self) -> None:
        ours, theirs = pty.openpty()
        stream, done = os.fdopen(theirs, "w"), []
        with LineDisplay(stream, lambda: 0.0) as show:
            show.say("begun")
            seen = os.read(ours, 1000)
            os.close(ours)
            for what in ("a", "b"):
                show(Progress(what, 1, 2))
                show.say(what)
                done.append(what)
        with pytest.raises(OSError):
            stream.close()
        assert (seen, done) == (b"begun\r\n", ["a", "b"])


def test_a_row_of_errors_with_one_hint_tells_it_once() -> None:
    out, err = io.StringIO(), io.StringIO()
    report = Report(errors=[Partial(text, hint=hint) for text, hint in (("a", "x"), ("b", "x"), ("c", "y"))])
    render.print_report(report, "", as_json=False, quiet=False, out=out, err=err, environ={})
    assert err.getvalue() == "opsctl: a\nopsctl: b\n  hint: x\nopsctl: c\n  hint: y\n"
