"""Where the department's sets lie: each store with a door for its owner, who needs neither opsctl nor its credentials."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.lab.quick_key import make_quick
from tests.month.sources import secret


@dataclass
class Store:
    """One repository. ``path``: where its owner sees it on disk; ``spec``: its entry in the configuration.

    ``may_be_away``: a disk that is unplugged most of the time. ``address``: how restic reaches it, if not at ``path``.
    """

    name: str
    spec: str
    path: Path
    password_file: Path
    cache: Path
    may_be_away: bool = False
    environment: dict[str, str] = field(default_factory=dict)
    address: str | None = None

    def begin(self, like: Store | None = None) -> subprocess.Popen[bytes]:
        """Start to make the repository, as its owner may as well; ``like``: cutting data up as that one does."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        words = ["restic", "-r", str(self.path), "init", "--repository-version", "2"]
        if like is not None:
            words += ["--copy-chunker-params", "--from-repo", str(like.path), "--from-password-file", str(like.password_file)]
        return subprocess.Popen(words, env=self._env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def made(self, begun: subprocess.Popen[bytes]) -> None:
        """Make the new repository cheap to open, and its server's: restic's key takes half a second of each call otherwise."""
        assert begun.wait(120) == 0, f"restic init of {self.name} failed"
        make_quick(self.path, self.password_file.read_text().strip())
        self._own()

    def _own(self) -> None:
        """What root wrote belongs to the server's account, which could not read it otherwise."""
        owner = self.path.parent.stat()
        for path in (self.path, *self.path.rglob("*")):
            os.chown(path, owner.st_uid, owner.st_gid)

    @property
    def _env(self) -> dict[str, str]:
        return {**os.environ, "RESTIC_REPOSITORY": self.address or str(self.path), "RESTIC_PASSWORD_FILE": str(self.password_file),
                "RESTIC_CACHE_DIR": str(self.cache), **self.environment}

    def restic(self, *words: str, stdin: bytes = b"") -> bytes:
        """restic as the owner of the store, or whoever stole the password, runs it."""
        done = subprocess.run(["restic", *words], env=self._env, capture_output=True, input=stdin, timeout=120, check=False)
        if words[0] == "backup":
            self._own()
        assert done.returncode == 0, f"restic {' '.join(words)} on {self.name}: {done.stderr.decode()}"
        return done.stdout

    def start(self, *words: str, host: str | None = None) -> subprocess.Popen[bytes]:
        """Start restic as the store's owner, with an open standard input; ``host``: as a machine of that name."""
        argv = ["restic", *words]
        if host is not None:
            argv = ["unshare", "--uts", "sh", "-c", 'hostname "$1" && shift && exec "$@"', "host", host, *argv]
        return subprocess.Popen(argv, env=self._env, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def snapshots(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.restic("snapshots", "--json", "--no-lock"))
        return found


def password(keys: Path, name: str) -> Path:
    return secret(keys / f"{name}-password", f"encrypts {name}")
