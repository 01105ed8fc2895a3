"""A request that takes two people: the form in which each signs it, and whose signatures count. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import rfc8785

from opsctl.errors import DamagedData, Refused, SafetyRefusal

PEOPLE = 2


@dataclass(frozen=True)
class Signed:
    """What one person put under a request. ``signer``: the fingerprint of the key that really signed it."""

    by: str
    signature: str
    signer: str | None = None


def signed_bytes(asked: Mapping[str, Any], by: str) -> bytes:
    """RFC 8785 bytes of a request in one person's name, so that nobody's signature stands under another name."""
    return rfc8785.dumps({"by": by, "request": dict(asked)})


def read(raw: Any, what: str, hint: str) -> tuple[dict[str, Any], list[Signed]]:
    """A request, of any content, and its signatures out of a file that anybody may have written. DamagedData where it is none."""
    asked = raw.get("request") if isinstance(raw, Mapping) else None
    signed = raw.get("signatures") if isinstance(raw, Mapping) else None
    if (
        not isinstance(asked, dict) or not isinstance(signed, list) or set(raw) != {"request", "signatures"}
        or not all(isinstance(one, dict) and set(one) == {"by", "signature"}
                   and all(isinstance(word, str) for word in one.values()) for one in signed)
    ):
        raise DamagedData(f"this is no request to {what}", hint=hint)
    return asked, [Signed(one["by"], one["signature"]) for one in signed]


def weigh(signed: Sequence[Signed], keys: Mapping[str, str], what: str, where: str | None = None, *, needed: int = PEOPLE) -> list[str]:
    """The people whose signatures under ``what`` count. ``keys``: fingerprint of the key of each of ``people`` that has one.

    Refused (12) where one was made with a key that is not that person's, SafetyRefusal (23) where a person or a key
    stands there twice.
    """
    people: list[str] = []
    used: set[str] = set()
    for one in signed:
        if keys.get(one.by) is None:
            raise Refused(f"{one.by} signed {what} and has no ssh_key under `people`", where=where)
        if one.signer != keys[one.by]:
            raise Refused(f"what stands there in the name of {one.by} was signed by {one.signer}, which is not their key",
                          where=where, hint="find out who did that")
        if one.by in people or one.signer in used:
            raise SafetyRefusal(f"{one.by} signed {what} twice, or with the key of somebody else who signed: "
                                f"it takes {needed} people", where=where, hint="another person of `people` compares and signs")
        people.append(one.by)
        used.add(one.signer)
    return people
