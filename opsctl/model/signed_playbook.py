"""What a person signs who vouches for a playbook, and whose signatures count for its file as it is. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from opsctl.errors import DamagedData, Refused, SafetyRefusal
from opsctl.model.approvals import Member, Signed

FORMAT = "opsctl-playbook/1"
NAMESPACE = "playbook@opsctl"

_SIGNED = {"format", "playbook", "sha256", "by", "time"}


def statement(*, playbook: str, sha256: str, by: str, time: str) -> dict[str, Any]:
    """The signed words: who vouches for exactly which file of that name."""
    return {"format": FORMAT, "playbook": playbook, "sha256": sha256, "by": by, "time": time}


def read(raw: Any, where: str) -> list[dict[str, Any]]:
    """The statements with their signatures out of a file that anybody may have written. DamagedData where it is none."""
    if not isinstance(raw, list) or not all(
            isinstance(one, dict) and set(one) == {"statement", "signature"} and isinstance(one["signature"], str)
            and isinstance(one["statement"], dict) and set(one["statement"]) == _SIGNED
            and all(isinstance(word, str) for word in one["statement"].values()) and one["statement"]["format"] == FORMAT
            for one in raw):
        raise DamagedData(f"{where} holds no signatures of a playbook", where=where, hint="remove it, and sign the playbook again")
    return raw


def weigh(signed: Sequence[Signed], known: Mapping[str, Member], *, playbook: str, sha256: str) -> list[str]:
    """Those whose signatures count for the file, one person and one key once.

    Refused (12) where one was made with another key than that person's, SafetyRefusal (23) where the file was changed since.
    """
    people: dict[str, str] = {}
    for one in signed:
        by, member = one.statement["by"], known.get(one.statement["by"])
        if member is None or member.key is None:
            raise Refused(f"playbook {playbook} is signed by {by}, and nobody of that name has a key under `people`", where=playbook)
        if one.signer != member.key:
            raise Refused(f"playbook {playbook}: what stands there in the name of {by} "
                          + (f"was signed by {one.signer}, which is not their key" if one.signer else one.why), where=playbook,
                          hint="find out who did that, look at the playbook, and sign it again")
        if (one.statement["playbook"], one.statement["sha256"]) != (playbook, sha256):
            raise SafetyRefusal(f"playbook {playbook} was changed since {by} signed it at {one.statement['time']}", where=playbook,
                                hint=f"look at what changed; then opsctl playbooks sign {playbook} --by NAME")
        people[member.key] = by
    return list(people.values())
