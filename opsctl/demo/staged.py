"""The demo's way back: a slow encryption noticed in a set, the clean set named, and the portal back in approved stages."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from opsctl.cli.report import Tone
from opsctl.demo.sink import Sink
from opsctl.errors import ProgramFailed, SafetyRefusal
from opsctl.shells.clean_room import CleanRoomShell

if TYPE_CHECKING:
    from opsctl.demo.lab import Lab

PEOPLE = ("asha", "imran")
_SCRAMBLED = 24
"""Scans that are encrypted in the night; each keeps its name."""

_CONFIGURATION = """\
# DRILL: who may approve, what a service is made of, and in which waves people come back.
people:
  asha:  {{name: DRILL Asha Verma, roles: [restore-officer], ssh_key: "{asha}"}}
  imran: {{name: DRILL Imran Khan, roles: [restore-officer], ssh_key: "{imran}"}}
services:
  database: {{restores: [portal-db], proofs: [{{kind: rows}}], rto: 4h, rpo: 3d, {database}}}
  counter:  {{restores: [uploads], needs: [database], proofs: [{{kind: files}}], rto: 8h, rpo: 3d, {counter},
             not_backed_up: ["certificates of the web server", "the application server"]}}
reopening:
  internal:   {{{internal}, watch: 2s, every: 1s}}
  pilot:      {{{pilot}, watch: 1s, every: 1s}}
  all-bodies: {{{all_bodies}, watch: 1s, every: 1s}}
  public:     {{{public}, watch: 2s, every: 1s}}
notify: {{urls: ["{url}"], on: [failed, overdue, suspect]}}
"""


def encrypt_some(uploads: Path) -> int:
    """As a patient attacker begins: some scans become noise, and keep their names."""
    chance = random.Random(21)
    files = sorted(path for path in uploads.rglob("*") if path.is_file())
    chosen = chance.sample(files, min(_SCRAMBLED, len(files)))
    for path in chosen:
        path.write_bytes(chance.randbytes(path.stat().st_size))
    return len(chosen)


def configure(lab: Lab, config: Path, url: str) -> None:
    """The second file of the demo's configuration, with keys for the people, as each has their own elsewhere."""
    keys = lab.root / "people"
    keys.mkdir(mode=0o700)
    public = {}
    for name in PEOPLE:
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"DRILL {name}", "-f", str(keys / name)], check=True,
                       stdin=subprocess.DEVNULL)
        public[name] = (keys / f"{name}.pub").read_text().strip()
    (config / "staged.yaml").write_text(_CONFIGURATION.format(
        **public, url=url, database=_service(lab.root / "database-runs"), counter=_service(lab.root / "counter-runs"),
        **{wave.replace("-", "_"): _door(lab.root / f"{wave}-open") for wave in ("internal", "pilot", "all-bodies", "public")}))


def _service(mark: Path) -> str:
    return f"running: [test, -e, {mark}], stop: [rm, -f, {mark}], start: [touch, {mark}]"


def _door(mark: Path) -> str:
    return f"open: [touch, {mark}], is_open: [test, -e, {mark}], close: [rm, -f, {mark}]"


def notice(lab: Lab, config: Path, sink: Sink, at: datetime) -> None:
    """The set after the first night of the attack: whole, and suspect, and somebody is told."""
    for hour in range(2):  # whoever takes a killed run up again sees it; others are told by the timer's next call
        lab.opsctl("backup", "run", "--due", at=at + timedelta(hours=hour), config=config)
        if told := [message for message in sink.messages if "may show an attack" in message]:
            break
    else:
        raise ProgramFailed("nobody was told of the suspect set", hint=f"the lab is in {lab.root}")
    lab.say(f"  A notice was sent: {told[0].splitlines()[0]}", Tone.WARN)
    lab.facts["notice"] = told[0].splitlines()[0]


def points(lab: Lab, config: Path, at: datetime, before: datetime) -> None:
    """Which set to go back to."""
    done = lab.opsctl("restore", "points", "portal", "--before", before.isoformat(), at=at, config=config, show=14)
    lab.facts["clean_set"] = re.findall(r"newest clean.*?(\d{8}-\d{4}-[0-9a-f]{4})", done.stdout)[0]


def no_room(lab: Lab) -> str | None:
    """Why this machine gives no clean room, as an ordinary user's or a container may; None where it does."""
    place = lab.root / "room"
    place.mkdir()
    shell = CleanRoomShell(place)
    try:
        shell.run(["true"])
    except (SafetyRefusal, ProgramFailed) as error:
        return f"{error.message}; {error.hint}" if error.hint else error.message
    finally:
        shell.close()
        shutil.rmtree(place)
    return None


def bring_back(lab: Lab, config: Path, at: datetime, before: datetime) -> None:
    """Plan, run, approve, resume, until all stages are proven; and the waves after that."""
    began = time.monotonic()
    lab.opsctl("restore", "plan", "--before", before.isoformat(), at=at, config=config, show=30)
    done = lab.opsctl("restore", "run", "--before", before.isoformat(), at=at, config=config, expect=(0, 4), show=30)
    run = _waits(done.stderr)[0][0]
    told = 40  # what a person signs is shown in full, the first time
    while waits := _waits(done.stderr):
        at += timedelta(minutes=5)
        for run, step in waits:
            for name in PEOPLE:
                lab.opsctl("--yes", "approve", run, step, "--by", name, "--key", str(lab.root / "people" / name), "--note", "DRILL: seen",
                           at=at, config=config, show=told)
                told = 3
        done = lab.opsctl("resume", run, at=at, config=config, expect=(0, 4), show=30)
    lab.opsctl("restore", "status", run, at=at, config=config, show=30)
    lab.facts["stages_seconds"] = round(time.monotonic() - began, 1)
    for wave in ("internal", "public"):
        at += timedelta(minutes=30)
        done = lab.opsctl("restore", "reopen", wave, at=at, config=config, expect=(0, 4), show=10)
        while done.returncode == 4:
            run = re.findall(r"(?:resume|approve) (\d{8}-\d{4}-\S+?)[ `]", done.stderr + " ")[0]
            at += timedelta(minutes=1)
            for step in [step for _, step in _waits(done.stderr)]:
                for name in PEOPLE:
                    lab.opsctl("--yes", "approve", run, step, "--by", name, "--key", str(lab.root / "people" / name), at=at, config=config, show=3)
            done = lab.opsctl("resume", run, at=at, config=config, expect=(0, 4), show=10)
    lab.facts["public_open"] = os.path.exists(lab.root / "public-open")


def _waits(said: str) -> list[tuple[str, str]]:
    """(run, step) of every approval that is waited for."""
    return list(dict.fromkeys(re.findall(r"`opsctl approve (\S+) (\S+) --by", said)))
