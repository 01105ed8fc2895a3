"""The waves in which people are let in again, each watched before the next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Annotated, Any

from opsctl.model.fields import Command, Count, Duration, Mistake, Name, Names, Part, Shown, mapping, meant, shown
from opsctl.model.hosts import unknown_host
from opsctl.model.part import AfterValidator, Field, Strict

_COMMANDS = ("open", "is_open", "close")


def _opening(value: str) -> str:
    from opsctl.model.isolation import opening  # only where there is one

    try:
        return str(opening(value))
    except ValueError:
        raise ValueError("must be an address, a prefix or an opening, such as 10.1.0.0/16 or in:10.1.0.0/16:443") from None


class Wave(Part):
    """One wave: who is let in, how, and for how long that is watched before it stays."""

    hosts: Names = Field(default=(), description="Hosts or zones that are cut off (`isolation: nftables`), and let these in.")
    allow: Annotated[tuple[Annotated[str, AfterValidator(_opening), Shown("text")], ...], Strict(False)] = Field(
        default=(), description="Who is let in there, as `isolate apply --allow` takes it: `10.1.0.0/16`, `in:10.1.0.0/16:443`."
    )
    open: Command | None = Field(default=None, description="In place of both: a command of your own that lets them in.")
    is_open: Command | None = Field(default=None, description="Exits 0 where they are let in, 1 where they are not; anything else is a failure.")
    close: Command | None = Field(default=None, description="Takes it back.")
    on: Name | None = Field(default=None, description="The host that the commands run on; this machine without it.")
    limit: Duration = Field(default=timedelta(minutes=5), description="A command that takes longer has failed.")
    services: Names = Field(
        default=(), description="Services whose proofs (http, tcp, command) are looked at before it opens and while it is watched; all, if none is named."
    )
    watch: Duration = Field(default=timedelta(hours=2), description="How long it is watched before it stays open.")
    every: Duration = Field(default=timedelta(minutes=5), description="How often the proofs are repeated meanwhile.")
    stays: Duration = Field(
        default=timedelta(hours=1), description="How much longer than `watch` hosts stay open when nobody goes on with the run; then they close themselves."
    )
    people: Count | None = Field(default=None, description="How many have to approve it before; 2 for `public`, else nobody, if nothing is said.")
    role: Name | None = Field(default=None, description="The role that they need; anyone in `people`, if nothing is said.")


class Reopening(Part):
    """The waves, in this order: one begins when all that stand before it are open and stay so."""

    internal: Wave | None = Field(default=None, description="The IT team and a few offices.")
    pilot: Wave | None = Field(default=None, description="A few municipal bodies.")
    all_bodies: Wave | None = Field(default=None, alias="all-bodies", description="All of them.")
    public: Wave | None = Field(default=None, description="Citizens and payments.")

    @property
    def waves(self) -> Mapping[str, Wave]:
        """Those that there are, in their order."""
        found = {"internal": self.internal, "pilot": self.pilot, "all-bodies": self.all_bodies, "public": self.public}
        return {name: wave for name, wave in found.items() if wave is not None}


def needed(name: str, wave: Wave) -> int:
    """How many have to approve a wave."""
    return wave.people if wave.people is not None else 2 if name == "public" else 0


def reopening_mistakes(data: Any) -> Iterator[Mistake]:
    """Waves that open nothing, or hosts that cannot open for a time; ``data`` may have any shape."""
    hosts, zones, services = (mapping(data, key) for key in ("hosts", "zones", "services"))
    for name, wave in mapping(data, "reopening").items():
        if not isinstance(wave, dict):
            continue
        place = ("reopening", name)
        given = [word for word in _COMMANDS if wave.get(word) is not None]
        if given and (wave.get("hosts") or wave.get("allow")):
            yield (*place, given[0]), "is for a wave without hosts: and allow:"
        elif given and len(given) < len(_COMMANDS):
            yield place, f"needs open:, is_open: and close: ({', '.join(word for word in _COMMANDS if word not in given)} missing)"
        elif not given and not (wave.get("hosts") and wave.get("allow")):
            yield place, "opens nothing: needs hosts: and allow:, or open:, is_open: and close:"
        for number, host in enumerate(_listed(wave.get("hosts"))):
            where = (*place, "hosts", number)
            if host in zones:
                inside = {one: entry for one, entry in hosts.items() if isinstance(entry, dict) and entry.get("zone") == host}
                wrong = [one for one, entry in inside.items() if entry.get("isolation") != "nftables"]
                if not inside:
                    yield where, f"there is no host in zone {shown(host)}"
            elif isinstance(hosts.get(host), dict):
                wrong = [host] if hosts[host].get("isolation") != "nftables" else []
            else:
                yield where, f"there is no host and no zone {shown(host)}{meant(host, (*hosts, *zones))}"
                continue
            if wrong:
                yield where, f"{', '.join(wrong)}: only a host with isolation: nftables opens for a time; use open:, is_open: and close:"
        for number, service in enumerate(_listed(wave.get("services"))):
            if service not in services:
                yield (*place, "services", number), f"there is no service {shown(service)}{meant(service, services)}"
        if unknown := unknown_host(data, wave.get("on")):
            yield (*place, "on"), unknown


def watched(wave: Wave, services: Mapping[str, Any]) -> list[str]:
    """The services that are watched with a wave."""
    return list(wave.services or services)


def _listed(value: Any) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def hosts_of(wave: Wave, hosts: Mapping[str, Any]) -> list[str]:
    """The hosts of a wave, each once: a zone's name stands for all in it."""
    found = [host for name in wave.hosts for host in ([name] if name in hosts else [one for one, spec in hosts.items() if spec.zone == name])]
    return list(dict.fromkeys(found))


