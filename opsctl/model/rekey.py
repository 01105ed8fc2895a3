"""A change of a host's pinned key as two people sign it: the request, its signed form, and whether it may be carried out. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import rfc8785

from opsctl.errors import DamagedData, Refused, SafetyRefusal
from opsctl.model.snapshots import parse_time

FORMAT = "opsctl-rekey/1"
NAMESPACE = "rekey@opsctl"
#: How many people have to sign, and for how long what they signed holds.
PEOPLE = 2
VALID = timedelta(days=1)
#: A request may be dated this much ahead of our clock: it can come from another machine.
_SKEW = timedelta(minutes=10)

_KEY = re.compile(r"[a-z0-9@.-]{1,64} [A-Za-z0-9+/=]{16,16384}")
_TEXT = ("host", "address", "old", "new", "nonce", "time", "expires")


@dataclass(frozen=True)
class Signed:
    """What one person put under a request. ``signer``: the fingerprint of the key that really signed it."""

    by: str
    signature: str
    signer: str | None = None


def request(*, host: str, address: str, port: int, old: str, new: str, nonce: str, now: datetime) -> dict[str, Any]:
    """The words that are signed. Keys as ``TYPE BASE64``."""
    return {"format": FORMAT, "host": host, "address": address, "port": port, "old": old, "new": new, "nonce": nonce,
            "time": now.isoformat(), "expires": (now + VALID).isoformat()}


def signed_bytes(asked: Mapping[str, Any], by: str) -> bytes:
    """RFC 8785 bytes of a request in one person's name, so that nobody's signature stands under another name."""
    return rfc8785.dumps({"by": by, "request": dict(asked)})


def read(raw: Any) -> tuple[dict[str, Any], list[Signed]]:
    """A request and its signatures as they stand in a file that anybody may have written. DamagedData where it is none."""
    asked = raw.get("request") if isinstance(raw, Mapping) else None
    signed = raw.get("signatures") if isinstance(raw, Mapping) else None
    if (
        not isinstance(asked, dict) or not isinstance(signed, list) or set(raw) != {"request", "signatures"}
        or set(asked) != {"format", "port", *_TEXT} or asked["format"] != FORMAT
        or not all(isinstance(asked[name], str) for name in _TEXT) or type(asked["port"]) is not int
        or not all(_KEY.fullmatch(asked[name]) for name in ("old", "new")) or not _moments(asked)
        or not all(isinstance(one, dict) and set(one) == {"by", "signature"}
                   and all(isinstance(word, str) for word in one.values()) for one in signed)
    ):
        raise DamagedData("this is no request to change a host's key", hint="opsctl hosts rekey HOST makes one")
    return asked, [Signed(one["by"], one["signature"]) for one in signed]


def refuse_stale(asked: Mapping[str, Any], *, host: str, address: str, port: int, pinned: str | None, now: datetime) -> None:
    """SafetyRefusal where a request is of another host, another place or another key, or its time is over."""
    begin_anew = "begin anew: opsctl hosts rekey HOST"
    if asked["host"] != host:
        raise SafetyRefusal(f"this is a request for {asked['host']}, not for {host}", where=host)
    if (asked["address"], asked["port"]) != (address, port):
        raise SafetyRefusal(f"{host} was at {asked['address']} port {asked['port']} when this was asked, and is at {address} "
                            f"port {port} now", where=host, hint=begin_anew)
    if asked["old"] != pinned:
        raise SafetyRefusal(f"the key that is pinned for {host} now is not the one that this would replace", where=host,
                            hint=begin_anew)
    if now >= parse_time(asked["expires"]):
        raise SafetyRefusal(f"the time of this request was over at {asked['expires']}", where=host, hint=begin_anew)
    if now < parse_time(asked["time"]) - _SKEW or parse_time(asked["expires"]) - parse_time(asked["time"]) > VALID:
        raise SafetyRefusal(f"this request is dated {asked['time']} and ends {asked['expires']}: no time of ours", where=host,
                            hint="are the clocks right?")


def weigh(signed: Sequence[Signed], keys: Mapping[str, str], host: str) -> list[str]:
    """The people whose signatures count. ``keys``: fingerprint of the key of each of ``people`` that has one.

    Refused (12) where one was made with a key that is not that person's, SafetyRefusal (23) where a person or a key
    stands there twice.
    """
    people: list[str] = []
    used: set[str] = set()
    for one in signed:
        if keys.get(one.by) is None:
            raise Refused(f"{one.by} signed the new key of {host} and has no ssh_key under `people`", where=host)
        if one.signer != keys[one.by]:
            raise Refused(f"what stands there in the name of {one.by} was signed by {one.signer}, which is not their key",
                          where=host, hint="find out who did that")
        if one.by in people or one.signer in used:
            raise SafetyRefusal(f"{one.by} signed the new key of {host} twice, or with the key of somebody else who signed: "
                                f"it takes {PEOPLE} people", where=host, hint="another person of `people` compares and signs")
        people.append(one.by)
        used.add(one.signer)
    return people


def _moments(asked: Mapping[str, Any]) -> bool:
    try:
        return all(parse_time(asked[name]) is not None for name in ("time", "expires"))
    except ValueError:
        return False
