"""A change of a host's pinned key as two people sign it: the request, its form, and whether it may be carried out. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from opsctl.errors import DamagedData, SafetyRefusal
from opsctl.model import two_people
from opsctl.model.snapshots import parse_time
from opsctl.model.two_people import Signed

FORMAT = "opsctl-rekey/1"
NAMESPACE = "rekey@opsctl"
#: For how long what people signed holds.
VALID = timedelta(days=1)
#: A request may be dated this much ahead of our clock: it can come from another machine.
_SKEW = timedelta(minutes=10)

_KEY = re.compile(r"[a-z0-9@.-]{1,64} [A-Za-z0-9+/=]{16,16384}")
_TEXT = ("host", "address", "old", "new", "nonce", "time", "expires")


def request(*, host: str, address: str, port: int, old: str, new: str, nonce: str, now: datetime) -> dict[str, Any]:
    """The words that are signed. Keys as ``TYPE BASE64``."""
    return {"format": FORMAT, "host": host, "address": address, "port": port, "old": old, "new": new, "nonce": nonce,
            "time": now.isoformat(), "expires": (now + VALID).isoformat()}


def read(raw: Any) -> tuple[dict[str, Any], list[Signed]]:
    """A request and its signatures as they stand in a file that anybody may have written. DamagedData where it is none."""
    what, hint = "change a host's key", "opsctl hosts rekey HOST makes one"
    asked, signed = two_people.read(raw, what, hint)
    if (
        set(asked) != {"format", "port", *_TEXT} or asked["format"] != FORMAT
        or not all(isinstance(asked[name], str) for name in _TEXT) or type(asked["port"]) is not int
        or not all(_KEY.fullmatch(asked[name]) for name in ("old", "new")) or not _moments(asked)
    ):
        raise DamagedData(f"this is no request to {what}", hint=hint)
    return asked, signed


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


def _moments(asked: Mapping[str, Any]) -> bool:
    try:
        return all(parse_time(asked[name]) is not None for name in ("time", "expires"))
    except ValueError:
        return False
