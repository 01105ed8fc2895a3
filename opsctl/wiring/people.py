"""The people that were accepted: pinned in the state directory and in the journal, held against the configuration."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from opsctl.errors import DamagedData, OpsError, SafetyRefusal
from opsctl.model.approvals import Member
from opsctl.model.people import (
    NAMESPACE,
    Roll,
    differ,
    fingerprint,
    is_roll,
    keys,
    needed,
    refuse_fewer,
    roll_of,
    signing,
)
from opsctl.model.two_people import Signed, signed_bytes, weigh
from opsctl.model.values import value
from opsctl.repositories.whole import write_whole
from opsctl.wiring.site import Site

_TYPE, _FILE = "people.accepted", "people.json"
#: How people came to be accepted: by two of those before them, at the first use, or by the fingerprint in the kit.
SIGNED, FIRST, BY_FINGERPRINT = "signed", "first use", "fingerprint"
HINT = "two of those who were accepted sign the change: opsctl people change"


@value
class Accepted:
    """Who was accepted last. ``ever``: the most keys that any before them had; ``alone``: who let them in on their own word."""

    people: Roll | None = None
    ever: int = 0
    alone: str | None = None


def members(site: Site) -> Mapping[str, Member]:
    """Who may sign, with the fingerprints of their keys. SafetyRefusal where the configuration has others than were accepted."""
    refuse_changed(site)
    return {name: Member(person.roles, site.fingerprint(person.ssh_key) if person.ssh_key else None, person.deputy_of)
            for name, person in site.config.people.items()}


def refuse_changed(site: Site) -> None:
    """SafetyRefusal, naming who changed, where the configuration has other people than were accepted."""
    known = accepted(site)
    why = differ(known, roll_of(site.config.people)) if known is not None else None
    if why:
        raise SafetyRefusal(f"the people in the configuration are not the ones that were accepted: {why}", where="people", hint=HINT)


def accepted(site: Site) -> Roll | None:
    """The people that were accepted last, None where none ever were. DamagedData where that cannot be read.

    The journal tells; where it does not (any more), the file beside it. With --break-glass what can be read of both counts.
    What was accepted first holds, whatever a spool that was adopted since accepted for itself, until a change of it was signed.
    """
    return standing(site).people


def standing(site: Site) -> Accepted:
    """As ``accepted``, with what is to be known of them."""
    found = Accepted()
    for entry in site.journal.read(types=(_TYPE,)):
        if found.people is None:
            found = Accepted(entry.data["people"], keys(entry.data["people"]))
        elif entry.data["how"] == SIGNED and entry.data["request"]["old"] == found.people:
            found = _signed(site, entry.data, found)
    if found.people is not None:
        return found
    kept = _kept(site)
    return Accepted(kept, keys(kept)) if kept is not None else found


def _kept(site: Site) -> Roll | None:
    """The people in the file; None where there is none."""
    for place in dict.fromkeys((site.state, site.place)):
        try:
            found = json.loads((place / _FILE).read_text())["people"]
            if not is_roll(found):
                raise ValueError("these are no people")
            return found
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, ValueError, KeyError, TypeError) as error:
            if site.place == site.state:
                raise DamagedData(f"{place / _FILE}, which holds who was accepted, cannot be read: {error}", where=str(place / _FILE),
                                  hint="move it away and accept them by the fingerprint in the kit: opsctl people accept") from error
    return None


def _signed(site: Site, data: Mapping[str, Any], before: Accepted) -> Accepted:
    """The people of a change that those who were accepted signed. DamagedData where they did not."""
    last = before.people or {}
    enough = needed(last, before.ever)
    signed = [Signed(one["by"], one["signature"]) for one in data["signatures"]]
    try:
        theirs = {name: site.fingerprint(one["ssh_key"]) for name, one in last.items() if one["ssh_key"]}
        people = weigh(checked(site, data["request"], signed, NAMESPACE, "people"), theirs, "a change of the people", needed=enough)
        refuse_fewer(last, data["people"], before.ever)
    except OpsError as error:
        raise DamagedData(f"the journal has a change of the people that was not signed as it says: {error.message}", where="people",
                          hint="find out who wrote that: opsctl journal verify") from error
    if len(people) < enough or data["people"] != data["request"]["new"]:
        raise DamagedData("the journal has a change of the people that too few have signed", where="people",
                          hint="find out who wrote that: opsctl journal verify")
    return Accepted(data["people"], max(before.ever, keys(data["people"])), people[0] if len(people) == 1 else None)


def checked(site: Site, asked: Mapping[str, Any], signed: Sequence[Signed], namespace: str, where: str) -> list[Signed]:
    """Each with the key that really signed it. DamagedData where one does not hold for exactly this request."""
    found = []
    for one in signed:
        try:
            signer = site.signatures.check(signed_bytes(asked, one.by), one.signature, namespace)
        except DamagedData as error:
            raise DamagedData(f"the signature of {one.by} does not hold for this request: {error.message}", where=where,
                              hint="it was made for another one, or the request was changed since; nothing was written") from error
        found.append(replace(one, signer=signer))
    return found


def accept(site: Site, how: str, more: Mapping[str, Any]) -> str:
    """Accept the people of the configuration; their fingerprint. ``how`` and ``more`` are written down with them."""
    roll = roll_of(site.config.people)
    found = fingerprint(roll)
    site.journal.append(_TYPE, {"people": roll, "fingerprint": found, "how": how, **more})
    write_whole(site.place / _FILE, json.dumps({"people": roll, "fingerprint": found}, indent=1).encode() + b"\n")
    return found


def accept_first(site: Site) -> None:
    """Accept those who can sign when they are needed for the first time, and say so to whoever is there."""
    roll = roll_of(site.config.people)
    if not signing(roll) or accepted(site) is not None:
        return
    found = accept(site, FIRST, {})
    site.notes.append(f"PEOPLE ACCEPTED for the first time: {', '.join(signing(roll))} may sign. All of them have the fingerprint "
                      f"{found}: is that the one in the emergency kit? From now on a change takes two of them")
