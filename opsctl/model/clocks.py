"""Which duty runs since when, until when, and what has met it. Pure: nothing here knows what time it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from typing import Literal

from opsctl.model.incident import Incident, Met
from opsctl.model.values import value

State = Literal["running", "overdue", "met", "late", "decided", "coming", "open", "given up"]


@value
class Duty:
    """Something that has to be done, by whom it was asked for, and how long after ``anchor`` (None: it has no clock).

    ``due`` is what the law says; ``prompt`` is this project's own wish, of no force. ``immediate``: at once, with no number.
    """

    id: str
    obligation: str
    anchor: str | None
    due: timedelta | None
    due_text: str
    recipient: str
    channel: str
    content: str
    force: str
    sources: tuple[str, ...]
    confidence: str
    immediate: bool = False
    prompt: timedelta | None = None
    in_force_from: date | None = None
    applies_if: str | None = None
    basis: str | None = None


@value
class Clock:
    """One duty of one incident.

    ``state``: ``running`` until ``due``; ``overdue``; ``met`` or ``late`` by a recorded submission; ``decided`` by a recorded
    decision that it does not apply; ``coming``: not in force yet; ``open``: no number of hours is fixed (``due`` is None, ``prompt`` is
    when this project would ask again). What once stood here as late stays so: ``earlier`` is a submission of an earlier time that was
    recorded only then.
    """

    duty: str
    obligation: str
    recipient: str
    force: str
    state: State
    since: datetime
    due: datetime | None
    prompt: datetime | None = None
    met: Met | None = None
    reason: str | None = None
    in_force_from: date | None = None
    earlier: Met | None = None

    @property
    def recorded_late(self) -> bool:
        """Whether it is said to have been done in time, and was recorded only when that had passed."""
        return self.met is not None and self.due is not None and self.due != self.since and self.met.at <= self.due < self.met.recorded

    @property
    def ended(self) -> bool:
        """Whether nothing is left to be done for it."""
        return self.state in ("met", "late", "decided", "coming")

    @property
    def missed(self) -> bool:
        """Whether its time passed before it was done. What is due at once has no time that could pass."""
        return self.state in ("overdue", "late") and self.due != self.since


_SOON = timedelta(hours=2)

#: Duties that stand on their own: they are of readiness, or of each record that is put before a court, not of one incident.
STANDING = frozenset({"certin-poc-update", "log-retention-180d", "dpdp-log-retention-1y", "bsa63-certificate", "certin-order-compliance"})


def clocks(incident: Incident, duties: Mapping[str, Duty], now: datetime, *, protected: bool = False) -> tuple[Clock, ...]:
    """Every clock that this incident has started, what is due first standing first.

    A clock starts with its anchor and is never reset: the earliest first notice counts, whatever the type or severity becomes.
    ``protected``: whether a system that was gazetted as protected is concerned, by the configuration.
    """
    found = [clock for duty in duties.values() if duty.id not in STANDING and _applies(duty, incident, protected)
             for clock in _of(duty, incident, now)]
    found += [_order(order.id, order.received, order.due, incident, now) for order in incident.orders]
    return tuple(sorted(found, key=_urgency))


def _applies(duty: Duty, incident: Incident, protected: bool) -> bool:
    if duty.id == "nciipc-report":
        return protected
    return duty.anchor is not None and duty.anchor in incident.anchors


def _of(duty: Duty, incident: Incident, now: datetime) -> Iterable[Clock]:
    since = incident.anchors[str(duty.anchor)]
    due = since + duty.due if duty.due is not None else since if duty.immediate else None
    met, earlier, late = judged(incident, duty.id, due)
    coming = duty.in_force_from is not None and since.date() < duty.in_force_from
    yield Clock(
        duty.id, duty.obligation, duty.recipient, duty.force,
        state=_state(due, met, late, duty.id in incident.decisions, now, coming=coming), since=since, due=due,
        prompt=since + duty.prompt if duty.prompt is not None else None, met=met,
        reason=incident.decisions.get(duty.id) or incident.reasons.get(duty.id), in_force_from=duty.in_force_from if coming else None,
        earlier=earlier)


def _order(name: str, received: datetime, due: datetime | None, incident: Incident, now: datetime) -> Clock:
    duty = f"order {name}"
    met, earlier, late = judged(incident, duty, due)
    return Clock(duty, f"Answer CERT-In's order {name}", "cert-in", "binding", _state(due, met, late, duty in incident.decisions, now),
                 since=received, due=due, met=met, reason=incident.decisions.get(duty) or incident.reasons.get(duty), earlier=earlier)


def _state(due: datetime | None, met: Met | None, late: bool, decided: bool, now: datetime, *, coming: bool = False) -> State:
    if met is not None:
        return "late" if late else "met"
    if decided:
        return "decided"
    if coming:
        return "coming"
    if due is None:
        return "open"
    return "overdue" if now > due else "running"


def judged(incident: Incident, duty: str, due: datetime | None) -> tuple[Met | None, Met | None, bool]:
    """What met a duty, an earlier submission that was recorded only when it stood as late, and whether it is late.

    The earliest counts that was on record in time. Where none was, whoever looked saw it overdue: then the first that was recorded
    counts, and it is late where that one was, or where a person recorded that it was missed.
    """
    ours = [one for one in incident.met if one.duty == duty]  # as they stand in the journal, whatever clocks said
    if not ours:
        return None, None, False
    earliest = min(ours, key=lambda one: one.at)
    if due is None:
        return earliest, None, False
    if in_time := [one for one in ours if one.at <= due and one.recorded <= due]:
        return min(in_time, key=lambda one: one.at), None, False
    first = ours[0]
    late = first.at > due or duty in incident.reasons
    return first, earliest if late and earliest.at < first.at else None, late


def near(found: Iterable[Clock], now: datetime) -> list[Clock]:
    """Duties that are due soon: within two hours, or a sixth of the time that there was where that is more (our own wish)."""
    return [clock for clock in found if clock.state == "running" and clock.due is not None
            and clock.due - now <= max(_SOON, (clock.due - clock.since) / 6)]


def next_due(found: Iterable[Clock]) -> Clock | None:
    """What has to be done next: overdue first, then what is due soonest; None where nothing is left that has a number."""
    left = [clock for clock in found if clock.state in ("overdue", "running")]
    return min(left, key=_urgency, default=None)


def _urgency(clock: Clock) -> tuple[bool, bool, float]:
    moment = clock.due or clock.prompt
    return clock.ended, moment is None, moment.timestamp() if moment else clock.since.timestamp()
