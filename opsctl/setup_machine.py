"""Prepares a real machine: the program, its directories with their modes, completion and the hourly timer.

Standard library only. Everything may lie below another root. Nothing is enabled or started, and what is as it
should be is left alone, so that a second run changes nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from opsctl import __version__, environments
from opsctl.environments import Say

COPIED = ("opsctl", "playbooks", "configs", "LICENSE", "README.md", "CHANGELOG.md")
NEVER_COPIED = ("__pycache__", "*.pyc")
MARK = "installed.json"

SERVICE = """\
[Unit]
Description=opsctl: take the backups that are due
Documentation=file:{readme}
Wants=network-online.target
After=network-online.target

[Service]
Type=oneshot
ExecStart=/usr/local/bin/opsctl backup run --due
Nice=10
{account}"""

# Hourly: what is due is read from the repository. No calendar expression means "every three days".
TIMER = """\
[Unit]
Description=opsctl: look every hour which backups are due

[Timer]
OnCalendar=hourly
RandomizedDelaySec=5min
Persistent=true

[Install]
WantedBy=timers.target
"""

COMPLETION = {
    "bash": "usr/local/share/bash-completion/completions/opsctl",
    "zsh": "usr/local/share/zsh/site-functions/_opsctl",
    "fish": "usr/local/share/fish/vendor_completions.d/opsctl.fish",
}


@dataclass(frozen=True)
class Machine:
    """What is wanted: `root` is `/` or a tree to install into, `user` runs opsctl (None: root).

    Only root can read every file and give restored files their owners back, so root is the rule.
    """

    root: Path = Path("/")
    prefix: str = "/opt/opsctl"
    user: str | None = None

    def at(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    @property
    def is_this_one(self) -> bool:
        return self.root == Path("/")


Build = Callable[[Path], None]


def install(machine: Machine, checkout: Path, kit: Path | None, say: Say, build: Build | None = None) -> int:
    """Bring the machine to what is wanted; returns how many things were changed, and says each.

    `build` makes the virtual environment of a release folder; None for the one that the lock file names.
    Raises `SetupFailed`; OSError where a place cannot be written.
    """
    os.umask(0o022)
    machine = _as_before(machine)
    changes: list[str] = []

    def changed(line: str) -> None:
        changes.append(line)
        say(line)

    if machine.user and machine.is_this_one:
        _account(machine.user, changed)
    release = _release(machine, checkout, changed, build or _locked(kit, say))
    _folders(machine, changed)
    _completion(machine, release, changed, say)
    timer = _units(machine, changed)
    if not changes:
        say("nothing changed: everything is as it should be")
    say(f"nothing was enabled. Hourly backups: {timer}")
    say("next: `opsctl init` writes a first configuration")
    return len(changes)


def _locked(kit: Path | None, say: Say) -> Build:
    def build(release: Path) -> None:
        environments.ensure(release / "venv", release, [release / "configs" / "requirements.lock"], kit, say)

    return build


# --- the program -------------------------------------------------------------------------------------------


def _release(machine: Machine, checkout: Path, changed: Say, build: Build) -> Path:
    """The release folder of this checkout's content, made if it is not there, and what points to it."""
    prefix = machine.at(machine.prefix)
    releases = prefix / "releases"
    digest = _digest(checkout)
    release = releases / f"{__version__}-{digest[:12]}"
    if not _finished(release):
        shutil.rmtree(release, ignore_errors=True)
        release.mkdir(parents=True)
        for name in COPIED:
            _copy(checkout / name, release / name)
        build(release)
        # -I: neither the environment nor the current folder may bring modules into what runs as root.
        (release / "bin").mkdir()
        environments.put_launcher(release / "bin" / "opsctl", environments.python_of(release / "venv"), "-I")
        python = str(environments.python_of(release / "venv").resolve())
        mark = {"version": __version__, "sha256": digest, "python": python}
        _put(release / MARK, json.dumps(mark) + "\n", 0o644)
        changed(f"installed opsctl {__version__} in {release}")
    current = prefix / "current"
    before = current.resolve() if current.is_symlink() else None
    if _link(current, f"releases/{release.name}"):
        changed(f"{current} -> {release.name}")
        for old in releases.iterdir():
            # The one before stays: a backup may be running from it, and there is a way back.
            if old not in (release, before):
                shutil.rmtree(old)
                changed(f"removed the older {old}")
    command = machine.at("/usr/local/bin/opsctl")
    if _link(command, os.path.relpath(current / "bin" / "opsctl", command.parent)):
        changed(f"made {command}")
    return release


def _finished(release: Path) -> bool:
    try:
        mark = json.loads((release / MARK).read_text("utf-8"))
    except (OSError, ValueError):
        return False
    python = environments.python_of(release / "venv")
    return python.exists() and mark.get("python") == str(python.resolve())


def _digest(checkout: Path) -> str:
    found = hashlib.sha256()
    for file in _files(checkout):
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        found.update(f"{content} {file.relative_to(checkout)}\n".encode())
    return found.hexdigest()


