"""``opsctl isolate``: cut hosts off, and open them again."""

from __future__ import annotations

from typing import Annotated

import typer

from opsctl.cli.isolate_hosts import ask
from opsctl.cli.report import Report
from opsctl.cli.session import of

app = typer.Typer(help="Cut hosts off within seconds, prove it, and open them again.", no_args_is_help=True)

Hosts = Annotated[list[str] | None, typer.Argument(
    metavar="HOST", help="configured hosts, or user@address[:port] with --host-key and no configuration")]
Zones = Annotated[list[str] | None, typer.Option("--zone", metavar="ZONE", help="the hosts of this zone; may be given again")]
Every = Annotated[bool, typer.Option("--all", help="every host of the configuration")]
Without = Annotated[list[str] | None, typer.Option("--except", metavar="HOST", help="not this one; may be given again")]
Incident = Annotated[str, typer.Option("--incident", metavar="ID", help="the incident that it is done for")]
HostKeys = Annotated[list[str] | None, typer.Option(
    "--host-key", metavar="SHA256:…", help="fingerprint of the key of user@address, from its own console (ssh-keygen -lf)")]
Key = Annotated[str, typer.Option("--key", metavar="FILE", help="private key to log into user@address; your agent's otherwise")]


@app.command("plan")
def plan(
    context: typer.Context,
    hosts: Hosts = None,
    zone: Zones = None,
    every: Every = False,
    without: Without = None,
    host_key: HostKeys = None,
    key: Key = "",
) -> Report:
    """What would be cut off, what only a person can, what stops.

    Every host is looked at and nothing is changed. Exit 3 where something is reached by no software, 23 where something is
    among them that opsctl or the backups need.
    """
    from opsctl.cli.isolate_plan import plan as look

    return look(of(context), ask(hosts, zone, every, without, host_key, key))


@app.command("apply")
def apply(
    context: typer.Context,
    hosts: Hosts = None,
    zone: Zones = None,
    every: Every = False,
    without: Without = None,
    incident: Incident = "",
    allow: Annotated[list[str] | None, typer.Option(
        "--allow", metavar="WHAT", help="what stays: 10.0.0.5, in:10.0.0.5:443, out:udp:10.0.0.5:123; may be given again")] = None,
    profile: Annotated[str, typer.Option(
        "--profile", metavar="NAME", help="full; backup-only: the backup stores stay in reach; outbound-only: it may call out")] = "full",
    within: Annotated[str, typer.Option(
        "--confirm-within", metavar="DURATION", help="unless confirmed for so long it lifts itself")] = "60s",
    hold: Annotated[bool, typer.Option(
        "--hold", help="do not let it lift itself: only where a console or a gateway can bring the host back")] = False,
    persist: Annotated[bool, typer.Option("--persist", help="let it come back after a reboot of the host")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="let `isolate status` cut off again what was lifted")] = False,
    dhcp: Annotated[bool, typer.Option("--dhcp", help="let hosts renew their addresses, or they lose them when the lease ends")] = False,
    gateway: Annotated[bool, typer.Option(
        "--by-gateway", help="by the host that forwards for it, also where it could be entered")] = False,
    probe_first: Annotated[bool, typer.Option(
        "--probe-first", help="try before as well what answers: two seconds, for a proof that silence means something")] = False,
    tolerate: Annotated[str, typer.Option("--tolerate", metavar="N|N%", help="so many may fail before what follows is given up")] = "0",
    at_once: Annotated[int, typer.Option("--at-once", metavar="N", min=1, max=512, help="so many hosts at the same time")] = 512,
    canary: Annotated[int, typer.Option("--canary", metavar="N", min=0, help="so many first, the rest only if all of these succeeded")] = 0,
    waves: Annotated[int, typer.Option("--waves", metavar="N", min=0, help="so many in a wave, and the next when it has ended")] = 0,
    stop_after: Annotated[int, typer.Option("--stop-after", metavar="N", min=0, help="after so many failures the rest is not begun")] = 0,
    retry_for: Annotated[str, typer.Option(
        "--retry-for", metavar="DURATION", help="for so long a host that does not answer is tried again")] = "3m",
    host_key: HostKeys = None,
    key: Key = "",
) -> Report:
    """Cut hosts off from everything but this machine.

    Each host loads rules that lift themselves, is connected to anew, and only then confirmed; its old connections are
    ended, and a second look proves it. The last line is the command that releases.
    """
    from opsctl.cli.isolate_apply import apply as carry_out

    asked = ask(hosts, zone, every, without, host_key, key)
    return carry_out(of(context), asked, {
        "incident": incident, "allow": allow or [], "profile": profile, "within": within, "hold": hold, "persist": persist,
        "keep": keep, "dhcp": dhcp, "gateway": gateway, "probe-first": probe_first, "tolerate": tolerate, "at_once": at_once,
        "canary": canary, "waves": waves, "stop_after": stop_after, "retry_for": retry_for})


@app.command("confirm")
def confirm(
    context: typer.Context,
    hosts: Hosts = None,
    longer: Annotated[str, typer.Option(
        "--for", metavar="DURATION", help="do not confirm, but let it lift itself only in so long from now")] = "",
    host_key: HostKeys = None,
    key: Key = "",
) -> Report:
    """Make permanent what was loaded and would lift itself.

    Over a new connection; old connections are ended then. What has lifted itself meanwhile stays open (21).
    """
    from opsctl.cli.isolate_apply import seconds
    from opsctl.cli.isolate_more import confirm as carry_out

    asked = ask(hosts, keys=host_key, key=key)
    return carry_out(of(context), asked, seconds("--for", longer, 2) if longer else None)


@app.command("rehearse")
def rehearse(
    context: typer.Context,
    hosts: Hosts = None,
    length: Annotated[int, typer.Option("--seconds", metavar="N", min=2, max=600, help="until it lifts itself")] = 60,
    host_key: HostKeys = None,
    key: Key = "",
) -> Report:
    """Cut a host off for a minute, to practise.

    It always lifts itself, which is waited for and seen; connections pause and go on, none is ended.
    """
    from opsctl.cli.isolate_more import rehearse as carry_out

    return carry_out(of(context), ask(hosts, keys=host_key, key=key), length)


@app.command("status")
def status(
    context: typer.Context,
    hosts: Hosts = None,
    zone: Zones = None,
    every: Every = False,
    keep: Annotated[bool, typer.Option("--keep", help="cut off again what was lifted or changed")] = False,
    due: Annotated[bool, typer.Option("--due", help="only what this machine has cut off; for timers")] = False,
    host_key: HostKeys = None,
    key: Key = "",
) -> Report:
    """What is cut off, and whether it still is.

    Since when, by whom and for which incident; exit 21 where it is not as it was confirmed. Without names it looks at what
    this machine has cut off, and where that is nothing at every host.
    """
    from opsctl.cli.isolate_status import status as look

    asked = ask(hosts, zone, every, keys=host_key, key=key)
    return look(of(context), asked, keep=keep, due=due)


@app.command("release")
def release(
    context: typer.Context,
    hosts: Hosts = None,
    zone: Zones = None,
    every: Every = False,
    without: Without = None,
    incident: Incident = "",
    host_key: HostKeys = None,
    key: Key = "",
) -> Report:
    """Open hosts again.

    Our own rules are taken away, and nothing else. Old connections stay dead.
    """
    from opsctl.cli.isolate_release import release as carry_out

    asked = ask(hosts, zone, every, without, host_key, key)
    return carry_out(of(context), asked, incident)
