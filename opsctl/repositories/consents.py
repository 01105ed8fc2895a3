"""Which records in a repository stand on the word of several people: thaws, prunes and choices, checked anew on every machine."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol

from opsctl.errors import DamagedData, OpsError, SafetyRefusal
from opsctl.model.approvals import NAMESPACE, Member, Signed
from opsctl.model.choices import Choice
from opsctl.model.consent import Consent, Fits, agreed
from opsctl.model.freezes import THAWED, Freeze, open_freezes
from opsctl.model.records import CHOICE, FREEZE, PRUNE, ROTATION, Record
from opsctl.model.snapshots import Finding, parse_time
from opsctl.model.statements import signed_bytes
from opsctl.model.values import value


class Checks(Protocol):
    """Tells which key signed; whose it is, and who may, is decided here."""

    def check(self, data: bytes, signature: str, namespace: str) -> str: ...


@value
class Prune:
    """One prune that people agreed to. ``forgotten``: of each set its id, its manifest and its snapshots by source.

    ``bytes``: what the store held before it.
    """

    record: str
    run: str
    backup: str
    people: tuple[str, ...]
    forgotten: tuple[Mapping[str, Any], ...]
    accepted: tuple[str, ...]
    bytes: int

    @property
    def ids(self) -> frozenset[str]:
        """The snapshots that are given up."""
        return frozenset(name for one in self.forgotten for name in (one["manifest"], *one["snapshots"].values()) if name)

    @property
    def words(self) -> str:
        return f"given up by prune {self.run}, to which {' and '.join(self.people)} agreed; not a backup any more"


@value
class Agreements:
    """What records of freezes, thaws, prunes and choices come to. ``findings``: those that nobody agreed to, which is grave.

    ``claimed``: snapshots that a controller which is trusted calls pruned, on a machine that knows no people who could say so.
    """

    freezes: tuple[Freeze, ...] = ()
    prunes: tuple[Prune, ...] = ()
    findings: tuple[Finding, ...] = ()
    choices: tuple[Choice, ...] = ()
    claimed: frozenset[str] = frozenset()

    @property
    def forgotten(self) -> Mapping[str, str]:
        """Every snapshot that is given up, with the sentence for it."""
        return {name: prune.words for prune in self.prunes for name in prune.ids}


class Consents:
    """Holds records against the people of this machine's configuration; each is checked once a process."""

    def __init__(self, people: Callable[[], Mapping[str, Member]], signatures: Checks, trusted: Collection[str]) -> None:
        self._people = people
        self._signatures = signatures
        self._trusted = trusted
        self._known: dict[str, tuple[str, ...] | str] = {}

    def read(
        self, records: Iterable[Record], marked: Collection[str], repository_id: str, known: Mapping[str, Sequence[str]],
    ) -> Agreements:
        """``marked``: the snapshots that are tagged as freezes or thaws, whatever is in them.

        ``known``: prunes that were checked before, each with the people who agreed: they are not asked about again, also when
        these people have left.
        """
        lifted: set[str] = set()
        claimed: set[str] = set()
        prunes: list[Prune] = []
        findings: list[Finding] = []
        freezes: list[Record] = []
        choices: list[Choice] = []
        for record in records:
            if record.format == PRUNE and record.signer is not None:
                before = known.get(record.snapshot)
                people = tuple(before) if before else self._people_of(record, repository_id)
                if isinstance(people, str):
                    if record.signer in self._trusted and not self._knows_people:
                        claimed |= _prune(record, ()).ids
                    else:
                        findings.append(_forged(record, "prune", people))
                else:
                    prunes.append(_prune(record, people))
            elif record.format == CHOICE and record.signer is not None:
                people = self._people_of(record, repository_id)
                if isinstance(people, str):
                    findings += [_forged(record, "choice", people)] if self._knows_people else []
                else:
                    choices.append(_choice(record, people))
            elif record.format == FREEZE and record.signer is not None and record.record["state"] == THAWED:
                people = self._people_of(record, repository_id)
                if isinstance(people, str):
                    findings += [_forged(record, "thaw", people)] if self._knows_people else []
                else:
                    lifted.update(record.record.get("lifts", ()))
            elif record.snapshot in marked:
                freezes.append(record)
        return Agreements(open_freezes(freezes, lifted, self._trusted, repository_id), tuple(prunes), tuple(findings),
                          tuple(sorted(choices, key=lambda one: one.time)), frozenset(claimed))

    def trust(self, keys: Collection[str]) -> None:
        """From now on these are the keys that somebody here vouched for."""
        if frozenset(keys) != frozenset(self._trusted):
            self._trusted = frozenset(keys)
            self._known.clear()

    @property
    def _knows_people(self) -> bool:
        """Whether anybody could have signed, as far as this machine knows; a bare one in an emergency knows nobody."""
        try:
            return any(member.key for member in self._people().values())
        except SafetyRefusal:  # others than were accepted
            return True

    def require(self, record: Mapping[str, Any], repository_id: str) -> tuple[str, ...]:
        """Who agreed to a record. Raises SafetyRefusal where that does not do, ProgramFailed where nothing can be checked."""
        held = record.get("consent")
        if held is None:
            raise SafetyRefusal("nobody approved it")
        if record["repository"] != repository_id:
            raise SafetyRefusal("it was written for another repository")
        signed = tuple(self._signed(one) for one in held["approvals"])
        consent = Consent(held["plan"], held["request"], signed)
        return agreed(consent, *_deed(record), self._people(), repository_id=repository_id, at=parse_time(record["time"]))

    def _people_of(self, record: Record, repository_id: str) -> tuple[str, ...] | str:
        found = self._known.get(record.snapshot)
        if found is None:
            found = self._judged(record, repository_id)
            self._known[record.snapshot] = found
        return found

    def _judged(self, record: Record, repository_id: str) -> tuple[str, ...] | str:
        if record.signer not in self._trusted:
            return f"signed by {record.signer}, a key that nobody here vouched for"
        try:
            return self.require(record.record, repository_id)
        except SafetyRefusal as error:
            return error.message

    def _signed(self, one: Mapping[str, Any]) -> Signed:
        try:
            return Signed(one["statement"], self._signatures.check(signed_bytes(one["statement"]), one["signature"], NAMESPACE))
        except (DamagedData, ValueError, TypeError, RecursionError) as error:
            return Signed(one["statement"], None, error.message if isinstance(error, OpsError) else str(error))


