"""Are keys and secrets there, whole, and nobody's but their owner's."""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from opsctl.cli.doctor import OK, UNCHECKED, WARNING, WRONG, Check
from opsctl.errors import OpsError
from opsctl.model.secrets import SecretRef
from opsctl.shells.interface import Shell
from opsctl.shells.secrets import read_secret

_SECONDS = 20.0


def keys(directory: Path, shell: Shell, *, hosts: bool = False) -> list[Check]:
    """The controller's signing key and the login keys in ``keys/``; ``hosts``: there are hosts to log into."""
    try:
        mode = stat.S_IMODE(directory.stat().st_mode)
    except FileNotFoundError:
        return [Check("signing key", WRONG, f"there is no {directory}", f"install -d -m 0700 {directory}, then {_MAKE.format(directory / 'controller')}")]
    except OSError as error:
        return [Check("signing key", UNCHECKED, f"{directory}: {error.strerror}", _AS_OWNER)]
    if not os.access(directory, os.X_OK | os.R_OK):
        return [Check("signing key", UNCHECKED, f"{directory} may not be read", _AS_OWNER)]
    open_to_all = [Check("keys", WRONG, f"{directory} is open to others (mode {mode:04o})", f"chmod 700 {directory}")]
    found = open_to_all if mode & 0o077 else []
    return [*found, _signing(directory / "controller", shell), *_logins(directory, hosts, shell)]


_KEPT = "put the right one there, as text"
_LOGINS = ("ssh-backup", "ssh-isolation")
_MAKE = "ssh-keygen -q -t ed25519 -N '' -f {} makes one; on a new controller bring the old one back, or make one and --trust the old key"
_AS_OWNER = "run doctor as root, or as the account that the backups run as"


def _signing(key: Path, shell: Shell) -> Check:
    trouble = _trouble(key)
    if trouble is not None:
        return trouble_of("signing key", trouble)
    if not key.exists():
        return Check("signing key", WRONG, f"there is no signing key at {key}", _MAKE.format(key))
    return _pair("signing key", key, shell)


def _logins(directory: Path, hosts: bool, shell: Shell) -> Iterator[Check]:
    for name in _LOGINS:
        key = directory / name
        if not key.exists():
            if key.with_name(f"{name}.pub").exists():
                yield Check(f"{name} key", OK, f"{key}.pub alone: an agent holds the other half")
            elif hosts:
                yield Check(f"{name} key", WARNING, f"there is no login key at {key}", "`opsctl hosts prepare HOST` makes it")
        elif trouble := _trouble(key):
            yield trouble_of(f"{name} key", trouble)
        else:
            yield _pair(f"{name} key", key, shell)


def _pair(name: str, key: Path, shell: Shell) -> Check:
    """Whether the key opens without a passphrase, and ``.pub`` is its other half."""
    public = key.with_name(f"{key.name}.pub")
    try:
        own = shell.run(["ssh-keygen", "-y", "-P", "", "-f", str(key)], timeout=_SECONDS).text.split()[:2]
    except OpsError as error:
        if error.code >= 100:
            raise
        return Check(name, WRONG, f"{key} cannot be used: {error.message}",
                     "bring the right one back; a key with a passphrase cannot sign by itself")
    try:
        kept = public.read_text("utf-8", "replace").split()[:2]
    except OSError as error:
        return Check(name, WRONG, f"{public} cannot be read: {error.strerror}", f"ssh-keygen -y -f {key} > {public}")
    if own != kept:
        return Check(name, WRONG, f"{public} is the other half of another key", f"ssh-keygen -y -f {key} > {public}")
    return Check(name, OK, f"{key}, mode 0600")


def secrets(refs: Sequence[SecretRef], owners: Sequence[int], shell: Shell) -> list[Check]:
    """Every secret read as a backup would read it: a row for each that is wrong, and one for all the others."""
    found = [each for ref in refs if (each := secret(ref, owners, shell)) is not None]
    good = len(refs) - len(found)
    return [Check("secrets", OK, f"{good} read, none open to others"), *found] if good else found


def secret(ref: SecretRef, owners: Sequence[int], shell: Shell) -> Check | None:
    """What is wrong with one secret; None where nothing is."""
    try:
        read_secret(ref, shell)
    except OpsError as error:
        if error.code >= 100:
            raise
        by_hand = f"run it by hand: {ref.command[0]}; does it wait for somebody?" if ref.command else _KEPT
        return Check("secret", WRONG, error.message, error.hint or by_hand)
    trouble = in_others_hands(Path(ref.file), owners) if ref.file else None
    return Check("secret", WRONG, f"{ref}: {trouble[0]}", trouble[1]) if trouble else None


