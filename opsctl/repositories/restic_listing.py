"""What is in a snapshot, and what changed from one to another: streamed, whatever the number of files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from opsctl.model.snapshots import Node
from opsctl.repositories import restic_output
from opsctl.repositories.restic_calls import Calls
from opsctl.repositories.restic_failures import NO_LIMIT


def ls(caller: Calls, snapshot_id: str, words: Sequence[str]) -> Iterator[Node]:
    """The entries that ``restic ls`` lists, as they come; ``words`` say below which folders, and how deep."""
    caller.make_sure()
    session = caller.program.open(["ls", "--json", "--no-lock", *words])
    finished = False
    try:
        for line in session.stdout:
            raw = restic_output.parse_line(line)
            if raw is not None and raw.get("message_type", raw.get("struct_type")) == "node":
                yield restic_output.node(raw)
        finished = True
    finally:
        result = session.close() if finished else session.close(timeout=0)
    caller.program.shell.check()
    if result.code:
        raise caller.failure(f"list snapshot {snapshot_id[:8]}", result)


def diff(caller: Calls, before: str, after: str, take: Callable[[str, str], None]) -> Mapping[str, Any]:
    """As ``Repository.diff`` promises."""
    statistics: dict[str, Any] = {}

    def line(text: bytes) -> None:
        raw = restic_output.parse_line(text)
        if raw is None:
            return
        if raw.get("message_type") == "change":
            take(raw["path"], raw["modifier"])
        elif raw.get("message_type") == "statistics":
            statistics.update(raw)

    doing = f"compare snapshots {before[:8]} and {after[:8]}"
    result = caller.call(doing, ["diff", "--json", "--no-lock", before, after], timeout=NO_LIMIT, on_line=line)
    if not statistics:
        raise caller.failure(doing, result)
    return statistics
