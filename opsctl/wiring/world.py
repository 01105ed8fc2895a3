"""What the steps of one run may touch."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from opsctl.errors import OpsError
from opsctl.model.incident import Incident
from opsctl.model.plan import BoundPlan
from opsctl.model.sets import SetView
from opsctl.model.snapshots import Progress
from opsctl.repositories.history import History
from opsctl.repositories.private import private_folder
from opsctl.wiring.site import Site

_ROOM = "room "


class World:
    """What the steps of one run may touch (``actions.interface.World``)."""

    def __init__(
        self, site: Site, plan: BoundPlan, *, on_progress: Callable[[Progress], None] | None = None,
        on_tell: Callable[[str], None] | None = None, directory: Path | None = None,
    ) -> None:
        self.site = site
        self.plan = plan
        self.run = plan.run
        self.now = plan.now
        self.by = plan.started_by
        self.clock = site.clock
        self.config = site.config
        self.shell = site.shell
        self.host = os.uname().nodename
        self.signatures = site.signatures
        self.remembered: dict[str, Any] = {}
        self._kept: set[tuple[str, ...]] = set()
        self._warnings: list[str] = []
        self._drivers: dict[str, Any] = {}
        self._outcomes: dict[str, Sequence[tuple[str, Mapping[str, Any], str]]] = {}
        self._on_progress = on_progress
        self._on_tell = on_tell
        self._guard = threading.Lock()
        #: ``runs/ID``, where this run's plan lies and what it keeps for a resume; elsewhere for a dry run.
        self.dry = directory is not None
        self.directory = directory or site.place / "runs" / self.run

    def repository(self, name: str) -> History:
        return self.site.history(name)

    def upkeep(self, name: str) -> Any:
        return self._driver(f"upkeep {name}", lambda: self.site.upkeep(name))

    def home(self, backup: str) -> str:
        return self.site.home(backup)

    def source(self, name: str, entry: Mapping[str, Any] | None = None) -> Any:
        return self.site.source(name, entry)

    def isolation(self, name: str, host_key: str = "", key: str = "") -> Any:
        """The driver of a host, one for a whole run: connections are made once."""
        return self._driver(name, lambda: self.site.isolations.driver(name, host_key, key))

    def _driver(self, key: str, make: Callable[[], Any]) -> Any:
        with self._guard:
            if key not in self._drivers:
                self._drivers[key] = make()
            return self._drivers[key]

    def gateway_for(self, name: str) -> Any:
        return self._driver(f"gateway {name}", lambda: self.site.isolations.gateway_for(name))

    def door(self, name: str) -> Any:
        return self._driver(f"door {name}", lambda: self.site.isolations.door(name))

    def knock(self, name: str) -> Any:
        return self.site.isolations.knock(name)

    def service(self, name: str) -> Any:
        return self.site.service(name)

    def scanner(self) -> Any:
        return self.site.scanner()

    def shell_on(self, host: str | None) -> Any:
        """Of a host, by the key that it lets in; this machine's own without a name, and where a host is this machine."""
        if host is None or (host in self.config.hosts and self.config.hosts[host].here):
            return self.shell
        return self.site.on_host(host, "ssh-isolation" if self.site.entered(host) is not None else "ssh-backup")

    @property
    def isolated(self) -> Any:
        return self.site.isolations.register

    @property
    def media(self) -> Any:
        return self.site.media

    @property
    def incidents(self) -> Any:
        return self.site.incidents

    @property
    def reports(self) -> Any:
        return self.site.reports

    def open_incidents(self) -> Sequence[str]:
        found: Sequence[str] = self._driver("open incidents", self.site.incidents.earnest)
        return found

    def prober(self, name: str, driver: Any) -> Any:
        """Who tries whether a host is cut off; one that is entered, on its driver's connection."""
        return self.site.isolations.prober(name, driver)

    def clean_room(self, name: str, place: str = "") -> Any:
        """The clean room of that name, one for a whole run; whoever enters it has it until the run ends."""
        from opsctl.wiring.rooms import clean_room

        return self._driver(f"{_ROOM}{place} {name}", lambda: clean_room(self.site, name, self.run, place))

    def clean_rooms(self, place: str = "") -> Sequence[Any]:
        from opsctl.wiring.rooms import rooms

        return rooms(self.site, place)

    def close(self) -> None:
        """End what a run still has of its own: its clean rooms, with all that runs in them. What lies in them stays."""
        for name, driver in self._drivers.items():
            if name.startswith(_ROOM):
                driver.leave()

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        place = self.directory / "scratch"
        private_folder(place)
        made = Path(tempfile.mkdtemp(dir=place))
        try:
            yield made
        finally:
            shutil.rmtree(made, ignore_errors=True)

    def keep(self, *parts: str) -> Path:
        place = self.directory.joinpath("kept", *parts)
        if parts not in self._kept:
            private_folder(place)
            self._kept.add(parts)
        return place

    def kept_by(self, run: str, *parts: str) -> Path:
        return (self.site.place / "runs" / run / "kept").joinpath(*parts)

    def progress(self, event: Progress) -> None:
        if self._on_progress is not None:
            self._on_progress(event)

    def tell(self, message: str) -> None:
        if self._on_tell is not None:
            self._on_tell(message)

    def warn(self, message: str) -> None:
        with self._guard:
            if message not in self._warnings:
                self._warnings.append(message)

    @property
    def warnings(self) -> list[str]:
        """Everything that has to be told about this run so far."""
        return [*self.site.said, *self._warnings]

    def journal_head(self) -> Mapping[str, Any]:
        entry = self.site.journal.append("journal.anchored", {"by": "manifest"}, run=self.run)
        return {"seq": entry.seq, "hash": entry.hash}

    def carry(self, repository: str, place: Path) -> Mapping[str, Any]:
        """Put the configuration without its secrets, and the journal so far, into ``place``; what of it, for the manifest.

        Nothing where hosts open the repository themselves: whoever has one of them would read it.
        """
        from opsctl.engine import carried

        if hosts := carried.opened_by_hosts(self.config, repository):
            return {"files": {}, "left_out": {}, "kept_from": hosts}
        found = carried.put_configuration(self.config, place / carried.CONFIGURATION)
        for name, reason in found["left_out"].items():
            self.warn(f"{name} is not in the copy of the configuration that each set carries: {reason}")
        carried.put_journal(self.site.place / "journal", place / carried.JOURNAL)
        carried.put_pinned(self.site.state / "repositories", place)
        return {**found, "kept_from": []}

    @property
    def keys_directory(self) -> Path:
        return self.site.keys_directory

    @property
    def trusted(self) -> frozenset[str]:
        return self.site.trusted

    @property
    def kit(self) -> Any:
        """What an emergency kit says of the site (``wiring.kit.KitFacts``)."""
        from opsctl.wiring.kit import KitFacts

        return KitFacts(self.site)

    def vouch_for(self, journal: Path, view: SetView, history: History) -> Mapping[str, Any]:
        """How far a journal out of a set is what was written, by that set's manifest and those before it in its repository.

        DamagedData where it is not, or does not reach the line that the set's own manifest names.
        """
        from opsctl.engine.carried import vouched

        sets = history.seen(self.clock()).judgement.sets
        return vouched(journal, view, [one for one in sets if one.signer in history.trusted], history.name)

    def versions(self) -> Mapping[str, str]:
        _, version = self.site.restic
        return {"restic": ".".join(map(str, version))}

    def fingerprint(self, public_key: str) -> str:
        return self.site.fingerprint(public_key)

    def plan_digest(self) -> str:
        from opsctl.model.statements import plan_digest

        return plan_digest(self.plan.as_json())

    def records(self, step: str) -> Sequence[Mapping[str, Any]]:
        return [entry.data for entry in self.site.journal.read(run=self.run, types=("person.done",))
                if entry.data["statement"]["step"] == step]

    @property
    def incident(self) -> str:
        """The incident that this run is for, by its input of that name; empty without one."""
        return str(self.plan.inputs.get("incident") or "")

    def repository_id(self) -> str:
        """The pinned id of the repository that this run is about, by its input ``repository`` or ``backup``; else empty."""
        from opsctl.wiring.approvals import repository_id

        return repository_id(self.site, self.plan)

    def members(self) -> Mapping[str, Any]:
        from opsctl.wiring.people import members

        return members(self.site)

    def agreed(self, step: str) -> int:
        """How many people have signed for what a step does, counted once for all of its items."""
        from opsctl.actions.agreeing import agreement

        found: int = self._driver(f"agreed {step}", lambda: agreement(step, self).people)
        return found

    def standing(self, run: str) -> str:
        """``running waiting ended interrupted`` of a run that was begun here; empty of any other."""
        from opsctl.engine.runs import Runs

        found = Runs(self.site.place, self.site.journal, self.site.locks)
        return found.standing(run) if (found.directory / run / "plan.json").exists() else ""

    def changed_parts(self, step: str) -> Sequence[str]:
        """The parts of the configuration that what a step ``approve`` opens uses, and that are not what they were when it was bound."""
        from opsctl.model.config_used import changed

        if all(one.id != step for one in self.plan.steps):
            return ()  # a line of the journal may name anything
        return changed(self.plan.step(step).configured, self.plan.opened(step), self.config)

    def accept_people(self) -> None:
        from opsctl.wiring.people import accept_first

        accept_first(self.site)

    def entries(self, types: Collection[str]) -> Sequence[tuple[str, Mapping[str, Any]]]:
        return [(entry.type, entry.data) for entry in self.site.journal.read(run=self.run, types=types)]

    def runs_of(self, playbook: str) -> Sequence[World]:
        """Every run of a playbook that the journal knows and whose plan can be read, as a world to look into."""
        from opsctl.wiring.plans import load_plan

        found = []
        for entry in self.site.journal.read(types=("run.bound",)):
            if entry.data["playbook"] == playbook and entry.run is not None:
                with contextlib.suppress(OpsError):
                    found.append(World(self.site, load_plan(self.site, entry.run)))
        return found

    def run_of(self, run: str) -> World:
        """Another run, as a world to look into."""
        from opsctl.wiring.plans import load_plan

        return World(self.site, load_plan(self.site, run))

    @property
    def inputs(self) -> Mapping[str, Any]:
        """What this run was started with."""
        return self.plan.inputs

    def steps(self, word: str) -> Sequence[Mapping[str, Any]]:
        """The parameters of the steps with this word."""
        return [item.params for step in self.plan.steps if step.uses == word for item in step.items]

    def other_runs(self, playbooks: Collection[str], incident: Incident) -> Sequence[Any]:
        """The runs of playbooks that were bound since an incident was opened, and how they stand (``engine.run_ends.RunEnd``)."""
        from opsctl.engine.run_ends import run_ends

        return run_ends(self.site.journal, playbooks, incident)

    def notified(self) -> Sequence[str]:
        """Where notices go, without what may be secret; nothing where nobody is configured."""
        from opsctl.wiring.sending import addresses, label

        settings = self.config.notify
        return [label(one) for one in addresses(settings, self.shell)] if settings is not None else []

    def send(self, title: str, body: str) -> Mapping[str, bool]:
        """Tell everybody whom the configuration names: which address, without what may be secret, took it."""
        from opsctl.wiring.sending import addresses, label, send

        settings = self.config.notify
        urls = addresses(settings, self.shell) if settings is not None else []
        if not urls:
            return {}
        sent = send({"urls": urls, "title": title, "body": body, "ping": None}, self.shell)["sent"]
        return {label(url): bool(took) for url, took in zip(urls, sent, strict=True)}

    def note(self, type: str, data: Mapping[str, Any]) -> None:
        self.site.journal.append(type, data, run=self.run)

    def outcomes_before(self, word: str) -> Sequence[tuple[str, Mapping[str, Any], str]]:
        with self._guard:
            if word not in self._outcomes:
                self._outcomes[word] = self.outcomes(word) if any(step.uses == word for step in self.plan.steps) else []
            return self._outcomes[word]

    def outcomes(self, word: str) -> Sequence[tuple[str, Mapping[str, Any], str]]:
        ended = {(entry.data["step"], entry.data["item"]): str(entry.data["outcome"])
                 for entry in self.site.journal.read(run=self.run, types=("step.end",))}
        not_yet = "planned" if self.dry else ""
        return [(step.id, item.params, ended.get((step.id, item.item), not_yet)) for step in self.plan.steps if step.uses == word
                for item in step.items]
