"""The story that `opsctl demo` tells: backups, a damaged copy, an attack, a lost controller, and everything back."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from opsctl.cli import render
from opsctl.cli.report import Mark, Out, Report, Table, Tone
from opsctl.cli.session import Session
from opsctl.demo import cut_off, incident, network, portal, scans, staged
from opsctl.demo.killing import Killer
from opsctl.demo.lab import Lab
from opsctl.demo.sink import Sink
from opsctl.errors import DamagedData
from opsctl.sources.postgresql_server import Postgres

IST = timezone(timedelta(hours=5, minutes=30))
#: Every three days, by night, up to the one before the attack of the 21st.
NIGHTS = tuple(datetime(2026, 12, day, 2, 30, tzinfo=IST) for day in (12, 15, 18))
#: When the attacker began, as it turns out: nothing from after that is gone back to.
FIRST_BAD = datetime(2026, 12, 20, 22, 0, tzinfo=IST)
ATTACKED = datetime(2026, 12, 21, 2, 30, tzinfo=IST)
LOSS = datetime(2026, 12, 21, 9, 15, tzinfo=IST)

_CONFIGURATION = """\
# DRILL: a throw-away portal. These nine lines are all that it takes.
organisation: {{name: "DRILL Urban Development Department", timezone: Asia/Kolkata, languages: [en, hi]}}
state: {state}
repositories:
  main: {{url: {store}, password_file: {password}}}
{copy}sources:
  portal-db: {{kind: postgresql, database: enagar, server: {socket}, port: {port}, user: {role}}}
  uploads:   {{kind: paths, paths: [{uploads}], at_least: {{files: 1}}}}
backups:
  portal: {{sources: [portal-db, uploads], repository: main, every: 3d}}