def _deed(record: Mapping[str, Any]) -> tuple[str, Fits]:
    """The word that the plan has to use, and the parameters that allow this record."""
    if record["format"] == PRUNE:
        ids = {name for one in record["forgotten"] for name in (one["manifest"], *one["snapshots"].values()) if name}
        return "prune", lambda params: (params["backup"] == record["backup"] and ids <= {*params["forget"]}
                                        and {*record["accepted"]} <= {*params["accept"]})
    if record["format"] == CHOICE:
        return "decide", lambda params: (params["backup"], params["set"]) == (record["backup"], record["set"])
    if record["format"] == ROTATION:
        said = record["statement"]
        return "rotate_key", lambda params: (params["old"], params["new"], params["agreed"]) == (said["old"], said["new"], True)
    lifts = {*record.get("lifts", ())}
    return "freeze", lambda params: (params["state"] == THAWED and params["incident"] == record["incident"]
                                     and lifts <= {*params["lifts"]})


def _prune(record: Record, people: tuple[str, ...]) -> Prune:
    said = record.record
    return Prune(record.snapshot, said["run"], said["backup"], people, tuple(said["forgotten"]), tuple(said["accepted"]),
                 said["bytes"])


def _choice(record: Record, people: tuple[str, ...]) -> Choice:
    said = record.record
    before = parse_time(said["before"]) if "before" in said else None
    return Choice(said["backup"], said["set"], parse_time(said["time"]), said["run"], people, said["why"], before)


def _forged(record: Record, what: str, why: str) -> Finding:
    return Finding(
        f"{what}-forged", f"snapshot {record.snapshot[:8]}, the record of a {what} by run {record.record['run']} counts for nothing: {why}",
        object=f"snapshots/{record.snapshot}",
        repair="find out who wrote it, and whether the controller's key was stolen; did somebody who approved it leave `people`?",
    )