def _files(checkout: Path) -> Iterator[Path]:
    for name in COPIED:
        place = checkout / name
        if place.is_file():
            yield place
        for file in sorted(place.rglob("*")):
            if file.is_file() and not any(file.match(each) or each in file.parts for each in NEVER_COPIED):
                yield file


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        never = shutil.ignore_patterns(*NEVER_COPIED)
        shutil.copytree(source, target, ignore=never, copy_function=shutil.copyfile)
    elif source.exists():
        shutil.copyfile(source, target)


# --- accounts, directories ---------------------------------------------------------------------------------


def _account(user: str, changed: Say) -> None:
    try:
        pwd.getpwnam(user)
    except KeyError:
        home = ["--home-dir", "/var/lib/opsctl", "--no-create-home", "--shell", "/usr/sbin/nologin"]
        environments.run(["useradd", "--system", "--user-group", *home, "--", user])
        changed(f"made the account {user}")


def _as_before(machine: Machine) -> Machine:
    """An upgrade that names no account keeps the one that the state directory belongs to."""
    state = machine.at("/var/lib/opsctl")
    if machine.user is not None or not machine.is_this_one or not state.is_dir():
        return machine
    try:
        owner = pwd.getpwuid(state.stat().st_uid).pw_name
    except KeyError:
        return machine
    return machine if owner == "root" else replace(machine, user=owner)


def _folders(machine: Machine, changed: Say) -> None:
    owner = machine.user or "root"
    for path, mode, own in (
        ("/etc/opsctl", 0o750, "root"),
        ("/etc/opsctl/keys", 0o700, owner),
        ("/var/lib/opsctl", 0o700, owner),
        ("/run/opsctl", 0o700, owner),
    ):
        folder = machine.at(path)
        if not folder.is_dir():
            folder.parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir(mode=mode)
            folder.chmod(mode)
            changed(f"made {folder} ({mode:04o})")
        if folder.stat().st_mode & 0o7777 != mode:
            folder.chmod(mode)
            changed(f"{folder} has mode {mode:04o} again")
        if machine.is_this_one:
            _own(folder, own, owner, changed)


def _own(folder: Path, user: str, group_of: str, changed: Say) -> None:
    uid, gid = pwd.getpwnam(user).pw_uid, pwd.getpwnam(group_of).pw_gid
    seen = folder.stat()
    if (seen.st_uid, seen.st_gid) != (uid, gid):
        os.chown(folder, uid, gid)
        changed(f"{folder} belongs to {user}:{group_of}")


# --- completion, timer -------------------------------------------------------------------------------------


def _completion(machine: Machine, release: Path, changed: Say, say: Say) -> None:
    for shell, path in COMPLETION.items():
        answer = subprocess.run(
            [str(release / "bin" / "opsctl")],
            env={**os.environ, "_OPSCTL_COMPLETE": f"source_{shell}"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if answer.returncode or "_OPSCTL_COMPLETE" not in answer.stdout:
            say(f"no completion for {shell}: opsctl printed none")
        elif _put(machine.root / path, answer.stdout, 0o644):
            changed(f"wrote {machine.root / path}")


def _units(machine: Machine, changed: Say) -> str:
    """Write the timer where there is systemd; returns the line with which a person enables it."""
    owner = machine.user or "root"
    system = machine.at("/etc/systemd/system")
    if not system.is_dir():
        line = f"17 * * * * {owner} /usr/local/bin/opsctl backup run --due"
        return f"put this line into /etc/cron.d/opsctl: {line}"
    account = ""
    if machine.user:
        # It may read every file, and nothing else that root may.
        account = f"User={owner}\nAmbientCapabilities=CAP_DAC_READ_SEARCH\n"
    readme = f"{machine.prefix}/current/README.md"
    for path, text in (
        (system / "opsctl-backup.service", SERVICE.format(account=account, readme=readme)),
        (system / "opsctl-backup.timer", TIMER),
        (machine.at("/etc/tmpfiles.d/opsctl.conf"), f"d /run/opsctl 0700 {owner} {owner} -\n"),
    ):
        if path.is_file() and "opsctl backup schedule" in path.read_text("utf-8"):
            continue  # made for a configuration, so it knows more than this one
        if _put(path, text, 0o644):
            changed(f"wrote {path}")
    return "systemctl daemon-reload && systemctl enable --now opsctl-backup.timer"


def _put(path: Path, text: str, mode: int) -> bool:
    """Write the file whole unless it is so already; True if something was changed."""
    try:
        if path.read_text("utf-8") == text and path.stat().st_mode & 0o7777 == mode:
            return False
    except FileNotFoundError:
        pass
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(text, "utf-8")
    fresh.chmod(mode)
    fresh.replace(path)
    return True


def _link(path: Path, target: str) -> bool:
    """Make `path` a link to `target` in one step; True if it was not so before."""
    if path.is_symlink() and os.readlink(path) == target:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    fresh.replace(path)
    return True