"""
_COPY = "  copy: {{url: {copy}, password_file: {password}}}\n"


def tell(session: Session, *, keep: bool, directory: str | None, scale: float, kills: int = 0, seed: int = 0) -> Report:
    """Build the lab, play the story through the real command line, and say where everything is.

    ``kills``: how many of its commands are killed on the way and taken up again, chosen by ``seed``.
    """
    if directory is not None:
        root = Path(directory).absolute()
        root.mkdir(parents=True)
    else:
        root = Path(tempfile.mkdtemp(prefix="opsctl-demo-"))
    root.chmod(0o711)  # the database's account has to pass
    out = None if session.json or session.quiet else render.make_out(sys.stdout, session.environ)
    lab = Lab(root, out, killer=Killer(kills, seed) if kills else None)
    if session.dry_run:
        shutil.rmtree(root)
        return Report(result={}, text=lambda out: out.line("would build a throw-away portal and play the story"))
    servers: list[Postgres] = []
    try:
        _play(lab, scale, servers)
    finally:
        for server in servers:
            server.stop()
        if not keep:
            shutil.rmtree(root, ignore_errors=True)
    lab.facts["kills"] = lab.killer.kills if lab.killer is not None else 0
    lab.facts["seconds"] = round(time.monotonic() - lab.began, 1)
    return Report(result={**lab.facts, "directory": str(root) if keep else None},
                  text=lambda end: _end(end, lab, keep))


def _play(lab: Lab, scale: float, servers: list[Postgres]) -> None:
    root = lab.root
    lab.chapter("A portal for 412 municipal bodies, built in PostgreSQL, with scanned uploads")
    server = Postgres(root / "server")
    servers.append(server)
    server.start()
    portal.build(server, scale=scale)
    uploads = root / "uploads"
    uploads.mkdir()
    megabytes = max(1, round(200 * scale))
    files = scans.make_scans(uploads, megabytes=megabytes)
    totals = portal.totals(server)
    lab.facts |= {"rows": totals["rows"], "tables": len(totals["tables"]), "files": len(files)}
    lab.say(f"  {totals['rows']:,} rows in {len(totals['tables'])} tables, {len(files)} scans, {megabytes} MiB")
    lab.parts = portal.parts(server)

    lab.chapter("Ten lines of configuration, a repository, and a set every three nights")
    config = _configure(lab, server)
    lab.opsctl("backup", "init", "main", at=NIGHTS[0], config=config)
    for number, night in enumerate(NIGHTS):
        if number:
            portal.day(server, n=number)
            scans.add_scans(uploads, count=max(1, round(12 * scale)), seed=number, on=night.date())
        lab.opsctl("backup", "run", "--due", at=night, config=config)
    lab.opsctl("backup", "run", "--due", at=NIGHTS[-1] + timedelta(hours=1), config=config)
    lab.opsctl("backup", "list", at=NIGHTS[-1] + timedelta(hours=1), config=config)

    lab.chapter("One byte of one pack goes bad in a copy; verification names what is lost")
    shutil.copytree(root / "store", root / "copy", dirs_exist_ok=True)
    lab.say("  The repository is copied by hand, as to another disk; in the configuration the copy is called `copy`.")
    _write_configuration(lab, server, with_copy=True)
    pack = _damage(root / "copy")
    lab.say(f"  One byte of it flips, in {pack.relative_to(root)}.")
    lab.opsctl("backup", "init", "copy", at=LOSS, config=config, show=1)
    done = lab.opsctl("verify", "copy", "--level", "data", "--share", "all", at=LOSS, config=config, expect=(22,))
    lab.facts["verify_exit"] = done.returncode
    lab.opsctl("verify", "main", "--level", "data", "--share", "all", at=LOSS, config=config)

    before = portal.totals(server), _hashes(uploads)
    with Sink() as sink:
        lab.chapter("In the night to the 21st scans begin to turn to noise, and the set of 02:30 says so")
        staged.configure(lab, config, sink.url)
        lab.say(f"  {staged.encrypt_some(uploads)} scans are encrypted; their names stay as they are.")
        staged.notice(lab, config, sink, ATTACKED)
        staged.points(lab, config, LOSS, FIRST_BAD)

        lab.chapter("21 December: everything but the separate city goes off the network, and the clock of six hours runs")
        incident.configure(config)
        if (trouble := staged.no_room(lab)) is not None:
            lab.say(f"  Left out, with the way back in stages: {trouble}", Tone.WARN)
            lab.facts |= {"isolated": None, "city_packets": None, "public_open": None}
        else:
            with cut_off.hosts(lab, config) as net:
                if net is None:
                    staged.bring_back(lab, config, LOSS + timedelta(hours=1), FIRST_BAD)
                else:
                    sink.also(net.inside())
                    _incident(lab, config, net)
            if (portal.totals(server), _hashes(uploads)) != before:
                raise DamagedData("the portal that came back in stages is not the one before the attack")
            lab.say("  Every table and every scan is what it was before the attack.", Tone.GOOD)

    lab.chapter("The controller is lost: configuration, keys, journal and catalogue are gone")
    fingerprint = _fingerprint(config)
    paper = root / "paper-from-the-safe"
    paper.mkdir(mode=0o700)
    (root / "etc" / "keys" / "repository-password").rename(paper / "password")
    (paper / "fingerprint").write_text(f"{fingerprint}\n")
    lab.facts["fingerprint"] = fingerprint
    shutil.rmtree(root / "etc")
    shutil.rmtree(root / "state")
    lab.say("  what is left: the repository, its password, and the fingerprint of the key that signed the sets")
    bare = root / "new-machine"
    bare.mkdir()
    fresh = Postgres(root / "new-server")
    servers.append(fresh)
    fresh.start()
    lab.opsctl(
        "restore", "set", "portal", "--set", lab.facts["clean_set"], "--repository", str(root / "store"), "--password-file", str(paper / "password"),
        "--trust", fingerprint, "--into", str(root / "restored"), "--database", "portal-db=enagar",
        "--server", str(fresh.socket), "--port", str(fresh.port), "--role", fresh.superuser,
        at=LOSS + timedelta(hours=4), home=bare,
    )

    lab.chapter("Is it the same portal? Every table, and every byte of every scan")
    _compare(lab, before, restored=portal.totals(fresh), uploads=uploads)


def _incident(lab: Lab, config: Path, net: network.Network) -> None:
    """From the first notice to the closing."""
    it = incident.Incident(lab, config, LOSS, net.inside())
    incident.first_hours(it, LOSS - timedelta(minutes=20))
    cut_off.watched(lab, net)

    lab.chapter("The counters work on paper; what is found makes it ransomware")
    incident.counters(it)
    incident.investigate(it, FIRST_BAD)

    lab.chapter("Back in stages: a set chosen by two, clean room, scan, proof, two approvals, one rename")
    incident.back(it, FIRST_BAD)

    lab.chapter("Audited, accepted, and open again in waves")
    incident.reopen(it)
    cut_off.opened(lab, net)

    lab.chapter("Receipts reconciled, duties met, the incident closed")
    incident.close(it)


def _configure(lab: Lab, server: Postgres) -> Path:
    config = lab.root / "etc"
    keys = config / "keys"
    keys.mkdir(parents=True, mode=0o700)
    (keys / "repository-password").write_text(hashlib.sha256(os.urandom(32)).hexdigest() + "\n")
    (keys / "repository-password").chmod(0o600)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "DRILL", "-f", str(keys / "controller")],
                   check=True, stdin=subprocess.DEVNULL)
    _write_configuration(lab, server)
    return config


def _write_configuration(lab: Lab, server: Postgres, *, with_copy: bool = False) -> None:
    password = lab.root / "etc" / "keys" / "repository-password"
    text = _CONFIGURATION.format(
        state=lab.root / "state", store=lab.root / "store", password=password, socket=server.socket, port=server.port,
        role=server.superuser, uploads=lab.root / "uploads",
        copy=_COPY.format(copy=lab.root / "copy", password=password) if with_copy else "",
    )
    (lab.root / "etc" / "opsctl.yaml").write_text(text)


def _fingerprint(config: Path) -> str:
    from opsctl.shells.signing import fingerprint

    return fingerprint((config / "keys" / "controller.pub").read_text())


def _damage(store: Path) -> Path:
    """Flip one byte in the middle of the largest pack."""
    pack = max((path for path in (store / "data").glob("*/*") if path.is_file()), key=lambda path: path.stat().st_size)
    pack.chmod(0o600)
    with pack.open("r+b") as file:
        middle = pack.stat().st_size // 2
        file.seek(middle)
        byte = file.read(1)[0]
        file.seek(middle)
        file.write(bytes([byte ^ 0xFF]))
    return pack


def _compare(lab: Lab, before: tuple[Mapping[str, Any], dict[str, str]], *, restored: Mapping[str, Any], uploads: Path) -> None:
    totals_of, scans_before = before
    rows = []
    for table, count in totals_of["tables"].items():
        found = restored["tables"].get(table)
        rows.append((table, str(count), str(found), Mark("equal", Tone.GOOD) if count == found else Mark("differs", Tone.BAD)))
    if lab.out is not None:
        lab.out.table(Table(("table", "before", "restored", ""), rows))
    if totals_of != restored:
        raise DamagedData("the restored portal is not the one that was backed up")
    folder = Path(f"{lab.root / 'restored' / 'uploads'}{uploads}")
    after = _hashes(folder)
    if scans_before != after:
        raise DamagedData("the restored scans are not the ones that were backed up")
    record = json.loads((lab.root / "restored" / "RESTORED.json").read_text())
    lab.facts |= {"tables_equal": len(rows), "files_equal": len(after), "set": record["set"]}
    lab.say(f"  {len(rows)} tables equal (the proof counts {lab.parts}: it takes each part of billing.payments by itself)")
    lab.say(f"  money received {restored['paid']} as before, {len(after)} scans equal to the byte",
            Tone.GOOD)


def _hashes(folder: Path) -> dict[str, str]:
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                found[str(path.relative_to(folder))] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def _end(out: Out, lab: Lab, keep: bool) -> None:
    out.line()
    out.line(Mark(f"The portal is back, proven, after {lab.facts['seconds']:.0f} s of DRILL.", Tone.GOOD))
    if not keep:
        out.line("The lab is gone again; --keep leaves it for playing.")
        return
    out.line(f"The lab is in {lab.root}:")
    out.facts({
        "store": "the repository", "copy": "the damaged copy", "restored": "what came back; RESTORED.json says what it is",
        "paper-from-the-safe": "the repository's password and the fingerprint",
    })
    out.line("Its servers are stopped. To look at the sets:")
    out.line(f"  opsctl backup list portal --repository {lab.root}/store "
             f"--password-file {lab.root}/paper-from-the-safe/password --trust {lab.facts['fingerprint']}")
    out.line("The story plays in December 2026: while that lies ahead, its sets are of the future, and are taken by their id: --set ID")
    out.line(f"To throw it away: rm -r {lab.root}")
