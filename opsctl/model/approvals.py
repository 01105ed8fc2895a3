"""What people sign who approve a step of a run, and which of their signatures count. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from opsctl.errors import OpsError, Refused, SafetyRefusal
from opsctl.model.snapshots import parse_time
from opsctl.model.values import value

FORMAT = "opsctl-approve/1"
REQUEST = "opsctl-approve-request/1"
NAMESPACE = "approve@opsctl"
APPROVE, REFUSE = "approve", "refuse"
#: Times of another machine may be ahead of ours by this much.
_SKEW = timedelta(minutes=10)

_SAME = ("run", "step", "plan_sha256", "incident", "repository", "nonce")
_ASKED = {"format", "time", "term", *_SAME}
_SIGNED = {"format", "by", "decision", "note", "time", "expires", *_SAME}


@value
class Member:
    """One of ``people``: their roles, the fingerprint of their key, and whom they stand in for."""

    roles: tuple[str, ...] = ()
    key: str | None = None
    deputy_of: str | None = None


@value
class Wanted:
    """What a gate asks for. ``asked``: the request as it was made when the gate first waited.

    ``starter``: who of ``people`` started the run, None where that is nobody there. ``term``: the longest that a signature holds.
    """

    asked: Mapping[str, Any]
    term: timedelta
    people: int = 2
    role: str | None = None  # none, or an empty one: anybody with a key
    not_starter: bool = False
    starter: str | None = None

    @property
    def needed(self) -> int:
        """How many have to approve. Where the starter must not count and may be any of them, one more."""
        return self.people + (self.not_starter and self.starter is None)


@value
class Signed:
    """A statement and the fingerprint of the key that signed it; None where the signature does not hold, and ``why``."""

    statement: Mapping[str, Any]
    signer: str | None
    why: str = ""


@value
class Voice:
    """One person's word. ``seat`` is the person whose role they act in: their own name, or that of whom they stand in for."""

    by: str
    seat: str
    key: str
    note: str
    time: str
    expires: str

    @property
    def words(self) -> str:
        return self.by if self.seat == self.by else f"{self.by} (for {self.seat})"


@value
class Standing:
    """How a gate stands: who approved, who refused, and what does not count, with the reason.

    ``forged``: records that nobody under ``people`` has signed like this.
    """

    approved: tuple[Voice, ...] = ()
    refused: tuple[Voice, ...] = ()
    not_counted: tuple[str, ...] = ()
    forged: tuple[str, ...] = ()


def request(
    *, run: str, step: str, plan_sha256: str, incident: str, repository: str, nonce: str, now: datetime, term: timedelta
) -> dict[str, Any]:
    """What a gate asks people to sign. ``term`` is written in seconds; ``repository`` is the id of one, or empty."""
    return {"format": REQUEST, "run": run, "step": step, "plan_sha256": plan_sha256, "incident": incident,
            "repository": repository, "nonce": nonce, "time": now.isoformat(timespec="seconds"), "term": int(term.total_seconds())}


def statement(asked: Mapping[str, Any], *, by: str, decision: str, note: str, now: datetime) -> dict[str, Any]:
    """The words that one person signs, for exactly this request; they hold for its term from now."""
    expires = now + timedelta(seconds=asked["term"])
    return {"format": FORMAT, **{name: asked[name] for name in _SAME}, "by": by, "decision": decision, "note": note,
            "time": now.isoformat(timespec="seconds"), "expires": expires.isoformat(timespec="seconds")}


def well_asked(asked: Any) -> bool:
    """Whether something that anybody may have written has the shape of a request."""
    return (isinstance(asked, Mapping) and set(asked) == _ASKED and asked["format"] == REQUEST
            and type(asked["term"]) is int and 0 < asked["term"] <= 366 * 86400
            and all(isinstance(asked[name], str) for name in (*_SAME, "time")) and _moment(asked["time"]) is not None)


def well_said(said: Any) -> bool:
    """The same of a statement."""
    return (isinstance(said, Mapping) and set(said) == _SIGNED and said["format"] == FORMAT
            and all(isinstance(text, str) for text in said.values()) and said["decision"] in (APPROVE, REFUSE)
            and _moment(said["time"]) is not None and _moment(said["expires"]) is not None)


def problem(signed: Signed, wanted: Wanted, known: Mapping[str, Member], now: datetime) -> OpsError | None:
    """Why one signature does not count: Refused (12) where it is not that person's, SafetyRefusal (23) where a rule says no."""
    said = signed.statement
    if not well_said(said):
        return Refused("this is no approval that this version can read")
    by = said["by"]
    member = known.get(by)
    if member is None or member.key is None:
        return Refused(f"{by}: nobody of that name has a key under `people`",
                       hint="who may approve stands under people: with ssh_key")
    if signed.signer is None:
        return Refused(f"{by}: {signed.why or 'the signature does not hold'}")
    if signed.signer != member.key:
        return Refused(f"{by}: signed by {signed.signer}, which is not their key", hint="--key with the right key")
    why = _another(said, wanted.asked) or _not_theirs(said, member, wanted, known) or _not_now(said, wanted, now)
    return SafetyRefusal(f"{by}: {why}", where=said["step"]) if why else None


