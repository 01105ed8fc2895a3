"""This machine's login keys: one for backups and one for isolation, so that each can be allowed and taken away alone."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from opsctl.errors import ProgramFailed
from opsctl.shells.interface import Shell

BACKUP, ISOLATION = "ssh-backup", "ssh-isolation"
PURPOSES = (BACKUP, ISOLATION)
_SECONDS = 60.0


def make_login_keys(directory: Path, shell: Shell) -> list[Path]:
    """Make what is missing in ``keys/`` (mode 0600, beside each its ``.pub``); returns the private keys that were made.

    Each is there whole or not at all, and what is there is never replaced. Raises ProgramFailed.
    """
    made = []
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in PURPOSES:
            if _make(directory / name, shell):
                made.append(directory / name)
    except OSError as error:
        raise ProgramFailed(f"no login key can be made in {directory}: {error.strerror}", where=str(directory)) from error
    return made


def make_next_key(directory: Path, shell: Shell) -> Path:
    """The signing key that shall follow, ``keys/next``; made where it is not there yet. Raises ProgramFailed."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _make(directory / "next", shell)
        if not (directory / "next.pub").exists():  # killed between the two halves
            fresh = directory / ".next.pub"
            fresh.write_text(f"{public_key(directory, 'next', shell)}\n")
            os.replace(fresh, directory / "next.pub")
    except OSError as error:
        raise ProgramFailed(f"no key can be made in {directory}: {error.strerror}", where=str(directory)) from error
    return directory / "next"


def public_key(directory: Path, name: str, shell: Shell) -> str:
    """``TYPE BASE64 COMMENT`` of a login key, from its ``.pub`` or from the key itself. Raises ProgramFailed, OSError."""
    try:
        return directory.joinpath(f"{name}.pub").read_text().strip()
    except FileNotFoundError:
        argv = ["ssh-keygen", "-y", "-P", "", "-f", str(directory / name)]
        return f"{shell.run(argv, timeout=_SECONDS).text.strip()} {_comment(name)}"


def _make(path: Path, shell: Shell) -> bool:
    if path.exists() or path.with_name(f"{path.name}.pub").exists():
        return False  # the public half alone: an agent holds the other one
    stage = Path(tempfile.mkdtemp(prefix=".new-", dir=path.parent))
    try:
        fresh = stage / path.name
        shell.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", _comment(path.name), "-f", str(fresh)],
                  timeout=_SECONDS)
        fresh.chmod(0o600)
        os.replace(fresh, path)
        os.replace(f"{fresh}.pub", f"{path}.pub")
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    return True


def _comment(name: str) -> str:
    return f"opsctl-{name.removeprefix('ssh-')}"
