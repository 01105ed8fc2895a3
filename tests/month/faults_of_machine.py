"""What goes wrong with the controller: kills, clocks, two at once, disks, its keys and files, the way to the person on call."""

from __future__ import annotations

import shutil
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from tests.badluck.faults import fill
from tests.month.department import Department
from tests.month.faults import Fault
from tests.month.faults_of_sources import DumpFails, put

if TYPE_CHECKING:
    from tests.month.controller import Tick
    from tests.month.month import Month

HOUR = timedelta(hours=1)
EVERYTHING = ("portal", "licences", "office")

_KILL = """\
case "$*" in *"version --json"*) exec "$real" "$@";; esac
number=1
until mkdir {count}/$number 2>/dev/null; do number=$((number + 1)); done
[ "$number" = {which} ] || exec "$real" "$@"
{deed}
"""


class OpsctlKilled(Fault):
    """opsctl is killed with SIGKILL before some call of restic; the next hour has to find its way."""

    strikes = ("licences",)
    deed = "kill -9 $PPID"

    def inject(self, department: Department) -> None:
        which = department.chance.randrange(1, 6)
        count = department.place / "calls"
        shutil.rmtree(count, ignore_errors=True)
        count.mkdir()
        put(department.controller.programs, "restic", _KILL.format(count=count, which=which, deed=self.deed), "/usr/bin/restic")

    def heal(self, department: Department) -> None:
        department.controller.all_gone()
        (department.controller.programs / "restic").unlink()

    def shown(self, month: Month, at: datetime, tick: Tick) -> None:
        assert tick.code == 137, f"nothing was killed: {tick}"
        assert not tick.done, f"said done, and was killed: {tick}"
        # What it had finished before shows only now.
        month.believe_the_stores(at)


class ResticKilled(OpsctlKilled):
    """restic is killed with SIGKILL in some call."""

    deed = "kill -9 $$"

    def shown(self, month: Month, at: datetime, tick: Tick) -> None:
        assert tick.code in (3, 20, 22), f"nothing shows of it: {tick}"
        assert tick.notices, f"nobody was told: {tick}"
        month.believe_the_stores(at)


class TwoAtOnce(Fault):
    """Two timers fire in the same minute."""

    strikes = ("office",)

    def strike(self, month: Month, at: datetime) -> None:
        both = [month.department.controller.cron(at), month.department.controller.cron(at)]
        ticks = month.ended_together(both, at)
        assert [tick.code for tick in ticks] == [0, 0], "\n".join(map(str, ticks))
        done = [one for tick in ticks for one in tick.done if one[0] == "office"]
        assert len(done) == 1, f"one of them works: {ticks[0]} {ticks[1]}"


class MachineOff(Fault):
    """The controller is off for two days."""

    strikes = ("office",)

    def strike(self, month: Month, at: datetime) -> None:
        month.now = at + 47 * HOUR


class ClockBehind(Fault):
    """The machine's clock goes five hours back for a while."""

    strikes = ("office",)

    def strike(self, month: Month, at: datetime) -> None:
        tick = month.tick(at - 5 * HOUR)
        assert tick.code == 0 and not tick.done, f"nothing was due by that clock: {tick}"
        month.now = at


class ClockAhead(Fault):
    """The machine's clock is a day and two hours ahead for one tick: what it makes then does not count."""

    strikes = ("office",)

    def strike(self, month: Month, at: datetime) -> None:
        tick = month.tick(at + 26 * HOUR)
        assert tick.code == 0 and "office" in {one[0] for one in tick.done}, str(tick)
        month.excused |= {one[1] for one in tick.done}
        month.now = at


class DiskForgotten(Fault):
    """Nobody fetches the removable disk from its drawer, until its copies are too old and somebody is told."""

    strikes, codes = ("office",), (0,)

    def inject(self, department: Department) -> None:
        department.unplug()

    def last(self, month: Month, at: datetime) -> None:
        month.forgotten = True
        month.well(at)


class ReadOnlyState(Fault):
    """The disk with the state is read-only."""

    strikes, spoils, codes = ("office",), EVERYTHING, (20, 3)

    def inject(self, department: Department) -> None:
        # In the machine's own view, which is another mount of it.
        department.controller.shell(f"mount -o remount,ro,bind {department.state_disk}")

    def heal(self, department: Department) -> None:
        department.controller.shell(f"mount -o remount,rw,bind {department.state_disk}")


class FullState(Fault):
    """The disk with the state is full."""

    strikes, spoils, codes = ("office",), EVERYTHING, (20, 3)

    def inject(self, department: Department) -> None:
        fill(department.state_disk)

    def heal(self, department: Department) -> None:
        (department.state_disk / "ballast").unlink()


