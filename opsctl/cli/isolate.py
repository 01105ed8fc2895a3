"""``opsctl isolate``: cut hosts off, and open them again."""

from __future__ import annotations

from typing import Annotated

import typer

from opsctl.cli.isolate_hosts import Asked
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
    within: Annotated[str, typer.Option(
        "--confirm-within", metavar="DURATION", help="unless confirmed for so long it lifts itself")] = "60s",
    host_key: HostKeys = None,
    key: Key = "",
) -> Report:
    """Cut hosts off from everything but this machine.

    Each host loads rules that lift themselves, is connected to anew, and only then confirmed; its old connections are
    ended, and a second look proves it. The last line is the command that releases.
    """
    from opsctl.cli.isolate_apply import apply as carry_out

    asked = Asked(tuple(hosts or ()), tuple(zone or ()), every, tuple(without or ()), tuple(host_key or ()), key)
    return carry_out(of(context), asked, {"incident": incident, "allow": allow or [], "within": within})


@app.command("status")
def status(context: typer.Context, hosts: Hosts = None, host_key: HostKeys = None, key: Key = "") -> Report:
    """What is cut off, and whether it still is.

    Since when, by whom and for which incident; exit 21 where it is not as it was confirmed.
    Without names it looks at what this machine has cut off, and where that is nothing at every host.
    """
    from opsctl.cli.isolate_status import status as look

    return look(of(context), Asked(tuple(hosts or ()), keys=tuple(host_key or ()), key=key))


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

    asked = Asked(tuple(hosts or ()), tuple(zone or ()), every, tuple(without or ()), tuple(host_key or ()), key)
    return carry_out(of(context), asked, incident)