def _another(said: Mapping[str, Any], asked: Mapping[str, Any]) -> str | None:
    if (said["run"], said["step"]) != (asked["run"], asked["step"]):
        return f"signed for step {said['step']} of run {said['run']}"
    if said["plan_sha256"] != asked["plan_sha256"]:
        return "signed for another plan"
    if said["incident"] != asked["incident"]:
        return f"signed for {'incident ' + said['incident'] if said['incident'] else 'no incident'}"
    if said["repository"] != asked["repository"]:
        return "signed for another repository"
    return "signed for another request of this run" if said["nonce"] != asked["nonce"] else None


def _not_theirs(said: Mapping[str, Any], member: Member, wanted: Wanted, known: Mapping[str, Member]) -> str | None:
    if _seat(said["by"], member, wanted.role, known) is None:
        return f"has not the role {wanted.role}, nor stands in for one who has"
    if wanted.not_starter and said["decision"] == APPROVE and said["by"] == wanted.starter:
        return "started this run, and does not count for this step"
    return None


def _not_now(said: Mapping[str, Any], wanted: Wanted, now: datetime) -> str | None:
    """A refusal stands until it is withdrawn; an approval for its term."""
    at, end = parse_time(said["time"]), parse_time(said["expires"])
    if at > now + _SKEW or at < parse_time(wanted.asked["time"]) - _SKEW:
        return f"signed at {said['time']}, which is {'not yet' if at > now else 'before it was asked'}: are the clocks right?"
    if said["decision"] == REFUSE:
        return None
    return f"the signature is old: it held until {_until(at, end, wanted.term).isoformat()}" if now >= _until(at, end, wanted.term) else None


def _until(at: datetime, end: datetime, term: timedelta) -> datetime:
    return min(end, at + term)


def _seat(by: str, member: Member, role: str | None, known: Mapping[str, Member]) -> str | None:
    if not role or role in member.roles:
        return by
    other = known.get(member.deputy_of) if member.deputy_of else None
    return member.deputy_of if other is not None and role in other.roles else None


def weigh(records: Sequence[Signed], wanted: Wanted, known: Mapping[str, Member], now: datetime) -> Standing:
    """What all signatures together come to. Of several of one person the latest counts, of two at one time a refusal.

    A person counts once, and so does a key, and a person together with those who act for nobody but them.
    """
    not_counted: list[str] = []
    forged: list[str] = []
    last: dict[str, Signed] = {}
    for one in sorted(records, key=_when):
        found = problem(one, wanted, known, now)
        if found is None:
            last[one.statement["by"]] = one
        else:
            (forged if isinstance(found, Refused) else not_counted).append(found.message)
    approved: list[Voice] = []
    refused: list[Voice] = []
    for one in last.values():
        voice = _voice(one, wanted, known)
        if one.statement["decision"] == REFUSE:
            refused.append(voice)
        elif why := already(voice, approved):
            not_counted.append(why)
        else:
            approved.append(voice)
    return Standing(tuple(approved), tuple(refused), tuple(dict.fromkeys(not_counted)), tuple(dict.fromkeys(forged)))


def voice_of(signed: Signed, wanted: Wanted, known: Mapping[str, Member], now: datetime) -> Voice:
    """One signature that counts. Raises what ``problem`` finds."""
    found = problem(signed, wanted, known, now)
    if found is not None:
        raise found
    return _voice(signed, wanted, known)


def already(voice: Voice, approved: Sequence[Voice]) -> str | None:
    """Why a voice adds nothing to those that are there."""
    for other in approved:
        if other.by == voice.by:
            return f"{voice.by}: has approved already, and one person counts once"
        if other.key == voice.key:
            return f"{voice.by}: signed with the key of {other.by}, who has approved already"
        if other.seat == voice.seat:
            return f"{voice.words}: {other.words} has approved already, and a person and who stands in for them count as one"
    return None


def may(wanted: Wanted, known: Mapping[str, Member]) -> list[str]:
    """Who could approve, in words: those with a key who have the role or stand in for one who has."""
    found = []
    for name, member in known.items():
        seat = _seat(name, member, wanted.role, known)
        if seat is not None and member.key is not None and not (wanted.not_starter and name == wanted.starter):
            found.append(name if seat == name else f"{name} (for {seat})")
    return found


def able(wanted: Wanted, known: Mapping[str, Member]) -> int:
    """How many could approve at all: by role, key and seat."""
    seats = {_seat(name, member, wanted.role, known): member.key for name, member in known.items()
             if member.key is not None and not (wanted.not_starter and name == wanted.starter)}
    return min(len(seats.keys() - {None}), len({key for seat, key in seats.items() if seat is not None}))


def signers(known: Mapping[str, Member]) -> int:
    """How many different people can sign at all."""
    return len({member.key for member in known.values()} - {None})


def _voice(signed: Signed, wanted: Wanted, known: Mapping[str, Member]) -> Voice:
    said = signed.statement
    seat = _seat(said["by"], known[said["by"]], wanted.role, known)
    until = _until(parse_time(said["time"]), parse_time(said["expires"]), wanted.term)
    return Voice(said["by"], str(seat), str(signed.signer), said["note"], said["time"], until.isoformat())


def _when(signed: Signed) -> tuple[float, bool]:
    at = _moment(signed.statement.get("time")) if isinstance(signed.statement, Mapping) else None
    return (at.timestamp() if at else 0.0, well_said(signed.statement) and signed.statement["decision"] == REFUSE)


def _moment(text: Any) -> datetime | None:
    try:
        return parse_time(text)
    except (ValueError, TypeError, AttributeError):
        return None
