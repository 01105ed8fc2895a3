"""What restic prints, read line by line into values. Pure: no processes, no files."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from opsctl.model.snapshots import BackupSummary, Node, Progress
from opsctl.model.values import value

_PANIC = re.compile(
    r"^panic: |^fatal error: |^SIG[A-Z]+: |goroutine \d+ \[(?:running|select|runnable)", re.MULTILINE
)
_GO_FRAME = re.compile(r"^(\S+/\S+\.\S+|main\.\S+|runtime\.\S+|\t\S+:\d+.*)$")
_TARGET = re.compile(
    r"(permission denied|operation not permitted|read-only file system|file name too long|not a directory"
    r"|is a directory|file exists|too many open files|operation not supported|invalid argument"
    r"|input/output error|no space left on device|disk quota exceeded)$"
)
#: What a backup calls an error of reading a source, and is one of the snapshot that it compares with.
_ANEW = re.compile(
    r"(?:^|: )(?:parts of .+ not found in the repository index; storing the file again"
    r"|tree [0-9a-f]{64} is not known; the repository could be damaged, run `repair index` to try to repair it)$"
)
_TORN = re.compile(r"(?:^|: )tree [0-9a-f]{64} could not be loaded; the repository could be damaged: ")
_MISSING = re.compile(r"^(?P<path>.+) does not exist, skipping$")


@value
class Said:
    """One stream of restic: its JSON objects by ``message_type`` and its other lines."""

    objects: tuple[Mapping[str, Any], ...] = ()
    lines: tuple[str, ...] = ()

    def of(self, kind: str) -> list[Mapping[str, Any]]:
        return [each for each in self.objects if each.get("message_type") == kind]


class Status:
    """Reads standard output as it comes: statuses become progress and are not kept."""

    def __init__(self, what: str = "", on_progress: Callable[[Progress], None] | None = None) -> None:
        self._what = what
        self._on_progress = on_progress
        self._last: Progress | None = None
        self._objects: list[Mapping[str, Any]] = []
        self._lines: list[str] = []

    def take(self, line: bytes) -> None:
        found = parse_line(line)
        if found is None:
            if text := line.decode("utf-8", "replace").rstrip():
                self._lines.append(text)
        elif found.get("message_type") == "status":
            self._last = progress(found, self._what)
            if self._on_progress is not None:
                self._on_progress(self._last)
        elif found.get("message_type") != "verbose_status":
            self._objects.append(found)

    def said(self) -> Said:
        return Said(tuple(self._objects), tuple(self._lines))

    def missing(self) -> int | None:
        """Bytes that were still to come by the last status; all of them where restic claims to be done."""
        if self._last is None or not self._last.bytes_total:
            return None
        return self._last.bytes_total - self._last.bytes_done or self._last.bytes_total


_decode = json.JSONDecoder().raw_decode


def parse_line(line: bytes) -> Mapping[str, Any] | None:
    """The JSON object of one line; None for anything else."""
    line = line.strip()
    if not line.startswith(b"{"):
        return None
    try:
        # `ls` prints a line for each of millions of files: this takes half the time of `json.loads` on bytes.
        found, end = _decode(text := line.decode())
    except ValueError:
        return None
    return found if isinstance(found, dict) and end == len(text) else None


def sort_lines(stream: bytes) -> Said:
    reader = Status()
    for line in stream.split(b"\n"):
        reader.take(line)
    return reader.said()


def array(stream: bytes) -> list[Mapping[str, Any]]:
    """The one JSON array that ``snapshots`` prints, whatever stands before it; raises ValueError."""
    for line in stream.split(b"\n"):
        if line.startswith(b"["):
            found = json.loads(line)
            if isinstance(found, list):
                return found
    raise ValueError("restic printed no list")


def objects(stream: bytes) -> list[Mapping[str, Any]]:
    """The JSON objects in what ``find`` prints, with complaints standing between and right behind them."""
    text, decoder, at = stream.decode("utf-8", "replace"), json.JSONDecoder(), 0
    found = []
    while (at := text.find("{", at)) >= 0:
        try:
            each, at = decoder.raw_decode(text, at)
        except ValueError:
            at += 1
        else:
            found.append(each)
    return found


def document(stream: bytes) -> dict[str, Any]:
    """The one JSON object that ``cat`` prints over several lines; raises ValueError."""
    begin = stream.find(b"{")
    found = json.loads(stream[begin:]) if begin >= 0 else None
    if not isinstance(found, dict):
        raise ValueError("restic printed no object")
    return found


def panicked(errors: bytes) -> bool:
    return _PANIC.search(errors.decode("utf-8", "replace")) is not None


def complaint(errors: bytes, output: bytes = b"") -> str:
    """Why restic failed, in one line of its own words: never a stack of Go calls."""
    if panicked(errors):
        return "restic crashed"
    said = sort_lines(errors)
    fatal = said.of("exit_error") or sort_lines(output).of("exit_error")
    texts = [fatal[-1].get("message", "")] if fatal else []
    texts += [text for text in reversed(said.lines) if not _GO_FRAME.match(text)]
    texts += [error_message(each) for each in reversed(said.of("error"))]
    for text in texts:
        first = next((line for line in clean(text).split("\n") if line.strip()), "")
        if first:
            return first.removeprefix("Fatal: ").strip()[:500]
    return "it said nothing"


def clean(text: str) -> str:
    """Without Go stack frames and without anything a terminal would act on."""
    kept = [line for line in text.replace("\x1b[2K", "").split("\n") if not _GO_FRAME.match(line)]
    return "\n".join("".join(letter if letter.isprintable() else " " for letter in line) for line in kept)


def error_message(error: Mapping[str, Any]) -> str:
    """The text of an ``error`` object: ``check`` and ``backup`` shape it differently."""
    inner = error.get("error")
    if isinstance(inner, Mapping):
        return str(inner.get("message", ""))
    return str(error.get("message", ""))


def summary(said: Said, errors: Said, paths: Sequence[str]) -> BackupSummary | None:
    """The summary of a ``backup``; None where restic printed none. ``paths`` are those it was told."""
    found = said.of("summary")
    if not found:
        return None
    raw = found[-1]
    whole, anew, torn = _told_apart(errors)
    return BackupSummary(
        snapshot=raw.get("snapshot_id") or None,
        files=raw.get("total_files_processed", 0),
        bytes=raw.get("total_bytes_processed", 0),
        data_added=raw.get("data_added", 0),
        data_added_packed=raw.get("data_added_packed", 0),
        seconds=raw.get("total_duration", 0.0),
        unreadable=unreadable(whole, paths),
        anew=anew,
        torn=torn,
        raw=raw,
    )


def _told_apart(errors: Said) -> tuple[Said, tuple[str, ...], tuple[tuple[str, str], ...]]:
    """What is said of the sources; what of the snapshot before: the paths that were stored anew, and those that were not."""
    kept: list[Mapping[str, Any]] = []
    anew: set[str] = set()
    torn: dict[str, str] = {}
    for each in errors.objects:
        item, message = str(each.get("item", "")), error_message(each)
        if each.get("message_type") != "error" or not item:
            kept.append(each)
        elif _ANEW.search(message):
            anew.add(item)
        elif _TORN.search(message):
            torn.setdefault(item, _reason(message, item))
        else:
            kept.append(each)
    return Said(tuple(kept), errors.lines), tuple(sorted(anew)), tuple(sorted(torn.items()))


def unreadable(errors: Said, paths: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """(path, message) of what a backup could not read, each path once.

    restic names the same directory ``data/closed`` while it archives and ``/srv/data/closed`` while it scans.
    """
    found: dict[str, str] = {}
    for each in errors.of("error"):
        if item := str(each.get("item", "")):
            found.setdefault(item, _reason(error_message(each), item))
    for line in errors.lines:
        if match := _MISSING.match(line):
            found.setdefault(match["path"], "does not exist")
    absolute = {path for path in found if path.startswith("/")}
    kept: dict[str, str] = {}
    for path, message in found.items():
        if not path.startswith("/"):
            if any(other.endswith(f"/{path}") for other in absolute):
                continue
            path = next(
                (
                    os.path.join(os.path.dirname(base), path)
                    for base in paths
                    if path.split("/")[0] == os.path.basename(base)
                ),
                path,
            )
        kept.setdefault(path, message)
    return tuple(sorted(kept.items()))


def _reason(message: str, path: str) -> str:
    """``open /srv/x: permission denied`` → ``permission denied``."""
    return clean(message).replace("\n", " ").rpartition(f"{path}: ")[2]


def progress(status: Mapping[str, Any], what: str) -> Progress:
    """A ``status`` line of backup or restore; zero-valued fields are left out by restic."""
    done = status.get("bytes_done", status.get("bytes_restored", 0) + status.get("bytes_skipped", 0))
    total = status.get("total_bytes")
    left = status.get("seconds_remaining")
    elapsed = status.get("seconds_elapsed")
    if not total or total < done:
        left = None     # a dump's size is not known beforehand, and restic's estimate is then a wild number
    elif left is None and done and elapsed:
        left = elapsed * (total - done) / done
    return Progress(
        what=what,
        bytes_done=done,
        bytes_total=total or None,
        files_done=status.get("files_done", status.get("files_restored", 0)),
        files_total=status.get("total_files"),
        seconds_left=left,
    )


def node(raw: Mapping[str, Any]) -> Node:
    """One line of ``ls``."""
    return Node(
        raw["path"],
        raw.get("type", ""),
        raw.get("size", 0),
        raw.get("mode", 0),
        raw.get("uid", 0),
        raw.get("gid", 0),
        raw.get("mtime", ""),
        raw.get("inode", 0),
    )


def restore_errors(said: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Path to message of what a restore could not write."""
    found: dict[str, str] = {}
    for each in said:
        if each.get("message_type") == "error":
            found.setdefault(str(each.get("item") or ""), clean(error_message(each)).replace("\n", " "))
    return found


def command_failure(errors: Said) -> str | None:
    """How a command that restic ran for us failed; None where it was not the command."""
    for text in [error_message(each) for each in (*errors.of("error"), *errors.of("exit_error"))]:
        if match := re.search(r"command failed: (.+)$|failed to start command: (.+)$", text):
            return clean(match[1] or match[2])
    return None


def is_about_target(message: str) -> bool:
    """Whether a restore failed at the place it writes to, and not at the repository."""
    return _TARGET.search(message) is not None


def plain(stream: bytes) -> str:
    """A stream with the escapes of Go's JSON undone, to search in."""
    return stream.decode("utf-8", "replace").replace("\\u003c", "<").replace("\\u003e", ">")


def pattern(path: bytes) -> bytes:
    """An exact path as one of restic's patterns (Go's filepath.Match)."""
    return re.sub(rb"([\\*?\[])", rb"\\\1", path)
