"""The stages in which services come back: which set each is restored from, how long that takes, and how much is lost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from opsctl.model.choices import Choice, standing
from opsctl.model.due import elapsed
from opsctl.model.points import Candidate, Point, clean_point, next_best, weigh
from opsctl.model.sets import WHOLE, SetView
from opsctl.model.values import value

_DONE = frozenset({"ok", "changed"})
_WAIT = frozenset({"waiting", "unknown"})


@value
class Place:
    """A repository in which a set stands; ``why`` is None where it can be restored from there."""

    repository: str
    state: str
    why: str | None = None


@value
class Stage:
    """One service on its way back.

    ``needs``: the stages that come first. ``read_from``: the repository that its set is read from; empty where nothing is
    restored or there is no set. ``expected``: how long restoring it takes by the drills; None where none tells. ``ready``:
    when it is back, counted from the beginning, those that it needs included. ``loss``: the time from the set to when the
    data went bad, or to now. ``problem``: why it cannot be brought back as asked. ``chosen_by``: who signed that it is this set.
    ``doubt``: what change signals say against the set, in words that follow its name; empty where they do not. ``trusting``: on whose word
    it is clean all the same.
    """

    service: str
    needs: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    backup: str = ""
    set: str = ""
    point: datetime | None = None
    read_from: str = ""
    home: str = ""
    places: tuple[Place, ...] = ()
    bytes: int = 0
    expected: timedelta | None = None
    ready: timedelta | None = None
    loss: timedelta | None = None
    rto: timedelta | None = None
    rpo: timedelta | None = None
    bring: tuple[str, ...] = ()
    into: tuple[tuple[str, str], ...] = ()
    problem: str | None = None
    signals: str = ""
    doubt: str = ""
    trusting: str = ""
    chosen_by: tuple[str, ...] = ()

    @property
    def late(self) -> bool:
        """Whether it is expected back later than its target."""
        return self.rto is not None and self.ready is not None and self.ready > self.rto

    @property
    def loses_too_much(self) -> bool:
        return self.rpo is not None and self.loss is not None and self.loss > self.rpo

    def as_json(self) -> dict[str, Any]:
        return {
            "service": self.service, "needs": list(self.needs), "sources": list(self.sources), "backup": self.backup or None,
            "set": self.set or None, "point": self.point, "read_from": self.read_from or None, "bytes": self.bytes,
            "signals": self.signals or None, "doubt": self.doubt or None, "trusting": self.trusting or None, "chosen_by": list(self.chosen_by), "places": [{"repository": one.repository, "state": one.state, "why_not": one.why} for one in self.places],
            "expected_seconds": seconds(self.expected), "ready_after_seconds": seconds(self.ready), "rto_seconds": seconds(self.rto),
            "loss_seconds": seconds(self.loss), "rpo_seconds": seconds(self.rpo), "late": self.late,
            "loses_too_much": self.loses_too_much, "not_backed_up": list(self.bring), "into": dict(self.into), "problem": self.problem,
        }


def seconds(span: timedelta | None) -> int | None:
    return None if span is None else round(span.total_seconds())


def choose(sets: Sequence[Candidate], before: datetime | None) -> Point | None:
    """The newest clean set, or the newest that nothing is known against; ``sets`` oldest first, judged as `restore points` does."""
    weighed = weigh(sets, before)
    return clean_point(weighed) or next_best(weighed)


def decided(choices: Iterable[Choice], backup: str, point: Point | None) -> Choice | None:
    """What people chose for a backup, until a clean set is there that was taken after they did."""
    found = standing(choices, backup)
    taken = point.set.time if point is not None and point.refused is None else None
    return None if found is None or (taken is not None and taken > found.time) else found


def refusal(view: SetView) -> str | None:
    """Why nothing is restored from a set in stages; None where it is whole and signed here."""
    if view.state not in WHOLE:
        return "; ".join(view.reasons) or view.state
    found = [one.what for one in view.damage if one.sure]
    return f"damaged: {'; '.join(found[:2])}" if found else None


def expected(entries: Mapping[str, Mapping[str, Any]], sources: Sequence[str], drills: Sequence[Mapping[str, Any]]) -> timedelta | None:
    """How long these sources take, by the newest drill that succeeded for each, in proportion to their size; None where none tells."""
    total = 0.0
    for name in sources:
        drill = next((record["sources"][name] for record in reversed(drills) if record.get("ok") and name in record.get("sources", {})), None)
        if drill is None or name not in entries:
            return None
        took = drill["restore_seconds"] + (drill["load_seconds"] or 0.0)
        total += took * (entries[name].get("bytes", 0) / drill["bytes"] if drill["bytes"] else 1.0)
    return timedelta(seconds=total)


def ready(needs: Sequence[str], own: timedelta | None, others: Mapping[str, timedelta | None]) -> timedelta | None:
    """When a stage is back that begins as soon as all that it needs are; None where that cannot be told."""
    before = [others[name] for name in needs if name in others]
    if own is None or None in before:
        return None
    return own + max((span for span in before if span is not None), default=timedelta(0))


def loss(point: datetime | None, bad: datetime | None, now: datetime) -> timedelta | None:
    """What is lost: everything that was entered since the set, until the data went bad or until now."""
    return None if point is None else max(elapsed(point, bad or now), timedelta(0))


@value
class Course:
    """How a stage went in one run, by the journal alone.

    ``outcome``: ``waiting``, ``failed``, ``done``, ``running`` or ``open`` (not begun). ``steps``: the outcome of each of
    its steps. ``took``: from its first step to its last; ``after``: from the beginning of the run to its end, which counts
    against its target. ``waits``: what for.
    """

    service: str
    backup: str
    set: str
    outcome: str
    steps: Mapping[str, str]
    began: datetime | None = None
    ended: datetime | None = None
    took: timedelta | None = None
    after: timedelta | None = None
    rto: timedelta | None = None
    loss: timedelta | None = None
    rpo: timedelta | None = None
    waits: tuple[str, ...] = ()
    because: str = ""

    def as_json(self) -> dict[str, Any]:
        return {
            "service": self.service, "backup": self.backup or None, "set": self.set or None, "outcome": self.outcome, "steps": dict(self.steps),
            "began": self.began, "ended": self.ended, "took_seconds": seconds(self.took), "after_seconds": seconds(self.after),
            "rto_seconds": seconds(self.rto), "rto_met": _met(self.after, self.rto), "loss_seconds": seconds(self.loss),
            "rpo_seconds": seconds(self.rpo), "rpo_met": _met(self.loss, self.rpo), "waits_for": list(self.waits), "because": self.because or None,
        }


def _met(span: timedelta | None, target: timedelta | None) -> bool | None:
    return None if span is None or target is None else span <= target


def courses(entries: Sequence[Any]) -> list[Course]:
    """How each stage went, from the journal's entries of one run in their order (each with ``type data time``)."""
    bound = next((one for one in entries if one.type == "run.bound"), None)
    if bound is None:
        return []
    stages: Sequence[Mapping[str, Any]] = bound.data["inputs"].get("stages", ())
    started: datetime = bound.time
    return [_course(stage, entries, started) for stage in stages]


