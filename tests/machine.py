"""A machine for tests: a folder with a configuration, and the command line run in it."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opsctl.cli import main

PACKAGE = Path(__file__).parent.parent


@dataclass(frozen=True)
class Said:
    """What one call of opsctl said and how it ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The one JSON document of a --json call; fails where there is anything beside it."""
        return json.loads(self.out)

    @property
    def result(self) -> Any:
        return self.document["result"]

    @property
    def errors(self) -> list[dict[str, Any]]:
        return self.document["errors"]


class Machine:
    """One configured machine below ``root``: ``etc`` (configuration and keys), ``state``, ``data``, ``store``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.etc = root / "etc"
        self.state = root / "state"
        self.data = root / "data"
        self.store = root / "store"
        self.environ = {"OPSCTL_CLOCK": "2026-12-12T02:30:00+05:30", "XDG_RUNTIME_DIR": str(root / "run"),
                        "HOME": str(root), "NO_COLOR": "1"}
        for folder in (self.etc / "keys", self.data, root / "run"):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def configure(self, text: str | None = None, *, sources: str = "", backup_sources: str = "[files]",
                  repositories: str = "", more: str = "") -> None:
        """Write a configuration; by default one folder into one local repository."""
        password = self.etc / "keys" / "repository-password"
        if not password.exists():
            password.write_text("for tests only\n")
            password.chmod(0o600)
        if text is None:
            text = f"""
state: {self.state}
repositories:
  main: {{url: {self.store}, password_file: {password}}}
{repositories}
sources:
  files: {{kind: paths, paths: [{self.data}]}}
{sources}
backups:
  portal: {{sources: {backup_sources}, repository: main}}
{more}
"""
        (self.etc / "opsctl.yaml").write_text(text)

    def make_key(self) -> None:
        """The controller's signing key."""
        key = self.etc / "keys" / "controller"
        if not key.exists():
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "tests", "-f", str(key)], check=True,
                           stdin=subprocess.DEVNULL)

    def at(self, moment: str) -> None:
        """Set the clock (RFC 3339)."""
        self.environ["OPSCTL_CLOCK"] = moment

    def __call__(self, *words: str, expect: int | None = None) -> Said:
        """Run a command line in this process."""
        out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()
        with _environment(self.environ), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(["--config", str(self.etc), *words])
        out.flush()
        said = Said(code, out.buffer.getvalue().decode(), err.getvalue())
        if expect is not None:
            # Surrogates (names that are no UTF-8) must not reach a test report.
            told = f"opsctl {' '.join(words)}: {said.code}\n{said.out}\n{said.err}".encode("utf-8", "backslashreplace")
            assert said.code == expect, told.decode()
        return said

    def json(self, *words: str, expect: int | None = None) -> Said:
        """Run it with --json."""
        return self("--json", *words, expect=expect)

    def start(self, *words: str, **more: Any) -> subprocess.Popen[str]:
        """Start it as a process of its own."""
        env = {**os.environ, **self.environ, "PYTHONPATH": str(PACKAGE), **more.pop("env", {})}
        return subprocess.Popen([sys.executable, "-m", "opsctl", "--config", str(self.etc), *words], env=env, text=True,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)

    def forget(self) -> None:
        """Lose the state directory."""
        shutil.rmtree(self.state, ignore_errors=True)

    def restic(self, *words: str, check: bool = True, repository: Path | str | None = None) -> str:
        """Run restic on the repository directly, as an administrator or an attacker would."""
        env = {**os.environ, "RESTIC_REPOSITORY": str(repository or self.store),
               "RESTIC_PASSWORD_FILE": str(self.etc / "keys" / "repository-password"),
               "RESTIC_CACHE_DIR": str(self.root / "attacker-cache")}
        done = subprocess.run(["restic", *words], env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        assert not check or done.returncode == 0, done.stderr
        return done.stdout

    def snapshots(self) -> list[dict[str, Any]]:
        """What restic itself lists."""
        return json.loads(self.restic("snapshots", "--json", "--no-lock"))


class Kept:
    """A machine that took long to make, for many tests: each gets it back as it was, with the clock where it stood."""

    def __init__(self, machine: Machine, place: Path) -> None:
        """``place``: a folder that does not exist yet, where it is kept unchanged."""
        self._root, self._place, self._clock = machine.root, place, machine.environ["OPSCTL_CLOCK"]
        shutil.copytree(self._root, place, symlinks=True)

    def again(self) -> Machine:
        shutil.rmtree(self._root)
        shutil.copytree(self._place, self._root, symlinks=True)
        machine = Machine(self._root)
        machine.at(self._clock)
        return machine


@contextlib.contextmanager
def _environment(more: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(more)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def flip_content(file: Path, repository: Path, password: str = "for tests only") -> None:
    """Damage what a repository holds of a small file: one piece of one pack, named by the file's hash; nothing else."""
    def restic(*words: str) -> str:
        return subprocess.run(["restic", "-r", str(repository), "--no-cache", "--no-lock", *words], text=True, check=True,
                              stdout=subprocess.PIPE, env={**os.environ, "RESTIC_PASSWORD": password}, stdin=subprocess.DEVNULL).stdout

    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    packs = [pack for name in restic("list", "index").split() for pack in json.loads(restic("cat", "index", name))["packs"]]
    [(pack, blob)] = [(pack["id"], blob) for pack in packs for blob in pack["blobs"] if blob["id"] == digest]
    path = repository / "data" / pack[:2] / pack
    content = bytearray(path.read_bytes())
    content[blob["offset"] + blob["length"] // 2] ^= 1
    path.chmod(0o600)
    path.write_bytes(content)


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its content."""
    found = {}
    for place, _, names in os.walk(os.fsencode(folder)):
        for name in names:
            path = os.path.join(place, name)
            if not os.path.islink(path) and os.path.isfile(path):
                with open(path, "rb") as file:
                    found[os.fsdecode(os.path.relpath(path, os.fsencode(folder)))] = file.read()
    return found
