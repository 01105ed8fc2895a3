"""A portal to bring back: a PostgreSQL database, a folder of uploads, and a web server that serves them; people who approve."""

from __future__ import annotations

import subprocess
import urllib.request
from pathlib import Path

from opsctl.sources.postgresql_server import Postgres
from tests.lab.quick_key import make_quick
from tests.machine import Machine

PEOPLE = ("asha", "imran")
ROWS = "select count(*), sum(hashtextextended(t::text, 0)) from bills t"
GOOD = {"index.html": "the portal\n", "deep/receipt.txt": "paid\n"}
BAD = {"index.html": "what the attacker left\n"}

# Starts a web server that leaves this session, and notes what was done.
_CONTROL = """#!/bin/sh
root={root}; pid=$root/tax.pid
case $1 in
    running) [ -e "$pid" ] && kill -0 "$(cat "$pid")" 2>/dev/null || exit 1 ;;
    start) cd {data}
        setsid sh -c 'echo $$ >"$0"; exec python3 -m http.server --bind 127.0.0.1 "$1"' "$pid" {port} </dev/null >/dev/null 2>&1 &
        until [ -s "$pid" ]; do sleep 0.02; done
        echo start >>$root/done ;;
    stop) kill "$(cat "$pid")"; while kill -0 "$(cat "$pid")" 2>/dev/null; do sleep 0.02; done; rm -f "$pid"; echo stop >>$root/done ;;
esac
"""


class Portal(Machine):
    """``server``: where the database is in production; ``port``: of the web server."""

    server: Postgres
    port: int
    keys: Path
    #: Whether there is a database as well; without one ``tax`` lives on the uploads alone.
    database = True

    def write(self, *, more: str = "", proof: str = "") -> None:
        control = self.root / "control"
        control.write_text(_CONTROL.format(root=self.root, data=self.data, port=self.port))
        control.chmod(0o755)
        people = "".join(f"  {name}: {{name: {name.title()}, ssh_key: {(self.keys / f'{name}.pub').read_text().strip()}}}\n" for name in PEOPLE)
        commands = ", ".join(f"{word}: [{control}, {word}]" for word in ("running", "stop", "start"))
        page = proof or f"{{kind: http, url: 'http://127.0.0.1:{self.port}/', contains: the portal, within: 20s}}"
        password = self.etc / "keys" / "repository-password"
        if not self.database:
            self.configure(f"""
state: {self.state}
people:
{people}repositories:
  main: {{url: {self.store}, password_file: {password}}}
sources:
  uploads: {{kind: paths, paths: [{self.data}]}}
backups:
  portal: {{sources: [uploads], repository: main}}
clean_room: {{place: {self.root}/rooms}}
services:
  tax: {{restores: [uploads], {commands}, rto: 5h, proofs: [{{kind: files}}, {page}]}}
{more}
""")
            return
        self.configure(f"""
state: {self.state}
people:
{people}repositories:
  main: {{url: {self.store}, password_file: {password}}}
sources:
  db: {{kind: postgresql, database: enagar, server: {self.server.socket}, port: {self.server.port}, user: {self.server.superuser}}}
  uploads: {{kind: paths, paths: [{self.data}]}}
backups:
  portal: {{sources: [db, uploads], repository: main}}
clean_room: {{place: {self.root}/rooms}}
services:
  database: {{restores: [db], rto: 4h, rpo: 1d, proofs: [{{kind: rows}}]}}
  uploads: {{restores: [uploads], rto: 4h, proofs: [{{kind: files}}]}}
  tax: {{needs: [database, uploads], {commands}, rto: 5h, proofs: [{page}]}}
{more}
""")

    def furnish(self) -> None:
        """Keys, a repository with one set of the portal as it was, and then what the attack left of it."""
        self.make_key()
        (self.root / "rooms").mkdir(mode=0o711)
        self.configure()
        self.write()
        self("backup", "init", expect=0)
        make_quick(self.store, "for tests only", self.state / "repositories" / "main.json")
        if self.database:
            self.fill_database()
        self.fill(GOOD)
        self("backup", "run", expect=0)

    def fill_database(self) -> None:
        self.server.psql("create database enagar")
        self.server.psql("create table bills as select n as id, n * 7 as paise from generate_series(1, 500) n", "enagar")

    def spoil(self) -> None:
        if self.database:
            self.server.psql("update bills set paise = 0; delete from bills where id > 100", "enagar")
        for path in sorted(self.data.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        self.fill(BAD)

    def fill(self, content: dict[str, str]) -> None:
        for name, text in content.items():
            (self.data / name).parent.mkdir(parents=True, exist_ok=True)
            (self.data / name).write_text(text)

    def files(self) -> dict[str, str]:
        return {str(path.relative_to(self.data)): path.read_text() for path in self.data.rglob("*") if path.is_file()}

    def approve(self, run: str, *steps: str) -> None:
        for step in steps:
            for name in PEOPLE:
                self("--yes", "approve", run, step, "--by", name, "--key", str(self.keys / name), expect=0)

    def page(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=5) as answer:
            return str(answer.read().decode())

    @property
    def done(self) -> list[str]:
        """What the service's commands did."""
        path = self.root / "done"
        return path.read_text().split() if path.exists() else []

    def end(self) -> None:
        """Nothing survives a test."""
        pid = self.root / "tax.pid"
        if pid.exists():
            subprocess.run(["kill", "-9", pid.read_text().strip()], check=False, capture_output=True)
        if not self.database:
            return
        for name in self.server.psql("select datname from pg_database where datname like '%enagar%'").split():
            self.server.psql(f'alter database "{name}" allow_connections true')
            self.server.psql(f'drop database "{name}" with (force)')


def new_keys(place: Path) -> None:
    for name in PEOPLE:
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(place / name)], check=True, stdin=subprocess.DEVNULL)


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


