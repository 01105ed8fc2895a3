"""What is looked at, and what speaks against it, before anything of a backup is given up."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Any

from opsctl.errors import OpsError, SafetyRefusal
from opsctl.model.config_keep import Keep
from opsctl.model.pruning import Choice, Place, choose, refusals
from opsctl.model.sets import COPY, FOREIGN, GOOD, PRUNED, SetView
from opsctl.model.values import value
from opsctl.repositories.history import History, Holdings


@value
class Matter:
    """A backup in one of its repositories, of which sets may be given up. ``history`` gives repositories by name."""

    backup: str
    repository: str
    config: Any
    history: Callable[[str], History]
    now: datetime

    def look(self) -> Holdings:
        """The repository as it is now. SafetyRefusal where this machine does not know it, or its store locks what is in it."""
        spec, plan = self.config.repositories[self.repository], self.config.backups[self.backup]
        if self.repository not in (plan.repository, *plan.copies):
            raise SafetyRefusal(f"{self.backup} has nothing in {self.repository}", where=self.backup,
                                hint=f"it is in {', '.join((plan.repository, *plan.copies))}")
        if spec.object_lock is not None:
            raise SafetyRefusal(f"{self.repository} is in a store that locks its objects for {spec.object_lock.days} days, and nothing in it "
                                "can be removed before", where=self.repository,
                                hint="opsctl renews these locks after each set; a bucket that is full is replaced by a new one")
        history = self.history(self.repository)
        history.require_here()
        history.require_known()
        return history.look(self.now)

    def places(self, holdings: Holdings) -> list[Place]:
        """What is known of the backup in the repository and, where that holds copies, in its own one, which is looked at."""
        home = self.config.backups[self.backup].repository
        if home == self.repository:
            return [self._place(home, {GOOD}, holdings)]
        try:
            own = self.history(home).look(self.now)
        except OpsError as error:
            raise SafetyRefusal(f"{home}, the own repository of {self.backup}, cannot be looked at, and its copy may be the last: {error.message}",
                                where=self.repository, hint="nothing is pruned from a copy meanwhile") from error
        return [self._place(self.repository, {COPY}, holdings), self._place(home, {GOOD}, own)]

    def choice(self, places: Sequence[Place]) -> Choice:
        """What goes and what stays. SafetyRefusal where the configuration does not say what is kept."""
        keep: Keep | None = self.config.backups[self.backup].keep
        if keep is None:
            raise SafetyRefusal(f"backup {self.backup} has no keep: in the configuration, so everything is kept", where=self.backup,
                                hint=f"backups: {self.backup}: keep: {{daily: 7, weekly: 5, monthly: 12}}")
        return choose(keep, places, self.config.organisation.tz)

    def begun(self, holdings: Holdings) -> list[SetView]:
        """The sets that people have given up already and of which something is still there."""
        return [view for view in holdings.judgement.of(self.backup) if view.state == PRUNED]

    def against(
        self, holdings: Holdings, sets: Collection[str], forget: Sequence[str], accept: Collection[str]
    ) -> tuple[list[tuple[str, str]], Choice]:
        """Why nothing may be pruned now, each with what to do; and what would go and stay by itself.

        ``sets``, ``forget``: ids of the sets that shall go, and of their snapshots; ``accept``: of sets that are no reason.
        """
        places = self.places(holdings)
        choice = self.choice(places)
        spec, plan = self.config.repositories[self.repository], self.config.backups[self.backup]
        every = (spec.every if self.repository != plan.repository else None) or plan.every
        found = refusals(choice, sets, places, accept, every=every, now=self.now)
        may_go = {*snapshots_of([*choice.goes, *choice.unfinished, *self.begun(holdings)])}
        there = {snapshot.id for snapshot in holdings.snapshots}
        if strange := [name for name in forget if name in there and name not in may_go]:
            found.append((f"snapshot {strange[0][:8]} is of no set that may go", "plan it anew: opsctl backup prune"))
        return found + self._claimed_twice(holdings, sets, forget), choice

    def _claimed_twice(self, holdings: Holdings, sets: Collection[str], forget: Sequence[str]) -> list[tuple[str, str]]:
        """Snapshots that shall go with one set, and that a signed manifest of another one, which stays, names as its own."""
        for view in holdings.judgement.sets:
            stays = view.state not in (PRUNED, FOREIGN) and (view.backup, view.id) not in {(self.backup, one) for one in sets}
            if stays and (shared := [name for name in snapshots_of([view]) if name in forget]):
                return [(f"snapshot {shared[0][:8]} is of set {view.id} of {view.backup} as well, which stays",
                         "one of the two manifests lies, and whoever wrote it has the controller's key: opsctl backup show SET; opsctl keys rotate")]
        return []

    def _place(self, repository: str, counts: set[str], holdings: Holdings) -> Place:
        return Place(
            repository, tuple(holdings.judgement.of(self.backup)), frozenset(counts), (*holdings.judgement.findings, *holdings.junk),
            holdings.damage, holdings.freezes,
            frozenset(record["set"] for record in holdings.drills if record["backup"] == self.backup and record["ok"]),
            frozenset(name for prune in holdings.prunes if prune.backup == self.backup for name in prune.accepted))


def snapshots_of(views: Sequence[SetView]) -> list[str]:
    """The ids of all snapshots of sets, manifests first."""
    return [*(view.manifest for view in views if view.manifest), *(name for view in views for name in view.snapshots.values())]
