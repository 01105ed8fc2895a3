"""Signed documents that live in a repository: their canonical form and their envelope."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import field
from typing import Any

import rfc8785

from opsctl.model.values import value

MANIFEST = "opsctl-manifest/1"
VERIFICATION = "opsctl-verification/1"
DRILL = "opsctl-drill/1"
FREEZE = "opsctl-freeze/1"
PRUNE = "opsctl-prune/1"
CHOICE = "opsctl-choice/1"
ROTATION = "opsctl-rotation/1"
INCIDENT = "opsctl-incident/1"

#: The ssh-keygen namespace that each kind of record is signed under: one per purpose, so that a signature
#: made for one can never stand under another.
NAMESPACES = {MANIFEST: "manifest@opsctl", VERIFICATION: "verification@opsctl", DRILL: "drill@opsctl",
              FREEZE: "freeze@opsctl", PRUNE: "prune@opsctl", CHOICE: "choice@opsctl", ROTATION: "rotation@opsctl",
              INCIDENT: "incident@opsctl"}


def canonical(record: Mapping[str, Any]) -> bytes:
    """RFC 8785 bytes, which are what is signed."""
    return rfc8785.dumps(dict(record))


def envelope(record: Mapping[str, Any], signature: str) -> bytes:
    """The stored form: the record with its signature, one line."""
    return canonical({"record": dict(record), "signature": signature}) + b"\n"


def open_envelope(content: bytes) -> tuple[dict[str, Any], str]:
    """The record and its signature; ValueError where it is no envelope of ours. Checks no signature."""
    found = json.loads(content)
    if not isinstance(found, dict) or set(found) != {"record", "signature"}:
        raise ValueError("not a signed record")
    record, signature = found["record"], found["signature"]
    if not isinstance(record, dict) or not isinstance(signature, str) or record.get("format") not in [*NAMESPACES]:
        raise ValueError("a record of a format that this version does not know")
    return record, signature


@value
class Record:
    """A record as found in a repository.

    ``signer`` is the SHA256 fingerprint of the key whose signature holds, None where none does; then ``problem``
    says why. ``snapshot`` is the id of the small snapshot that holds it.
    """

    snapshot: str
    record: Mapping[str, Any] = field(default_factory=dict)
    signer: str | None = None
    problem: str | None = None

    @property
    def format(self) -> str | None:
        return self.record.get("format")