class NoSigningKey(Fault):
    """The controller's signing key is gone."""

    strikes, spoils, codes, tells = ("office",), EVERYTHING, (12,), "signing key"

    def inject(self, department: Department) -> None:
        (department.keys / "controller").rename(department.keys / "elsewhere")

    def heal(self, department: Department) -> None:
        (department.keys / "elsewhere").rename(department.keys / "controller")


class BrokenConfiguration(Fault):
    """Somebody edited the configuration and made a mistake."""

    strikes, spoils, codes, tells = ("office",), EVERYTHING, (10,), "opsctl.yaml"

    def inject(self, department: Department) -> None:
        file = department.machine.etc / "opsctl.yaml"
        file.write_text(file.read_text().replace("kind: sqlite", "kind: sqllite"))

    def heal(self, department: Department) -> None:
        department.configure()


class OpenSecret(Fault):
    """Everybody may read the file with the password of the portal's database."""

    strikes, spoils, codes, tells = ("portal",), ("portal",), (10, 12, 23, 3), "portal-db-password"

    def inject(self, department: Department) -> None:
        department.portal_db.password_file.chmod(0o644)

    def heal(self, department: Department) -> None:
        department.portal_db.password_file.chmod(0o600)


class DecayedCatalogue(Fault):
    """The catalogue, which is only a cache, is full of junk."""

    strikes, codes = ("office",), (0,)

    def inject(self, department: Department) -> None:
        department.plug_in()  # what nobody can look at is not known any more
        (department.state / "catalogue.sqlite").write_bytes(department.chance.randbytes(20_000))


class LostCatalogue(Fault):
    """The catalogue and the cache of restic are gone."""

    strikes, codes = ("office",), (0,)

    def inject(self, department: Department) -> None:
        department.plug_in()
        (department.state / "catalogue.sqlite").unlink()
        shutil.rmtree(department.state / "restic-cache", ignore_errors=True)


class TornJournal(Fault):
    """The machine lost its power while a line of the journal was written."""

    strikes, codes = ("office",), (0,)

    def inject(self, department: Department) -> None:
        last = max((department.state / "journal").glob("*.jsonl"))
        with last.open("ab") as file:
            file.write(b'{"seq": 99999, "type": "run.st')

    def shown(self, month: Month, at: datetime, tick: Tick) -> None:
        super().shown(month, at, tick)
        assert "journal" in tick.said, f"the repair is not said: {tick}"


class MailDown(DumpFails):
    """The mail server is down while something fails: the failure stands, and is told when there is mail again."""

    tells = None

    def inject(self, department: Department) -> None:
        super().inject(department)
        department.mailbox.stop()

    def last(self, month: Month, at: datetime) -> None:
        tick = month.tick(at)
        assert tick.code in self.codes and not tick.notices and "was not taken" in tick.said, str(tick)
        month.department.mailbox.start()
        again = month.tick(at + HOUR)
        assert again.code in self.codes and any("office/forms" in text for text in again.notices), str(again)


class FailsForHours(DumpFails):
    """Something fails for half a day: told once, overdue when it is, and told that it is over."""

    def last(self, month: Month, at: datetime) -> None:
        first = month.tick(at)
        self.shown(month, at, first)
        again = month.tick(at + HOUR)
        assert again.code in self.codes and not again.notices, f"told twice: {again}"
        month.look(0)
        late = month.tick(at + 7 * HOUR)
        assert late.code in self.codes and any("OVERDUE: office" in text for text in late.notices), f"nobody knows that it is late: {late}"
        month.look(5)

    def strike(self, month: Month, at: datetime) -> None:
        super().strike(month, at)
        tick = month.well(month.now + HOUR)
        assert any("recovered" in text for text in tick.notices), f"nobody was told that it is over: {tick}"


class OldRestic(Fault):
    """Somebody put an old restic in front of the machine's own."""

    strikes, spoils, codes, tells = ("office",), EVERYTHING, (10, 20, 21, 23), "restic"

    def inject(self, department: Department) -> None:
        put(department.controller.programs, "restic", 'echo "restic 0.12.1 compiled with go1.16"', "/usr/bin/restic")

    def heal(self, department: Department) -> None:
        (department.controller.programs / "restic").unlink()


ALL: tuple[type[Fault], ...] = (
    OpsctlKilled, ResticKilled, TwoAtOnce, MachineOff, ClockBehind, ClockAhead, DiskForgotten, ReadOnlyState, FullState, NoSigningKey,
    BrokenConfiguration, OpenSecret, DecayedCatalogue, LostCatalogue, TornJournal, MailDown, FailsForHours, OldRestic,
)
