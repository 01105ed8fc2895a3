"""Services and machines that can be stopped and started, and what they need."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

from opsctl.model.config_proofs import Proofs, proof_mistakes
from opsctl.model.fields import (
    Argument,
    Command,
    Duration,
    Line,
    Lines,
    Mistake,
    Name,
    Names,
    Part,
    entries,
    mapping,
    meant,
    shown,
)
from opsctl.model.hosts import unknown_host
from opsctl.model.part import Field

_WORDS = ("running", "stop", "start")


class Service(Part):
    """Something that runs, by its systemd unit or by three commands of your own. The key of the entry is its name.

    A machine is a service whose commands ask its hypervisor. One that has neither unit nor commands is what it `restores`
    or `needs`, and is not started or stopped."""

    on: Name | None = Field(default=None, description="The host that it runs on; this machine without it.")
    unit: Argument | None = Field(default=None, description="Its systemd unit, such as `nginx.service`, in place of the three commands.")
    running: Command | None = Field(
        default=None, description="Exits 0 where it runs, 1 or 3 where it does not; anything else is a failure."
    )
    stop: Command | None = Field(default=None, description="Stops it, and ends when it has stopped.")
    start: Command | None = Field(
        default=None, description="Starts it. What goes on running has to detach itself (`setsid`), as what systemctl starts does."
    )
    needs: Names = Field(default=(), description="Names of the services that it cannot run without: stopped after it, started before.")
    machine: bool = Field(default=False, description="It is a whole machine: with it goes everything that it has in memory.")
    limit: Duration = Field(default=timedelta(minutes=5), description="What takes longer to stop or to start has failed.")
    restores: Names = Field(
        default=(), description="The sources that hold its data: `opsctl restore run` brings them back before it is started. All of one backup."
    )
    proofs: Proofs = Field(
        default=(), description="What shows that it is right again, of kind `rows`, `files`, `http`, `tcp` or `command`: `opsctl explain prove`."
    )
    backup: Name | None = Field(default=None, description="That backup, where several hold these sources.")
    into: dict[Name, Line] = Field(
        default_factory=dict,
        description="Where a source is brought back, by its name, if not to its own place: a folder, a file or a database.",
    )
    rto: Duration | None = Field(default=None, description="How long it may take until it is back, from the beginning of the restoration.")
    rpo: Duration | None = Field(default=None, description="How old the data may be that it is brought back with.")
    not_backed_up: Lines = Field(
        default=(), description="What people have to bring besides, such as certificates or accounts; `opsctl restore plan` lists it."
    )

    @property
    def commands(self) -> bool:
        """Whether there is something to stop and to start."""
        return self.unit is not None or self.running is not None


def service_mistakes(data: Any) -> Iterator[Mistake]:
    """References to what is not there, commands that are missing, services that need each other; ``data`` may have any shape."""
    services = mapping(data, "services")
    for name, entry in entries(data, "services"):
        place = ("services", name)
        if unknown := unknown_host(data, entry.get("on")):
            yield (*place, "on"), unknown
        elif isinstance(on := entry.get("on"), str) and mapping(mapping(data, "hosts"), on).get("os", "linux") != "linux":
            yield (*place, "on"), f"{on} is not logged into"
        given = [word for word in _WORDS if entry.get(word) is not None]
        if entry.get("unit") is not None and given:
            yield (*place, given[0]), "is for a service without unit:"
        elif entry.get("unit") is None and len(given) < len(_WORDS) and (given or not (entry.get("restores") or entry.get("needs"))):
            yield place, f"needs unit:, or all of running:, stop: and start: ({', '.join(w for w in _WORDS if w not in given)} missing)"
        needs = entry.get("needs")
        for number, needed in enumerate(needs if isinstance(needs, list) else []):
            if isinstance(needed, str) and needed not in services:
                yield (*place, "needs", number), f"there is no service {shown(needed)}{meant(needed, services)}"
        yield from proof_mistakes(data, name, entry)
        if name in _beneath(name, {key: _listed(value) for key, value in services.items()}):
            yield (*place, "needs"), f"{name} needs itself, by way of others"


def _listed(entry: Any) -> list[str]:
    needs = entry.get("needs") if isinstance(entry, dict) else None
    return [one for one in needs if isinstance(one, str)] if isinstance(needs, list) else []


def _beneath(name: str, needs: Mapping[str, Sequence[str]]) -> set[str]:
    """Everything that a service needs, directly or by way of others."""
    found: set[str] = set()
    todo = [*needs.get(name, ())]
    while todo:
        one = todo.pop()
        if one not in found:
            found.add(one)
            todo += needs.get(one, ())
    return found


def to_stop(asked: Collection[str], services: Mapping[str, Service]) -> list[str]:
    """What has to be stopped for these, in its order: whatever needs one of them goes first."""
    needs = {name: service.needs for name, service in services.items()}
    found = [name for name in needs if name in asked or _beneath(name, needs) & set(asked)]
    return [name for name in _ordered(found, needs)[::-1] if services[name].commands]


def to_start(asked: Collection[str], services: Mapping[str, Service]) -> list[str]:
    """What has to be started for these, in its order: what they need goes first."""
    return [name for name in in_order(asked, services) if services[name].commands]


def in_order(asked: Collection[str], services: Mapping[str, Service]) -> list[str]:
    """These and everything that they need, whatever is needed before what needs it."""
    needs = {name: service.needs for name, service in services.items()}
    beneath = set(asked).union(*(_beneath(name, needs) for name in asked))
    return _ordered([name for name in needs if name in beneath], needs)


def _ordered(names: Sequence[str], needs: Mapping[str, Sequence[str]]) -> list[str]:
    """Whatever is needed stands before what needs it."""
    return sorted(names, key=lambda name: (len(_depth(name, needs)), names.index(name)))


def _depth(name: str, needs: Mapping[str, Sequence[str]]) -> list[str]:
    """The longest way down from a service."""
    return max(([one, *_depth(one, needs)] for one in needs.get(name, ())), key=len, default=[])
