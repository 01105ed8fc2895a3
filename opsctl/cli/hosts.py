"""``opsctl hosts``: the machines that are reached over SSH, taken in with their keys looked at, and tried."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opsctl.cli.rekey import rekey
from opsctl.cli.report import Column, Mark, Out, Report, Table, Tone
from opsctl.cli.session import Session, of
from opsctl.errors import ConfigError, OpsError, Refused, SafetyRefusal, UsageError, Waiting, worst
from opsctl.model.quantities import counted

if TYPE_CHECKING:
    from opsctl.engine.hosts_check import Checked
    from opsctl.engine.hosts_csv import Row
    from opsctl.model.hosts import Host
    from opsctl.wiring import Site

app = typer.Typer(help="Machines that are reached over SSH: take them in, prepare them, try them.", no_args_is_help=True)

_CONSOLE = "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub"
Names = Annotated[list[str] | None, typer.Argument(metavar="HOST", help="names of hosts; all if none is given")]
Zone = Annotated[str | None, typer.Option("--zone", metavar="ZONE", help="the hosts of this zone")]


@app.command("list")
def list_hosts(context: typer.Context, zone: Zone = None) -> Report:
    """The hosts, and the fingerprints of their pinned keys."""
    from opsctl.cli.work import open_site

    site = open_site(of(context))
    chosen = _chosen(site, None, zone)
    result = [_as_json(site, name, host) for name, host in chosen.items()]

    def text(out: Out) -> None:
        out.table(Table(
            ("host", "zone", Column("address", flexible=True), "user", "become", Column("host key", flexible=True)),
            [[one["host"], one["zone"] or "", f"{one['address']}{'' if one['port'] == 22 else ' port ' + str(one['port'])}",
              one["user"] if one["os"] == "linux" else f"({one['os']})", one["become"],
              one["fingerprint"] or (Mark("none", Tone.BAD) if one["os"] == "linux" else "")] for one in result],
            empty="no host is configured: opsctl hosts add NAME ADDRESS"))

    return Report(result={"hosts": result}, text=text, warnings=[*site.said])


@app.command("check")
def check(context: typer.Context, names: Names = None, zone: Zone = None) -> Report:
    """Try hosts: reachable, key, logins, sudo, isolation, restic.

    Both login keys, what cutting off takes, and the clock, too. Changes nothing. Exit 13 where a host does not answer,
    12 where a key or login is refused, 3 where something else is missing, or where it is so with some of several.
    """
    from opsctl.cli.signals import working
    from opsctl.cli.work import open_site
    from opsctl.engine.hosts_check import check_hosts

    session = of(context)
    site = open_site(session)
    chosen = _chosen(site, names, zone)
    if not chosen:
        raise UsageError("there is no host to check", hint="opsctl hosts add NAME ADDRESS")
    with working(session):
        found = check_hosts(chosen, lambda name: site.on_host(name).plain(), site.entered)
    errors = [one.error for one in found if one.error is not None]
    code = worst([0 if one.error is None else one.error.code for one in found])
    result = {one.host: {"ok": one.ok, "clock_offset_seconds": one.offset, "checks": [
        {"name": each.name, "ok": each.ok, "seen": each.seen, "hint": each.hint} for each in one.checks]}
        for one in found}
    return Report(result={"hosts": result}, text=lambda out: _write_checks(out, found), errors=errors, exit_code=code,
                  warnings=[*site.said])


def _write_checks(out: Out, found: Sequence[Checked]) -> None:
    marks = {True: Mark("ok", Tone.GOOD), False: Mark("wrong", Tone.BAD), None: Mark("-", Tone.QUIET)}
    out.table(Table(
        ("host", "check", "", Column("seen", flexible=True)),
        [[one.host if number == 0 else "", each.name, marks[each.ok], each.seen]
         for one in found for number, each in enumerate(one.checks)]))
    good = sum(one.ok for one in found)
    out.line(Mark(f"in order: {good} of {counted(len(found), 'host')}", Tone.GOOD if good == len(found) else Tone.BAD))


@app.command("prepare")
def prepare(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="HOST", help="name of a configured host")],
    source: Annotated[list[str] | None, typer.Option(
        "--from", metavar="ADDRESS", help="address that this machine comes from; may be given again")] = None,
) -> Report:
    """Print what an administrator puts on a host.

    That is the account, the keys, the sudoers lines. Makes our login keys if there are none.
    """
    from opsctl.cli.work import open_site
    from opsctl.model import hosts_access

    session = of(context)
    site = open_site(session)
    host = _chosen(site, [name], None)[name]
    if host.os != "linux":
        raise UsageError(f"{name} is os: {host.os}, which is not logged into")
    keys, made = site.login_keys(make=not session.dry_run)
    if host.isolation is None and hosts_access.entered(site.config, name) is None:
        keys.pop("ssh-isolation", None)
    sources = list(source or _own_addresses(host))
    for one in sources:
        if re.fullmatch(r"[A-Za-z0-9.:/*?_-]+", one) is None:
            raise UsageError(f"--from {one}: no address", hint="an address, or a network as 10.0.0.0/24")
    sudoers = hosts_access.sudoers(host) if host.become == "sudo" else []
    result = {"host": name, "account": hosts_access.account(host), "sudoers": sudoers,
              "authorized_keys": hosts_access.authorized_keys(keys, sources), "made": [str(path) for path in made],
              "certificates": _certificates(site, name), "fingerprint_command": _CONSOLE}
    return Report(result=result, text=lambda out: _write_preparation(out, name, host, result),
                  warnings=[*site.said, *_preparation_doubts(sources, keys), *filter(None, [hosts_access.without_root(name, host)])])


def _certificates(site: Site, name: str) -> list[str]:
    """The certificates of the stores that restic on this host writes to; it looks for them where we have them."""
    config = site.config
    stores = [config.repositories[backup.repository] for backup in config.backups.values()
              if any(config.sources[each].host == name and config.sources[each].kind == "paths" for each in backup.sources)]
    return list(dict.fromkeys(store.cacert for store in stores if store.cacert is not None))


def _write_preparation(out: Out, name: str, host: Host, result: Mapping[str, Any]) -> None:
    for path in result["made"]:
        out.line(f"made the login key {path}")
    if result["account"]:
        out.heading(f"On {name}, as root: the account")
        out.lines(result["account"])
    out.heading(f"~{host.user}/.ssh/authorized_keys (mode 0600, owned by {host.user})")
    out.lines(result["authorized_keys"])
    if result["sudoers"]:
        out.heading("/etc/sudoers.d/opsctl (mode 0440; try it with: visudo -cf FILE)")
        out.lines(result["sudoers"])
        out.line("Each of these, restic, a shell or a program, is as much as root itself: whoever has the key has the host.")
    if result["certificates"]:
        out.heading("Certificates of the stores, from this machine to the same path there (they are no secret)")
        out.lines(result["certificates"])
    out.heading("On its own console: the fingerprint that `opsctl hosts add` has to show")
    out.line(result["fingerprint_command"])
    out.line()
    out.line(f"Then here: opsctl hosts check {name}")


def _preparation_doubts(sources: Sequence[str], keys: Mapping[str, str]) -> list[str]:
    found = [] if sources else ["this machine's address is not known: without from= the key works from everywhere; --from"]
    return found if keys else [*found, "there are no login keys yet; without --dry-run they are made"]


def _own_addresses(host: Host) -> list[str]:
    """Our address as the host sees it, by the routing table; nothing is sent."""
    try:
        place = socket.getaddrinfo(host.address, host.port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(place[0], place[1]) as probe:
            probe.connect(place[4])
            return [probe.getsockname()[0]]
    except OSError:
        return []


@app.command("add")
def add(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="what the host is to be called")],
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="its address, or a name")],
    port: Annotated[int, typer.Option("--port", metavar="PORT", help="port of its sshd")] = 22,
    user: Annotated[str, typer.Option("--user", metavar="USER", help="account to log into")] = "opsctl",
    become: Annotated[str, typer.Option("--become", metavar="HOW", help="none or sudo")] = "none",
    zone: Annotated[str | None, typer.Option("--zone", metavar="ZONE", help="the zone that it stands in")] = None,
    isolation: Annotated[str | None, typer.Option("--isolation", metavar="HOW", help="how it is cut off")] = None,
    gateway: Annotated[str | None, typer.Option("--gateway", metavar="HOST", help="the host that forwards for it")] = None,
    tool: Annotated[str | None, typer.Option("--tool", metavar="TOOL", help="the tool of the site that cuts it off")] = None,
    instance: Annotated[str | None, typer.Option("--instance", metavar="ID", help="its id at EC2")] = None,
    region: Annotated[str | None, typer.Option("--region", metavar="REGION", help="its region at AWS")] = None,
    by_hand: Annotated[str | None, typer.Option(
        "--by-hand", metavar="TEXT", help="what a person has to do to cut it off, where no software can")] = None,
    console: Annotated[bool, typer.Option("--console", help="it has a console that works without the network")] = False,
    fingerprint: Annotated[str | None, typer.Option(
        "--fingerprint", metavar="SHA256:…", help="its key's, as its own console shows it; otherwise a person is asked")] = None,
) -> Report:
    """Take a host in, once its key was compared on its own console.

    It is written to hosts.yaml. --yes does not answer: a key is never trusted on first sight. Exit 12 where the key is another one.
    """
    from opsctl.cli.work import open_site
    from opsctl.engine.hosts_csv import parse_hosts

    session = of(context)
    if fingerprint is not None and re.fullmatch(r"SHA256:[A-Za-z0-9+/]{43}", fingerprint) is None:
        raise UsageError(f"--fingerprint {fingerprint}: no fingerprint", hint=f"SHA256: and 43 characters: {_CONSOLE}")
    site = open_site(session)
    cells = {"name": name, "address": address, "port": str(port), "user": user, "become": become, "zone": zone or "",
             "isolation": isolation or "", "gateway": gateway or "", "tool": tool or "", "instance": instance or "",
             "region": region or "", "by_hand": by_hand or "", "console": "true" if console else "",
             "fingerprint": f"SHA256:{'x' * 43}"}
    try:
        (row,) = parse_hosts(f"{','.join(cells)}\n{','.join(_cell(one) for one in cells.values())}\n", "it", site.config)
    except ConfigError as error:
        unknown_zone = zone is not None and zone not in site.config.zones
        raise UsageError("; ".join(problem.removeprefix("it:2: ") for problem in error.problems),
                         hint=f"write it down first: zones: {{{zone}: {{title: what it is}}}}" if unknown_zone else None) from error
    shown = site.shown_key(name, row.host)
    found = site.fingerprint(shown)
    before = site.config.hosts.get(name)
    if before is not None and before.pinned is not None and before.pinned != shown:
        raise _other_key(site, name, before, found)
    if fingerprint is None:
        _ask(session, name, found)
    elif fingerprint != found:
        raise Refused(f"{name} shows the key {found}, not {fingerprint}", where=name,
                      hint="nothing was written. Look again on its own console; if it is right there, somebody stands between")
    host = row.host.model_copy(update={"host_key": shown})
    return _take_in(site, session, {name: host}, {name: found})


def _cell(text: str) -> str:
    return '"' + text.replace('"', '""').replace("\n", " ").replace("\r", " ") + '"'


def _ask(session: Session, name: str, found: str) -> None:
    question = f"{name} shows the key {found}. On its own console: {_CONSOLE}. Is it the same there? yes or no"
    if session.ask(question, option="--fingerprint").lower() not in ("y", "yes"):
        raise Refused(f"the key of {name} was not confirmed", where=name, hint="nothing was written")


def _other_key(site: Site, name: str, before: Host, found: str) -> Refused:
    return Refused(
        f"{name} shows the key {found}, and {site.fingerprint(before.pinned or '')} is pinned", where=name,
        hint=f"if it has got a new one: two people compare it on the host's own console and sign: opsctl hosts rekey {name}")


@app.command("import")
def import_hosts(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE.csv", help="name, address, and host_key or fingerprint, …")],
) -> Report:
    """Take many hosts in from a CSV file, all or none.

    Every mistake of the file is said at once. The first line names the columns: name, address, and any of addresses, port, user,
    become, zone, os, isolation, gateway, tool, instance, region, by_hand, ports, console (several addresses or ports in one cell
    with spaces between), and of hosts that are logged into host_key (the line of /etc/ssh/ssh_host_ed25519_key.pub) or
    fingerprint (its key is then fetched and has to match).
    """
    from opsctl.cli.signals import working
    from opsctl.cli.work import open_site
    from opsctl.engine.hosts_csv import read_hosts

    session = of(context)
    site = open_site(session)
    rows = read_hosts(file, site.config)
    with working(session):
        hosts = _with_keys(site, rows)
    problems = [f"{file}:{row.line}: host {row.name} is pinned with another key already" for row in rows
                if (known := site.config.hosts.get(row.name)) is not None and known.pinned not in (None, hosts[row.name].pinned)]
    if problems:
        raise Refused(f"{len(problems)} of {counted(len(rows), 'host')}: another key than the pinned one",
                      details={"problems": problems}, where=str(file), hint=problems[0])
    prints = {name: site.fingerprint(host.pinned) for name, host in hosts.items() if host.pinned}
    return _take_in(site, session, hosts, prints)


def _with_keys(site: Site, rows: Sequence[Row]) -> dict[str, Host]:
    """The hosts with their keys; those that are to be fetched are fetched, many at once. Nothing is taken on trust."""

    def one(row: Row) -> Host | OpsError:
        if row.fingerprint is None:
            return row.host
        try:
            shown = site.shown_key(row.name, row.host)
        except OpsError as error:
            if error.code == 130:
                raise
            return error
        if site.fingerprint(shown) != row.fingerprint:
            return Refused(f"{row.name} shows the key {site.fingerprint(shown)}, not {row.fingerprint}", where=row.name)
        return row.host.model_copy(update={"host_key": shown})

    with ThreadPoolExecutor(min(512, len(rows))) as pool:
        found = list(pool.map(one, rows))
    failed = [each for each in found if isinstance(each, OpsError)]
    if failed:
        first = failed[0]
        raise type(first)(f"{len(failed)} of {counted(len(rows), 'key')} could not be compared, so no host was taken in: {first.message}",
                          hint=first.hint, details={"hosts": [error.as_dict() for error in failed]}, where=first.where)
    return {row.name: host for row, host in zip(rows, found, strict=True) if not isinstance(host, OpsError)}


def _take_in(site: Site, session: Session, hosts: Mapping[str, Host], prints: Mapping[str, str]) -> Report:
    """Write what the configuration does not have yet."""
    from opsctl.engine import hosts_file
    from opsctl.model import hosts_access

    fresh = {name: host for name, host in hosts.items() if name not in site.config.hosts}
    for name, host in hosts.items():
        if name not in fresh and hosts_file.entry(_bare(host)) != hosts_file.entry(_bare(site.config.hosts[name])):
            raise SafetyRefusal(f"host {name} is in the configuration already, and differs", where=name,
                                hint=f"change it there: {hosts_file.line(name, hosts_file.entry(host))}")
    directory = site.config.directory
    if directory is None:
        raise Waiting("there is no configuration directory to write to", hint="opsctl init")
    path = directory / hosts_file.FILE
    if fresh and not session.dry_run:
        site.journal.append("hosts.pinned", {"hosts": {name: prints.get(name) for name in fresh}, "file": str(path)})
        path = hosts_file.add_hosts(directory, fresh)
    result = {"file": str(path), "added": list(fresh), "kept": [name for name in hosts if name not in fresh],
              "fingerprints": dict(prints)}

    def text(out: Out) -> None:
        for name in hosts:
            what = "is there already, and the same" if name not in fresh else "would be added" if session.dry_run else f"is in {path}"
            out.line(Mark(f"{name} {what}: {prints.get(name, 'not logged into')}", Tone.GOOD))
        if fresh:
            out.line(f"next: `opsctl hosts prepare {next(iter(fresh)) if len(fresh) == 1 else 'HOST'}` prints what to put there, `opsctl hosts check` tries")

    doubts = filter(None, [hosts_access.without_root(name, host) for name, host in hosts.items() if name in fresh])
    return Report(result=result, text=text, warnings=[*site.said, *doubts])


app.command("rekey")(rekey)


def _bare(host: Host) -> Host:
    """Without the comment of its key, which says nothing."""
    return host.model_copy(update={"host_key": host.pinned})


def _chosen(site: Site, names: Sequence[str] | None, zone: str | None) -> dict[str, Host]:
    """Hosts by name, of a zone, or all. UsageError names what there is instead."""
    from opsctl.model.unknown import unknown

    hosts = site.config.hosts
    if zone is not None and zone not in site.config.zones:
        raise unknown("zone", zone, site.config.zones)
    for name in names or ():
        if name not in hosts:
            raise unknown("host", name, hosts)
    return {name: host for name, host in hosts.items()
            if (not names or name in names) and (zone is None or host.zone == zone)}


def _as_json(site: Site, name: str, host: Host) -> dict[str, Any]:
    return {"host": name, "zone": host.zone, "address": host.address, "port": host.port, "user": host.user,
            "become": host.become, "os": host.os, "isolation": host.isolation, "gateway": host.gateway, "tool": host.tool,
            "instance": host.instance, "region": host.region, "by_hand": host.by_hand, "console": host.console,
            "addresses": list(host.addresses), "ports": list(host.ports),
            "fingerprint": site.fingerprint(host.pinned) if host.pinned else None}
