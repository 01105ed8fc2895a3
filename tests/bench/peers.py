"""Two wrappers of restic that people use, installed for the run only, and what they do not check."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.bench import Bench, call, raw_restic
from tests.bench.measure import Cost, run
from tests.bench.table import Row
from tests.machine import Machine

VERSIONS = {"runrestic": "0.5.31", "npbackup": "3.0.4"}

# Everything that would only cost time is off: the wait before a backup, the least age, the bandwidth limit.
_NPBACKUP = """conf_version: {version}
audience: public
repos:
  default:
    repo_uri: {store}
    permissions: full
    manager_password: null
    repo_group: default_group
    backup_opts: {{paths: {paths}, source_type: folder_list, tags: []}}
    repo_opts: {{repo_password: "{password}"}}
    prometheus: {{}}
    env: {{env_variables: {{}}, encrypted_env_variables: {{}}}}
groups:
  default_group:
    backup_opts:
      {{use_fs_snapshot: false, exclude_files: [], exclude_caches: false, priority: normal,
        minimum_backup_size_error: 0 B}}
    repo_opts:
      {{compression: auto, minimum_backup_age: 0, random_delay_before_backup: 0, upload_speed: 0 B,
        download_speed: 0 B}}
    prometheus: {{}}
    env: {{env_variables: {{}}, encrypted_env_variables: {{}}}}
identity: {{machine_id: bench, machine_group: null}}
global_prometheus: {{metrics: false}}
global_options: {{auto_upgrade: false}}
"""

_RUNRESTIC = """repositories = ["{store}"]
[environment]
RESTIC_PASSWORD_FILE = "{password_file}"
[backup]
sources = {paths}
[prune]
keep-last = 3
"""


@dataclass
class Peers:
    """The wrappers that could be installed (``ready``), each with a copy of the machine's repository."""

    place: Path
    machine: Machine
    ready: list[str] = field(default_factory=list)
    problems: list[Row] = field(default_factory=list)

    @classmethod
    def install(cls, bench: Bench, place: Path, machine: Machine) -> Peers:
        """By name and version, from the package index that this machine's pip uses, into ``place``."""
        peers = cls(place / "peers", machine)
        peers.place.mkdir()
        for name, version in VERSIONS.items():
            if bench.quick:
                peers.problems.append(Row(f"  beside {name} {version}", "", "not in the quick variant"))
                continue
            bench.say(f"installing {name} {version}")
            problem = peers._install(name, version)
            if problem:
                peers.problems.append(Row(f"  beside {name} {version}", "", f"could not be installed: {problem}"))
                continue
            shutil.copytree(machine.store, peers.place / f"{name}-store")
            peers._configure(name, [str(machine.data)])
            peers.ready.append(name)
        return peers

    def backup(self, name: str) -> Callable[[], Cost]:
        """How to take one backup with it."""
        return lambda: run(
            self._argv(name), env=self._environment(name), cwd=self.place, out=self.place / f"{name}.said"
        )

    def unchecked(self) -> list[Row]:
        """What each says of a backup one of whose two folders is missing, and then empty."""
        missing, empty = self.machine.data / "not-mounted", self.machine.root / "empty"
        empty.mkdir()
        found = []
        for word, paths in (
            ("missing", [str(self.machine.data), str(missing)]),
            ("empty", [str(self.machine.data), str(empty)]),
        ):
            for name in self.ready:
                self._configure(name, paths)
                theirs = run(
                    self._argv(name),
                    env=self._environment(name),
                    cwd=self.place,
                    codes=None,
                    out=self.place / f"{name}.said",
                )
                ours = self._ours(paths)
                found.append(
                    Row(
                        f"  one of two folders {word}: exit code",
                        str(ours.code),
                        f"{name} {theirs.code}{self._more(name)}",
                        None,
                        "not 0",
                        ours.code != 0,
                    )
                )
        return found

    def _ours(self, paths: list[str]) -> Cost:
        etc = self.machine.etc / "opsctl.yaml"
        kept = etc.read_text()
        etc.write_text(kept.replace(f"paths: [{self.machine.data}]", f"paths: [{', '.join(paths)}]"))
        try:
            return call(self.machine, "backup", "run", "portal", codes=None)
        finally:
            etc.write_text(kept)

    def _more(self, name: str) -> str:
        """npbackup says in a document whether it is content; ``true`` beside an exit code is worth telling."""
        if name != "npbackup":
            return ""
        for line in (self.place / f"{name}.said").read_text(errors="replace").splitlines():
            if line.startswith("{"):
                return f', "result": {json.dumps(json.loads(line).get("result"))}'
        return ""

    def _install(self, name: str, version: str) -> str:
        """What went wrong, in a few words; empty where nothing did."""
        home = self.place / name
        steps = (
            [sys.executable, "-m", "venv", str(home)],
            [
                str(home / "bin" / "pip"),
                "install",
                "--quiet",
                "--disable-pip-version-check",
                f"{name}=={version}",
            ],
        )
        for argv in steps:
            done = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
            if done.returncode:
                return next((line for line in done.stderr.splitlines() if line.startswith("ERROR")), "it failed")[:100]
        return ""

    def _configure(self, name: str, paths: list[str]) -> None:
        password_file = self.machine.etc / "keys" / "repository-password"
        text = (_NPBACKUP if name == "npbackup" else _RUNRESTIC).format(
            version=VERSIONS["npbackup"],
            store=self.place / f"{name}-store",
            paths=json.dumps(paths),
            password=password_file.read_text().strip(),
            password_file=password_file,
        )
        self._file(name).write_text(text)

    def _file(self, name: str) -> Path:
        return self.place / (f"{name}.yaml" if name == "npbackup" else f"{name}.toml")

    def _argv(self, name: str) -> list[str]:
        programs = self.place / name / "bin"
        if name == "npbackup":
            return [
                str(programs / "npbackup-cli"),
                "--config-file",
                str(self._file(name)),
                "--backup",
                "--force",
                "--json",
                "--log-file",
                str(self.place / "npbackup.log"),
            ]
        return [str(programs / "runrestic"), "--config", str(self._file(name)), "backup"]

    def _environment(self, name: str) -> dict[str, str]:
        env = raw_restic(self.machine, self.place / f"{name}-store")
        for variable in ("RESTIC_REPOSITORY", "RESTIC_PASSWORD_FILE", "PYTHONPATH"):
            env.pop(variable)
        return env
