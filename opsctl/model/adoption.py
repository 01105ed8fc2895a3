"""What a person signs who takes the journal of break-glass runs in."""

from __future__ import annotations

from typing import Any

NAMESPACE = "adopt@opsctl"


def statement(*, sha256: str, lines: int, after: int, first: str, last: str, since: str, until: str, by: str, time: str) -> dict[str, Any]:
    """The signed words: a spool by its hash; of its ``lines`` those after the first ``after`` are taken in, the rest was before."""
    return {"format": "opsctl-adopt/1", "sha256": sha256, "lines": lines, "after": after, "first": first, "last": last,
            "since": since, "until": until, "by": by, "time": time}
