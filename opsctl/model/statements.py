"""What a person says about a step of a run, in the form that they sign."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import rfc8785

NAMESPACE = "done@opsctl"


def statement(*, run: str, step: str, by: str, note: str, plan: Mapping[str, Any], time: str,
              papers: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """The signed words: who says what about which step of exactly which plan. ``papers``: documents with it, ``name`` and ``sha256``."""
    return {"format": "opsctl-done/1", "run": run, "step": step, "by": by, "note": note,
            "plan_sha256": plan_digest(plan), "time": time, **({"papers": [dict(one) for one in papers]} if papers else {})}


def plan_digest(plan: Mapping[str, Any]) -> str:
    """SHA-256 of a bound plan. File names in it that are no UTF-8 count with their bytes written out (``\\udcff``)."""
    return hashlib.sha256(rfc8785.dumps(speakable(dict(plan)))).hexdigest()


def speakable(value: Any) -> Any:
    """The same with bytes of texts that are no UTF-8 written out."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, Mapping):
        return {key: speakable(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [speakable(inner) for inner in value]
    return value


def signed_bytes(said: Mapping[str, Any]) -> bytes:
    """RFC 8785 bytes of a statement."""
    return rfc8785.dumps(dict(said))