def _course(stage: Mapping[str, Any], entries: Sequence[Any], started: datetime) -> Course:
    prefix = f"{stage['service']}."
    steps: dict[str, str] = dict.fromkeys(stage["steps"], "open")
    began = ended = None
    because = ""
    waits: dict[str, str] = {}
    for entry in entries:
        if entry.type in ("run.waiting", "run.end"):
            waits |= {one["step"]: one["for"] for one in entry.data.get("waiting", ()) if one["step"].startswith(prefix)}
        step = str(entry.data.get("step", "")) if entry.type in ("step.begin", "step.end") else ""
        name = step.removeprefix(prefix)
        if not step.startswith(prefix) or name not in steps:
            continue
        began = began or entry.time
        steps[name] = str(entry.data.get("outcome", "running"))
        if steps[name] in _WAIT:
            waits[step] = entry.data["because"]
        else:
            waits.pop(step, None)
        if steps[name] == "failed":
            because = because or entry.data["because"]
        elif steps[name] in _DONE:
            because, ended = "", entry.time
    outcome = _outcome(set(steps.values()))
    done = ended if outcome == "done" else None
    return Course(
        stage["service"], stage.get("backup") or "", stage.get("set") or "", outcome, steps, began=began, ended=done,
        took=elapsed(began, done) if began and done else None, after=elapsed(started, done) if done else None,
        rto=_span(stage.get("rto")), loss=_span(stage.get("loss")), rpo=_span(stage.get("rpo")), waits=tuple(waits.values()), because=because,
    )


def _outcome(found: frozenset[str] | set[str]) -> str:
    if found <= _DONE:
        return "done"
    if "failed" in found:
        return "failed"
    if found & _WAIT:
        return "waiting"
    return "open" if found <= {"open", "skipped"} else "running"


def _span(said: Any) -> timedelta | None:
    return None if said is None else timedelta(seconds=said)
