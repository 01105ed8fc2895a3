"""Everything that opsctl prints: reports, errors, questions, and the one JSON document."""

from __future__ import annotations

import json
import os
import re
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from enum import Enum
from pathlib import PurePath
from typing import IO, Any

from opsctl.cli.report import Cell, Column, Listing, Mark, Out, Report, Table, Tone, code_of
from opsctl.errors import ConfigError, Interrupted, OpsError
from opsctl.model.safe_text import shown

SCHEMA = "opsctl/1"
PROGRAM = "opsctl"
PLAIN_WIDTH = 80
_GAP = 2
_AT_ONCE = 1000  # pieces of a listing that are written together
_LEAST_FLEXIBLE = 20  # columns of a terminal below which broken text is nonsense

# In JSON text these can only stand inside strings, where an escape means the same.
_OBEYED = re.compile(r"[^\x20-\x7e\n]")


def _text(value: Any) -> str:
    return _OBEYED.sub(_escape_unprintable, json.dumps(_jsonable(value), ensure_ascii=False, allow_nan=False))


def document(report: Report, command: str) -> str:
    """The JSON document of DESIGN's shape, one line, ending in a newline; ASCII controls and marks escaped.

    Bytes of names that are no UTF-8 become ``\\xNN``, written out, so that the text is valid JSON and valid
    UTF-8. Raises TypeError or ValueError where ``result`` holds what JSON cannot.
    """
    found = {
        "schema": SCHEMA,
        "command": command,
        "exit_code": report.code,
        "run": report.run,
        "result": report.result,
        **_ending(report),
    }
    return _text(found) + "\n"


def _ending(report: Report) -> dict[str, Any]:
    return {"errors": [{**error.as_dict(), "code": code_of(error)} for error in report.errors], "warnings": list(report.warnings)}


def _write_listing(report: Report, listing: Listing, command: str, out: IO[str]) -> Report:
    """The document of a report with a listing, an entry a line; how it ends is known, and written, behind the entries."""
    assert isinstance(report.result, Mapping)
    begun = {"schema": SCHEMA, "command": command, "run": report.run, "result": {**report.result, listing.name: []}}
    write_utf8(out, _text(begun).removesuffix("]}}"))
    ended, between = report, "\n"
    kept: list[str] = []
    try:
        for entry in listing.entries:
            kept += (between, _text(entry))
            between = ",\n"
            if len(kept) >= _AT_ONCE:
                write_utf8(out, "".join(kept))
                kept.clear()
    except OpsError as error:
        ended = replace(report, errors=[*report.errors, error], exit_code=None)
    write_utf8(out, "".join(kept) + "\n]}, " + _text({"exit_code": ended.code, **_ending(ended)}).removeprefix("{") + "\n")
    return ended


def _print_listing(report: Report, listing: Listing, out: Out) -> Report:
    try:
        for entry in listing.entries:
            out.line(listing.line(entry))
    except OpsError as error:
        return replace(report, errors=[*report.errors, error], exit_code=None)
    return report


def _escape_unprintable(match: re.Match[str]) -> str:
    char = match[0]
    return char if char.isprintable() else json.dumps(char)[1:-1]


def _jsonable(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, Enum):
        return _jsonable(value.value)
    if isinstance(value, (str, bytes)):
        return _without_surrogates(value)
    if isinstance(value, PurePath):
        return _without_surrogates(str(value))
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {_without_surrogates(str(key)): _jsonable(inner) for key, inner in value.items()}
    if isinstance(value, (Sequence, set, frozenset)):
        return [_jsonable(inner) for inner in value]
    raise TypeError(f"{type(value).__name__} is nothing that JSON can hold")


def _without_surrogates(text: str | bytes) -> str:
    if isinstance(text, bytes):
        text = text.decode("utf-8", "surrogateescape")
    if text.isascii():
        return text
    return "".join(shown(char) if "\ud800" <= char <= "\udfff" else char for char in text)


def print_report(
    report: Report, command: str, *, as_json: bool, quiet: bool, out: IO[str], err: IO[str],
    environ: Mapping[str, str],
) -> Report:
    """Print a report where it belongs: the result to ``out``, warnings and errors to ``err``. The report as it was printed: a
    listing may meet errors.

    With ``as_json`` one document to ``out`` and nothing else. Raises TypeError or ValueError (the result is
    nothing that JSON can hold) before anything was written, and what ``report.text`` raises.
    """
    if as_json:
        if report.listing is not None:
            return _write_listing(report, report.listing, command, out)
        write_utf8(out, document(report, command))
        return report
    if report.text is not None and not quiet:
        report.text(make_out(out, environ))
        out.flush()
    if report.listing is not None and not quiet:
        report = _print_listing(report, report.listing, make_out(out, environ))
        out.flush()
    if not quiet:
        for warning in report.warnings:
            err.write(f"{PROGRAM}: warning: {shown(warning)}\n")
    for number, error in enumerate(report.errors):
        lines = error_lines(error, report.run)
        following = report.errors[number + 1].hint if number + 1 < len(report.errors) else None
        if error.hint and error.hint == following and lines[-1].startswith("  hint: "):
            lines.pop()
        for line in lines:
            err.write(line + "\n")
    err.flush()
    if report.last is not None and not quiet:
        make_out(out, environ).line(report.last)
        out.flush()
    return report


