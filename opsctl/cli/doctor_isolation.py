"""Could hosts be cut off today, and would that be proven: witness, endpoints outside, gateways, store, tools, AWS."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from opsctl.cli.doctor import OK, WARNING, WRONG, Check, right
from opsctl.cli.doctor_jobs import Job
from opsctl.model.quantities import counted

if TYPE_CHECKING:
    from opsctl.model.config import Config
    from opsctl.model.probes import Endpoint
    from opsctl.wiring import Site

_SECONDS = 45.0  # a little more than logging in and asking allow themselves
_NONE = "no witness: that a host is out of reach is tried from this machine alone"
_NOTHING = ("nothing is named that a host which is cut off must not reach",
            'isolation: {outside: ["10.0.0.5:443"]}: what answers it today, over IPv4 and IPv6')
_MOST = 4  # names in a row


def jobs(site: Site) -> list[Job]:
    """What there is to look at; nothing where no host is meant to be cut off."""
    config = site.config
    ways = {name: host for name, host in config.hosts.items() if host.isolation or host.by_hand}
    if not ways:
        return []
    witness, store = config.isolation.witness, config.isolation.store
    gates = dict.fromkeys(host.gateway for host in config.hosts.values() if host.gateway)
    found = [Job("isolation", lambda: [_hosts(config)], _SECONDS)]
    if witness is None:
        found.append(Job("witness", lambda: [Check("witness", WARNING, _NONE, "isolation: {witness: HOST}: one in another network")], _SECONDS))
    for what, name in (("witness", witness), *(("gateway", gate) for gate in gates), ("store host", store)):
        if name is not None:
            found.append(Job(f"{what} {name}", lambda what=what, name=name: [_entered(site, what, name)],  # type: ignore[misc]
                             _SECONDS, outside=True))
    if not config.isolation.outside:
        found.append(Job("outside", lambda: [Check("outside", WARNING, *_NOTHING)], _SECONDS))
    for name in _one_a_zone(config) if config.isolation.outside else ():
        found.append(Job(f"outside from {name}", lambda name=name: list(_outside(site, name)), _SECONDS, outside=True))  # type: ignore[misc]
    for tool in config.isolation.tools:
        host = next((name for name, spec in ways.items() if spec.isolation == "command" and spec.tool == tool), None)
        if host is not None:
            found.append(Job(f"tool {tool}", lambda tool=tool, host=host: [_tool(site, tool, host)],  # type: ignore[misc]
                             config.isolation.tools[tool].limit.total_seconds() + 5, outside=True))
    for region in dict.fromkeys(spec.region for spec in ways.values() if spec.isolation == "aws_security_group"):
        names = [name for name, spec in ways.items() if spec.isolation == "aws_security_group" and spec.region == region]
        found.append(Job(f"aws {region}", lambda region=region, names=names: [_aws(site, str(region), names)],  # type: ignore[misc]
                         _SECONDS, outside=True))
    return found


def _hosts(config: Config) -> Check:
    """Who can be cut off, and by whom."""
    software = [name for name, host in config.hosts.items() if host.isolation]
    by_hand = [name for name, host in config.hosts.items() if not host.isolation and host.by_hand]
    common = config.isolation
    stay = {*common.stays, common.witness, common.store, *(host.gateway for host in config.hosts.values()),
            *(tool.host for tool in common.tools.values())}  # that cut off, or prove it, and are not cut off with others
    nobody = [name for name, host in config.hosts.items() if not host.isolation and not host.by_hand and name not in stay]
    detail = f"{len(software)} of {counted(len(config.hosts), 'host')} by software"
    detail += f", {_few(by_hand)} by a person" if by_hand else ""
    if nobody:
        return Check("isolation", WARNING, f"{detail}; nothing says how {_few(nobody)} would be cut off",
                     "isolation: of the host, or by_hand: what a person does, and whom to call")
    return Check("isolation", OK, detail)


def _entered(site: Site, what: str, name: str) -> Check:
    from opsctl.engine.hosts_isolation import look

    wanted = site.entered(name)
    if wanted is None:
        return Check(f"{what} {name}", WRONG, f"os: {site.config.hosts[name].os} is not logged into", "name a host that is")
    ok, seen, hint = look(wanted[1], wanted[0])
    return right(f"{what} {name}", ok, seen, hint)


def _one_a_zone(config: Config) -> Iterator[str]:
    """A host of each zone that is entered, which stands for what the zone reaches."""
    seen: set[str | None] = set()
    for name, host in config.hosts.items():
        if host.isolation == "nftables" and host.pinned and host.zone not in seen:
            seen.add(host.zone)
            yield name


def _outside(site: Site, name: str) -> Iterator[Check]:
    """What a host that is cut off must not reach has to answer now: otherwise its silence then would prove nothing."""
    from opsctl.isolation.calling import Elsewhere
    from opsctl.model.probes import endpoint

    row = f"outside from {name}"
    targets = [endpoint(one) for one in site.config.isolation.outside]
    answers, _, _ = Elsewhere.through(site.on_host(name, "ssh-isolation"), targets).read()
    dumb: list[Endpoint] = [to for to, answer in zip(targets, answers, strict=True) if answer.outcome not in ("open", "refused")]
    if not dumb:
        yield Check(row, OK, f"{counted(len(targets), 'endpoint')} answer{'s' if len(targets) == 1 else ''}")
    else:
        yield Check(row, WRONG if len(dumb) == len(targets) else WARNING,
                    f"{_few([str(one) for one in dumb])} does not answer {name} now, so silence would prove nothing once it is cut off",
                    "is it running, and may the host reach it? otherwise name another below isolation: outside:")


def _tool(site: Site, tool: str, host: str) -> Check:
    stand = site.isolations.driver(host).observe()
    return Check(f"tool {tool}", OK, f"answers: {host} is {stand.standing}")


def _aws(site: Site, region: str, names: Sequence[str]) -> Check:
    """The credentials, every instance, and for the first one all that cutting off and releasing need."""
    drivers = [site.isolations.driver(name) for name in names]
    drivers[0].check()
    for driver in drivers[1:]:
        driver.observe()
    return Check(f"aws {region}", OK, f"{counted(len(names), 'instance')} there, and all that is needed is allowed")


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:_MOST]) + (f" and {len(names) - _MOST} more" if len(names) > _MOST else "")
