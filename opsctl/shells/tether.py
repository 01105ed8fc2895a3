"""Server processes that are thrown away, tied to the life of the process that started them and never run as root."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from pathlib import Path

from opsctl.errors import ProgramFailed

ROOT = 0


@dataclass(frozen=True)
class Account:
    """The OS account that a throw-away server runs under; `switch` says whether it is another one than ours."""

    name: str
    uid: int
    gid: int
    switch: bool


def server_account(name: str | None = None) -> Account:
    """The account for throw-away servers: `name` when given, else ours, or as root `postgres` or `nobody`.

    Raises ProgramFailed when the account does not exist, is root, or is another one while we are not root.
    """
    ours = os.geteuid()
    if name is None and ours != ROOT:
        try:
            name = pwd.getpwuid(ours).pw_name
        except KeyError:
            return Account(str(ours), ours, os.getegid(), switch=False)
    for candidate in [name] if name else ["postgres", "nobody"]:
        try:
            entry = pwd.getpwnam(candidate)
        except KeyError:
            continue
        if entry.pw_uid == ROOT:
            raise ProgramFailed("a database server does not run as root", hint="name an ordinary account")
        if ours not in (ROOT, entry.pw_uid):
            raise ProgramFailed(f"cannot start a server as {candidate}", hint="only root can")
        return Account(candidate, entry.pw_uid, entry.pw_gid, switch=ours == ROOT)
    raise ProgramFailed(f"there is no account {name or 'postgres or nobody'} to run a server as")


def tethered(argv: list[str], account: Account, *, death_signal: str) -> list[str]:
    """`argv` run as `account`, with `death_signal` (QUIT, KILL, …) sent to it when its parent ends, however.

    To the kernel the parent is the thread that starts the child, so let that thread outlive the child.
    """
    # setpriv sets the signal after the identity; the other way round the kernel would clear it again.
    setpriv = ["setpriv", "--pdeathsig", death_signal]
    if account.switch:
        setpriv += ["--reuid", str(account.uid), "--regid", str(account.gid), "--clear-groups"]
    return [*setpriv, "--", *argv]


def owned_directory(directory: Path, account: Account) -> Path:
    """Make `directory` (mode 0700) or take over the one that is there, for `account` to own."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if account.switch:
        # Root must not follow a link that the account may have laid in a directory of its own.
        os.chown(directory, account.uid, account.gid, follow_symlinks=False)
    return directory


def quiet_environment(*, without: tuple[str, ...]) -> dict[str, str]:
    """Our environment in the C locale, less the variables that start with one of `without`."""
    dropped = (*without, "LC_", "LANG")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    return {**kept, "LC_ALL": "C.UTF-8"}