def error_lines(error: OpsError, run: str | None = None) -> list[str]:
    """An error for people: the message, every problem of a ConfigError, the hint."""
    if isinstance(error, Interrupted):
        goes_on = error.hint or (f"`opsctl resume {run}` goes on" if run else "")
        return [f"{PROGRAM}: {shown(error.message)}{f'; {shown(goes_on)}' if goes_on else ''}"]
    known = error.where is None or error.where.rsplit(":", 1)[0] in error.message
    lines = [f"{PROGRAM}: {'' if known else shown(error.where or '') + ': '}{shown(error.message)}"]
    if isinstance(error, ConfigError):
        lines += [f"  {shown(problem)}" for problem in error.problems]
    if error.hint:
        lines.append(f"  hint: {shown(error.hint)}")
    return lines


def write_utf8(out: IO[str], text: str) -> None:
    """Write text as UTF-8 whatever the locale says."""
    raw = getattr(out, "buffer", None)
    if raw is None:
        out.write(text)
    else:
        out.flush()
        raw.write(text.encode("utf-8"))
    out.flush()


def complain(text: str) -> None:
    """Write text to standard error as it is (a trace, a help page); lost where nobody listens."""
    try:
        sys.stderr.write(text if text.endswith("\n") else text + "\n")
        sys.stderr.flush()
    except OSError:
        pass


def spell_out(content: bytes) -> None:
    """Write whole lines to standard error and nothing else; raises OSError where they do not arrive."""
    sys.stderr.flush()
    raw = getattr(sys.stderr, "buffer", None)
    if raw is None:
        sys.stderr.write(content.decode())
    else:
        raw.write(content)
    sys.stderr.flush()


def question(prompt: str) -> str | None:
    """Ask on standard error, read one line of standard input; None at its end."""
    sys.stderr.write(shown(prompt.rstrip()) + " ")
    sys.stderr.flush()
    answer = sys.stdin.readline()
    return answer.rstrip("\n") if answer else None


def on_terminal(stream: IO[str], environ: Mapping[str, str]) -> bool:
    """Whether a stream is a terminal that knows more than plain text."""
    return stream is not None and stream.isatty() and environ.get("TERM", "") not in ("", "dumb")


def make_out(stream: IO[str], environ: Mapping[str, str]) -> Out:
    """A terminal gets rich's tables and, without NO_COLOR, colours; everything else plain lines."""
    if not on_terminal(stream, environ):
        return PlainOut(stream)
    from opsctl.cli.terminal import RichOut

    return RichOut(stream, coloured=not environ.get("NO_COLOR"))


def text_of(cell: Cell) -> str:
    """What a cell says, harmless."""
    return shown(cell.text if isinstance(cell, Mark) else cell)


def tone_of(cell: Cell) -> Tone | None:
    return cell.tone if isinstance(cell, Mark) else None


def cells_wide(text: str) -> int:
    """Columns of a terminal that a text takes: two for wide characters, none for combining ones."""
    if text.isascii():
        return len(text)
    return sum(_wide(char) for char in text)


def _wide(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def fits(table: Table, width: int) -> bool:
    """Whether the columns that must not be broken leave enough for those that may be."""
    needed = _GAP * (len(table.heads) - 1)
    for index, head in enumerate(table.heads):
        natural = max([cells_wide(head.name), *(cells_wide(text_of(row[index])) for row in table.rows)])
        needed += min(natural, _LEAST_FLEXIBLE) if head.flexible else natural
    return needed <= width


class PlainOut(Out):
    """Lines of any length, without escapes, the same for a file, a pipe and a test."""

    def __init__(self, stream: IO[str]) -> None:
        self.stream = stream
        self.width = PLAIN_WIDTH
        self._begun = False

    def line(self, text: Cell = "") -> None:
        self._begun = True
        self.stream.write(text_of(text) + "\n")

    def heading(self, text: str) -> None:
        if self._begun:
            self.line()
        self.line(text)

    def facts(self, pairs: Mapping[str, Cell] | Sequence[tuple[str, Cell]]) -> None:
        for name, value in aligned(pairs):
            self.line(f"{name}{text_of(value)}")

    def table(self, table: Table) -> None:
        if table.title:
            self.heading(table.title)
        if not table.rows:
            self.line(table.empty)
            return
        names = [shown(head.name) for head in table.heads]
        rows = [names, *([text_of(cell) for cell in row] for row in table.rows)]
        widths = [max(cells_wide(row[index]) for row in rows) for index in range(len(table.heads))]
        for row in rows:
            padded = [_pad(*part) for part in zip(row, widths, table.heads, strict=True)]
            self.line((" " * _GAP).join(padded).rstrip())


def aligned(pairs: Mapping[str, Cell] | Sequence[tuple[str, Cell]]) -> list[tuple[str, Cell]]:
    """Names padded to one width, with their values."""
    listed = list(pairs.items()) if isinstance(pairs, Mapping) else list(pairs)
    width = max((cells_wide(shown(name)) for name, _ in listed), default=0)
    return [(_pad(shown(name), width + _GAP, Column("")), value) for name, value in listed]


def _pad(text: str, width: int, head: Column) -> str:
    space = " " * max(0, width - cells_wide(text))
    return space + text if head.right else text + space


def reader_went_away(stream: IO[str]) -> bool:
    """Whether the other end of a pipe is closed (``| head``)."""
    import select

    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):
        return False
    poll = select.poll()
    poll.register(descriptor, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def stop_printing(stream: IO[str]) -> None:
    """Let what is still buffered go nowhere, so that the interpreter's last flush does not complain."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    except (OSError, ValueError):
        pass
