"""Who may approve, as one thing that is accepted, compared and changed by two who are in it. Pure."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import rfc8785

from opsctl.errors import DamagedData, SafetyRefusal
from opsctl.model import two_people
from opsctl.model.quantities import counted
from opsctl.model.snapshots import parse_time
from opsctl.model.two_people import Signed

FORMAT = "opsctl-people/1"
NAMESPACE = "people@opsctl"
#: For how long what people signed holds.
VALID = timedelta(days=1)
_SKEW = timedelta(minutes=10)

Roll = Mapping[str, Mapping[str, Any]]
"""By short name: ``name``, ``roles`` (sorted), ``ssh_key`` (``TYPE BASE64`` or None), ``deputy_of`` (or None)."""

_CHANGED = {"name": "has another name", "ssh_key": "has another key", "roles": "has other roles", "deputy_of": "stands in for another"}
_TEXT = ("format", "nonce", "time", "expires")


def roll_of(people: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What of the configured people decides who may sign for what: not their telephone numbers, nor a key's comment."""
    return {name: {"name": one.name, "roles": sorted(set(one.roles)), "deputy_of": one.deputy_of,
                   "ssh_key": " ".join(one.ssh_key.split()[:2]) if one.ssh_key else None}
            for name, one in people.items()}


def fingerprint(roll: Roll) -> str:
    """``SHA256:…`` of all of them, whatever their order in the file."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(rfc8785.dumps({"people": roll})).digest()).decode().rstrip("=")


def changes(old: Roll, new: Roll) -> list[str]:
    """What differs, a sentence for each person and thing."""
    found = [f"{name} is no longer there" for name in old if name not in new]
    for name, one in new.items():
        before = old.get(name)
        if before is None:
            found.append(f"{name} is new{_roles(one)}")
            continue
        found += [f"{name} {words}: {_plainly(one[key])}, not {_plainly(before[key])}"
                  for key, words in _CHANGED.items() if one[key] != before[key]]
    return found


def _roles(one: Mapping[str, Any]) -> str:
    return f", with {', '.join(one['roles'])}" if one["roles"] else ", without a role"


def _plainly(found: Any) -> str:
    if isinstance(found, list):
        return ", ".join(found) or "none"
    return str(found) if found is not None else "none"


def signing(roll: Roll) -> list[str]:
    """Those who can sign at all."""
    return [name for name, one in roll.items() if one["ssh_key"]]


def keys(roll: Roll) -> int:
    """How many different keys there are: one key is one person, whoever has it."""
    return len({one["ssh_key"] for one in roll.values()} - {None})


def needed(accepted: Roll, ever: int = 0) -> int:
    """How many of the accepted people have to sign a change: two; where there never was more than one key, its owner alone.

    ``ever``: the most keys that any people had who were accepted here.
    """
    return min(two_people.PEOPLE, max(ever, keys(accepted)))


def refuse_fewer(accepted: Roll, new: Roll, ever: int = 0) -> None:
    """SafetyRefusal where after a change only one could sign, and before it two: that one would name the others alone."""
    if needed(accepted, ever) == two_people.PEOPLE > keys(new):
        raise SafetyRefusal(f"with this change {counted(keys(new), 'key')} would be left, whose owner could let anybody in; it took two people before",
                            where="people", hint="put somebody else's key in the place of the one that goes, in the same change")


def request(*, old: Roll, new: Roll, nonce: str, now: datetime) -> dict[str, Any]:
    """The words that are signed."""
    return {"format": FORMAT, "old": dict(old), "new": dict(new), "nonce": nonce, "time": now.isoformat(),
            "expires": (now + VALID).isoformat()}


def read(raw: Any) -> tuple[dict[str, Any], list[Signed]]:
    """A request and its signatures as they stand in a file that anybody may have written. DamagedData where it is none."""
    what, hint = "change the people", "opsctl people change makes one"
    asked, signed = two_people.read(raw, what, hint)
    if (
        set(asked) != {"old", "new", *_TEXT} or asked["format"] != FORMAT
        or not all(isinstance(asked[name], str) for name in _TEXT) or not all(is_roll(asked[name]) for name in ("old", "new"))
        or not _moments(asked)
    ):
        raise DamagedData(f"this is no request to {what}", hint=hint)
    return asked, signed


def refuse_stale(asked: Mapping[str, Any], *, accepted: Roll, configured: Roll, now: datetime) -> None:
    """SafetyRefusal where a request is not about these people, or its time is over."""
    if asked["old"] != accepted:
        raise SafetyRefusal("the people that are accepted now are not the ones that this request would replace")
    if asked["new"] != configured:
        raise SafetyRefusal(f"the configuration has other people than this request: {_first(changes(asked['new'], configured))}")
    if now >= parse_time(asked["expires"]):
        raise SafetyRefusal(f"the time of this request was over at {asked['expires']}")
    if now < parse_time(asked["time"]) - _SKEW or parse_time(asked["expires"]) - parse_time(asked["time"]) > VALID:
        raise SafetyRefusal(f"this request is dated {asked['time']} and ends {asked['expires']}: no time of ours")


def _first(found: Sequence[str]) -> str:
    return "; ".join(found[:5]) + (f"; and {len(found) - 5} more" if len(found) > 5 else "")


def differ(accepted: Roll, configured: Roll) -> str | None:
    """Why the configured people are not the accepted ones; None where they are."""
    found = changes(accepted, configured)
    return _first(found) if found else None


def is_roll(found: Any) -> bool:
    """Whether something that anybody may have written has the shape of a roll."""
    return isinstance(found, dict) and all(
        isinstance(one, dict) and set(one) == set(_CHANGED) and isinstance(one["name"], str) and isinstance(one["roles"], list)
        and all(isinstance(role, str) for role in one["roles"])
        and all(one[key] is None or isinstance(one[key], str) for key in ("ssh_key", "deputy_of")) for one in found.values())


def _moments(asked: Mapping[str, Any]) -> bool:
    try:
        return all(parse_time(asked[name]) is not None for name in ("time", "expires"))
    except ValueError:
        return False