def command(ref: SecretRef, owners: Sequence[int], shell: Shell) -> list[Check]:
    """A secret that a command prints: a row of its own, since it may take its time, or wait for somebody."""
    return [secret(ref, owners, shell) or Check("secret", OK, f"{ref}: read")]


def secret_files(files: Mapping[str, str]) -> list[Check]:
    """Files of a configuration that cannot be read as a whole: mode and size alone. By the words they stand under."""
    found = []
    for file, where in files.items():
        try:
            read_secret(SecretRef(where, file=file), _NoShell)
        except OpsError as error:
            found.append(Check("secret", WRONG, error.message, error.hint or _KEPT))
    good = len(files) - len(found)
    return [Check("secrets", OK, f"{good} read, none open to others"), *found] if good else found


_NoShell: Any = None  # no file needs one


def refs_of(config: Any) -> list[SecretRef]:
    """Every secret that a configuration names, each once."""
    found: list[SecretRef | None] = []
    for repository in config.repositories.values():
        found += [repository.password, repository.secret, *(repository.keys or ())]
        if repository.ssh_key_file is not None:
            found.append(SecretRef(f"login key of repository {repository.name}", file=repository.ssh_key_file))
    found += [getattr(source, "password", None) for source in config.sources.values()]
    if config.notify is not None:
        found += [config.notify.secret, config.notify.pulse]
    return list({(ref.file, ref.command, ref.env): ref for ref in found if ref is not None}.values())


def files_named(data: Any, directory: Path) -> dict[str, str]:
    """The secret files that plain data names, by path: where each stands."""
    from opsctl.model.schedule import leaves

    names = ("password_file", "secret_file", "access_key_file", "secret_key_file", "ssh_key_file", "urls_file",
             "dead_man_file")
    return {os.path.normpath(directory / value): key for key, value in leaves(data)
            if key in names and isinstance(value, str) and value}


def in_others_hands(path: Path, owners: Sequence[int]) -> tuple[str, str] | None:
    """Who else could change a file: its owner, or whoever may write to its folder; and what to do."""
    try:
        owner, folder = path.stat().st_uid, path.parent.stat()
    except OSError as error:
        return f"cannot be looked at: {error.strerror}", "does it exist?"
    if owner not in owners:
        return f"belongs to {_name(owner)}, who can change it", f"chown {_name(owners[0])} {path}"
    if folder.st_mode & stat.S_IWOTH and not folder.st_mode & stat.S_ISVTX:
        mode = stat.S_IMODE(folder.st_mode)
        return f"everybody can replace it: {path.parent} has mode {mode:04o}", f"chmod o-w {path.parent}"
    return None


def owners_of(*places: Path) -> list[int]:
    """Whom our files may belong to: us, root, and whoever owns one of these places (the account that backups run as)."""
    found = [os.geteuid(), 0]
    for place in places:
        try:
            found.append(place.stat().st_uid)
        except OSError:
            continue
    return list(dict.fromkeys(found))


def state(directory: Path) -> list[Check]:
    """The mode of the state directory; nothing where it is as it has to be, or not there yet."""
    try:
        mode = stat.S_IMODE(directory.stat().st_mode)
    except OSError:
        return []  # the row on its space says so
    if mode & 0o077:
        return [Check("access to state", WRONG, f"{directory} is open to others (mode {mode:04o})",
                      f"chmod 700 {directory}")]
    return []


def _trouble(key: Path) -> tuple[str, str] | None:
    try:
        mode = stat.S_IMODE(key.stat().st_mode)
    except FileNotFoundError:
        return None
    except OSError as error:
        return f"{key} cannot be looked at: {error.strerror}", _AS_OWNER
    if mode & 0o077:
        return (f"{key} can be read by others (mode {mode:04o})",
                f"chmod 600 {key}; who has read it can act as this machine")
    if not os.access(key, os.R_OK):
        return f"{key} may not be read", _AS_OWNER
    return in_others_hands(key, owners_of(key.parent))


def trouble_of(name: str, trouble: tuple[str, str]) -> Check:
    """What is wrong with a file as a check."""
    return Check(name, WRONG, *trouble)


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
