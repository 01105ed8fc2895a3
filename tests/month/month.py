"""A month as it goes by: each day its work, a fault, the ticks of cron that matter, and what the world must show."""

from __future__ import annotations

import itertools
import json
import random
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from tests.month.controller import Tick
from tests.month.department import OFFLINE_EVERY, Department
from tests.month.faults import Fault
from tests.month.inspector import Inspector, Set, never_well_while_due, spacing, told_and_there

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
ZONE = ZoneInfo("Asia/Kolkata")
#: The line of the night is fired when so many have passed, which reads as much: the more rarely it is, the more it reads.
NIGHTS = 3


class Month:
    """One simulated month, or some days of one. ``faults`` are tried in this order, each on a day where it can strike."""

    def __init__(self, department: Department, faults: Sequence[Fault], chance: random.Random) -> None:
        self.department, self.chance = department, chance
        self.waiting = list(faults)
        self.read_back = 1 - NIGHTS  # the day of the last night's reading
        self.ticks: list[Tick] = []
        #: What each source may have held at each tick: one content, or those that it went through meanwhile.
        self.states: dict[datetime, Mapping[str, frozenset[str]]] = {}
        self.said: list[str] = []
        self.fault: Fault | None = None
        #: When the sets of each backup were taken, by id, and of when the newest set in each copy is, by what the ticks said.
        self.taken: dict[str, dict[str, datetime]] = {name: {} for name in department.backups}
        self.copied: dict[tuple[str, str], datetime] = {}
        #: Whether the removable disk is forgotten in its drawer.
        self.forgotten = False
        #: Ids of sets that a fault made come early.
        self.excused: set[str] = set()
        self.start = datetime(2026, 12, 1, 2, department.controller.minute, tzinfo=ZONE)
        self.now = self.start - HOUR
        self.holds: dict[str, set[str]] = {}

    # The calendar

    def run(self, days: int | None = None) -> None:
        """Live through so many days, or until every fault has struck. AssertionError with the day, its fault and what was seen."""
        for day in itertools.count() if days is None else range(days):
            if days is None and not self.waiting and not self.forgotten:
                break
            try:
                self._live(day)
            except AssertionError as error:
                fault = f", fault {self.fault.name}" if self.fault else ""
                raise AssertionError(f"day {day}{fault}: {error}\n{self.history()}") from error

    def history(self) -> str:
        """The last ticks, for whoever has to find out what went wrong."""
        last = "\n".join(str(tick) for tick in self.ticks[-4:])
        return "\n".join([*self.said, last])

    def _live(self, day: int) -> None:
        midnight = (self.start + day * DAY).replace(hour=0, minute=0)
        self.department.write(day)
        if self.now >= midnight + DAY:
            return  # the machine is off
        self.look_at_sources()
        late = self.late()
        if late or (day % 3 == 0 and not self.forgotten):
            self.department.plug_in()
        self._faulty_day(midnight) if day else self._first_day()
        if late:
            self.forgotten = False
        self.department.unplug()
        if day - self.read_back >= NIGHTS and not self.ahead():
            self.night()
            self.read_back = day
        self.look(5 if self.late() else 0)

    def look_at_sources(self) -> None:
        """What the sources hold now, and nothing else any more."""
        self.holds = {name: {found} for name, found in self.department.now().items()}

    def _first_day(self) -> None:
        """Nothing goes wrong: whatever is due later was once taken."""
        tick = self.tick(self.start)
        assert tick.code == 0 and {one[0] for one in tick.done} == set(self.department.backups), tick

    def _faulty_day(self, midnight: datetime) -> None:
        until = midnight + DAY
        fault = self._choose(until)
        if fault is None:
            self._quiet_hours(until)
            return
        strikes = self._hour_of(fault, until)
        # What is due before the fault begins is taken as ever.
        for hour in sorted({due for due in self._hours(until) if due < strikes}):
            self.well(hour)
        self.said.append(f"{strikes:%d %b %H:%M} {fault.name}")
        self.fault = fault
        fault.strike(self, strikes)
        self.fault = None
        self.well(self.now + HOUR)
        self._quiet_hours(until)

    def _quiet_hours(self, until: datetime) -> None:
        while (hour := min(self._hours(until), default=None)) is not None and hour > self.now:
            self.well(hour)

    def _choose(self, until: datetime) -> Fault | None:
        """The fault of the day; None where nothing that one could strike is due, as on the day after two days off."""
        due = {name for name in self.department.backups if self.due(name) < until}
        fits = [fault for fault in self.waiting if set(fault.strikes) <= due]
        if not fits:
            return None
        # The rarest first: on most days only little is due.
        found = max(fits, key=lambda fault: max((self.department.backups[name].every for name in fault.strikes), default=HOUR))
        self.waiting.remove(found)
        return found

    def _hour_of(self, fault: Fault, until: datetime) -> datetime:
        """When the fault is there: at the hour at which all that it strikes is due, or some hour of the day."""
        if fault.strikes:
            return max(self.due(name) for name in fault.strikes)
        return max(self.now, until - DAY + timedelta(minutes=self.start.minute)) + HOUR * self.chance.randrange(1, 4)

    def due(self, backup: str) -> datetime:
        """The hour of cron at which it is due, never before now. A set that is dated an hour ahead at most counts."""
        hour = self.now + HOUR
        while hour - self.newest(backup, hour) < self.department.backups[backup].every:
            hour += HOUR
        return hour

    def newest(self, backup: str, at: datetime) -> datetime:
        return max((time for time in self.taken[backup].values() if time <= at + HOUR), default=self.start - 99 * DAY)

    def late(self) -> list[str]:
        """The copies that are older than they may become, by what the ticks said."""
        found = []
        for backup in self.department.backups.values():
            for store in backup.copies:
                every = OFFLINE_EVERY if self.department.stores[store].may_be_away else backup.every
                age = self.now - self.copied.get((backup.name, store), self.now)
                if age >= every + min(every / 4, 6 * HOUR):  # the clock of the tick has gone on for some seconds
                    found.append(f"{backup.name}/{store}")
        return found

    def _hours(self, until: datetime) -> list[datetime]:
        return [hour for hour in map(self.due, self.department.backups) if hour < until]

    # What happens

    def tick(self, at: datetime, *, during: Any = None) -> Tick:
        """Fire the cron line; ``during``: called with the process while it works."""
        assert at.minute == self.start.minute, f"cron does not fire at {at}"
        process = self.department.controller.cron(at)
        if during is not None:
            during(process)
        return self.ended(process, at)

    def ahead(self) -> bool:
        """Whether a set is dated in the future, which every verification names until its time has come."""
        return any(time > self.now + HOUR for taken in self.taken.values() for time in taken.values())

    def night(self) -> None:
        """The line of the night: a share of every repository is read back, lest ``status`` say that nobody does."""
        process = self.department.controller.cron(self.now, night=True)
        mailed, err = process.communicate(timeout=300)
        assert process.returncode == 0 and not mailed and not err, f"the night's reading ended with {process.returncode}: {mailed}{err}"
        self._calls = self.department.switch.calls
        self.mails()

    def ended(self, process: subprocess.Popen[str], at: datetime) -> Tick:
        """Wait for a tick and write it down."""
        try:
            mailed, err = process.communicate(timeout=300)
        except subprocess.TimeoutExpired:
            log = self.department.controller.log.read_bytes()[self._log_read:].decode()
            running = "\n".join(self.department.controller.commands())
            raise AssertionError(f"the tick of {at} has not ended after five minutes; it runs\n{running}\nand said\n{log}") from None
        assert not err, f"the line wrote to standard error: {err}"
        box, switch, log = self.department.mailbox, self.department.switch, self.department.controller.log.read_bytes()
        tick = Tick(at, process.returncode, mailed, log[self._log_read:].decode(), tuple(box.texts[self._mails_read:]),
                    switch.calls > self._calls, self.fault.name if self.fault else None)
        self._log_read, self._mails_read, self._calls = len(log), len(box.texts), switch.calls
        self.now = max(self.now, at)
        self.ticks.append(tick)
        self.states[at] = {name: frozenset(found) for name, found in self.holds.items()}
        for backup, name, _ in tick.done:
            self.taken[backup][name] = at
        for backup, name, store in tick.copied:
            if name in self.taken[backup]:
                self.copied[backup, store] = self.taken[backup][name]
        self._examine(tick)
        return tick

    _log_read = _mails_read = _calls = 0

    def _examine(self, tick: Tick) -> None:
        """What holds for every tick, whatever is wrong."""
        assert bool(tick.code) == bool(tick.mailed), f"cron mails exactly what failed: {tick}"
        assert not (tick.code and tick.alive), f"the switch was called although something is wrong: {tick}"
        assert "Traceback" not in tick.said and "a bug in opsctl" not in tick.said, str(tick)

    def well(self, at: datetime) -> Tick:
        """A tick of a sound world: what is due is done, whole, and said."""
        due = {name for name in self.department.backups if self.due(name) <= at}
        tick = self.tick(at)
        assert tick.code == 0, f"nothing is wrong any more: {tick}"
        assert {one[0] for one in tick.done} == due, f"due was {due or 'nothing'}: {tick}"
        assert tick.alive is not bool(self.late()), f"late was {self.late() or 'nothing'}, the switch {tick.alive}: {tick}"
        return tick

    def ended_together(self, processes: Sequence[subprocess.Popen[str]], at: datetime) -> list[Tick]:
        """Wait for ticks of one moment; the log of the last one holds what all of them said."""
        for process in processes[:-1]:
            process.wait(300)
        return [self.ended(process, at) for process in processes]

    def believe_the_stores(self, at: datetime) -> None:
        """Where a tick was killed: what it had taken by then stands, though it could not say so."""
        for backup in self.department.backups.values():
            for one in self.department.stores[backup.home].snapshots():
                tags = one.get("tags") or ()
                if "manifest" in tags and f"backup={backup.name}" in tags and self._made(one, backup.name) == at:
                    self.taken[backup.name][set_of(one)] = at

    def _made(self, snapshot: Mapping[str, Any], backup: str) -> datetime:
        store = self.department.stores[self.department.backups[backup].home]
        content = json.loads(store.restic("dump", "--no-lock", snapshot["id"], f"/opsctl-manifest-{backup}-{set_of(snapshot)}.json"))
        return datetime.fromisoformat(content["record"]["time"])

    def mails(self) -> list[str]:
        """What the person on call got since the last tick, by what was not a tick."""
        box = self.department.mailbox
        new, self._mails_read = box.texts[self._mails_read:], len(box.texts)
        return new

    def look(self, *codes: int) -> str:
        """What `status` says now, and that it ends with one of these codes."""
        machine = self.department.machine
        machine.at(self.now.isoformat())
        said = machine("status")
        assert said.code in codes, f"status ended with {said.code}, not {codes}:\n{said.out}{said.err}"
        self._mails_read = len(self.department.mailbox.texts)
        return said.out + said.err

    # The end

    def inspect(self, inspector: Inspector) -> Iterator[str]:
        """Everything that the stores alone say against the promises."""
        department = self.department
        department.plug_in()
        found: list[Set] = []
        for store in department.stores.values():
            store.restic("check", "--read-data", "--no-lock")
            found += inspector.sets(store)
        homes = {one.name: (one.home, one.every) for one in department.backups.values()}
        yield from told_and_there(self.ticks, found)
        yield from never_well_while_due(self.ticks, found, homes)
        yield from spacing(found, homes, self.excused)
        for one in found:
            if one.time not in self.states:
                yield f"{one.store}: set {one.id} of {one.backup} is of {one.time}, when nothing ran"
            elif one.store == homes[one.backup][0] or self.chance.random() < 0.2:
                inspector.compare(department.stores[one.store], one, department.sources, self.states[one.time])
        yield from inspector.problems


def set_of(snapshot: Mapping[str, Any]) -> str:
    return next(str(tag).removeprefix("set=") for tag in snapshot["tags"] if tag.startswith("set="))
