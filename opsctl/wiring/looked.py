"""What people said of suspect sets, as far as they signed it: that one is innocent rests on somebody's key, that it is an attack on anybody's word."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from opsctl.errors import DamagedData, OpsError, SafetyRefusal
from opsctl.model.approvals import Member, signers
from opsctl.model.points import ATTACK, INNOCENT, Looked
from opsctl.model.statements import signed_bytes
from opsctl.wiring.people import members
from opsctl.wiring.site import Site

ENTRY = "signals.looked"
NAMESPACE = "looked@opsctl"
_FORMAT = "opsctl-looked/1"
_SIGNED = ("backup", "set", "word", "by", "time", "note")


def statement(said: Mapping[str, Any]) -> dict[str, Any]:
    """What is signed of one word, so that nobody puts it into another mouth or on another set."""
    return {"format": _FORMAT, **{name: said[name] for name in _SIGNED}}


def write(site: Site, said: Mapping[str, Any]) -> None:
    """Keep a word for good in the journal, and in the catalogue, where it outlives a journal that is lost."""
    before = _records(site.catalogue.looked(said["backup"]).get(said["set"]))
    site.journal.append(ENTRY, dict(said))
    site.catalogue.put_looked(said["backup"], said["set"], {**said, "before": before})


def said_of(site: Site, backup: str) -> dict[str, Looked]:
    """What people said of the sets of a backup, by set: by the journal, and by the catalogue where that is not to be had."""
    found = {name: _records(row) for name, row in site.catalogue.looked(backup).items()}
    written: dict[str, list[Mapping[str, Any]]] = {}
    with contextlib.suppress(OpsError):
        for entry in site.journal.read(types=(ENTRY,)):
            if entry.data.get("backup") == backup:
                written.setdefault(entry.data["set"], []).append(entry.data)
    found |= written
    if not found:
        return {}
    known = known_members(site)
    needed = 2 if site.incidents.earnest() else 1
    return {name: _weighed(site, records, known, needed) for name, records in found.items()}


def known_members(site: Site) -> Mapping[str, Member] | None:
    """Who could have signed; None where nobody under ``people`` has a key, and a word is all that there is."""
    if not any(person.ssh_key for person in site.config.people.values()):
        return None
    try:
        found = members(site)
    except SafetyRefusal:  # others than were accepted: whoever they are, nothing of theirs counts
        return {}
    return found if signers(found) else None


def _records(row: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    return [*row.get("before", ()), {key: value for key, value in row.items() if key != "before"}] if row else []


def _weighed(site: Site, records: Sequence[Mapping[str, Any]], known: Mapping[str, Member] | None, needed: int) -> Looked:
    """What the words about one set come to, oldest first: the last one decides, and of those that call it innocent each person counts once."""
    voices: dict[str, str] = {}
    for one in records:
        if one["word"] == ATTACK:
            voices = {}
        elif known is None:
            voices = {one["by"]: one["by"]}
        elif (key := _signer(site, one, known)) is not None and key not in voices:
            voices[key] = one["by"]
    last = records[-1]
    if last["word"] == ATTACK:
        return Looked(ATTACK, last["by"], last["time"], last.get("note", ""))
    by = " and ".join(voices.values()) or last["by"]
    unsigned = known is None or not voices
    missing = 0 if known is None else max(0, needed - len(voices))
    return Looked(INNOCENT, f"{by} (unsigned)" if unsigned else by, last["time"], last.get("note", ""), missing)


def _signer(site: Site, said: Mapping[str, Any], known: Mapping[str, Member]) -> str | None:
    """The key that signed this, where it is that person's."""
    member = known.get(said["by"])
    if member is None or "signature" not in said:
        return None
    try:
        signer = site.signatures.check(signed_bytes(statement(said)), said["signature"], NAMESPACE)
    except DamagedData:
        return None
    return signer if signer == member.key else None
