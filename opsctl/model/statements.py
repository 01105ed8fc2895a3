"""What a person says about a step of a run, in the form that they sign."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import rfc8785

NAMESPACE = "done@opsctl"


def statement(*, run: str, step: str, by: str, note: str, plan: Mapping[str, Any], time: str) -> dict[str, Any]:
    """The signed words: who says what about which step of exactly which plan."""
    digest = hashlib.sha256(rfc8785.dumps(dict(plan))).hexdigest()
    return {"format": "opsctl-done/1", "run": run, "step": step, "by": by, "note": note, "plan_sha256": digest,
            "time": time}


def signed_bytes(said: Mapping[str, Any]) -> bytes:
    """RFC 8785 bytes of a statement."""
    return rfc8785.dumps(dict(said))
