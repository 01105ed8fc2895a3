"""``opsctl init``: a first configuration from a few answers."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shlex
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opsctl.cli.init_around import Around
from opsctl.cli.init_ask_database import PASSWORD
from opsctl.cli.init_database import Look, Trouble
from opsctl.cli.init_questions import Ask, Hidden, InitAnswers, Questions, Say
from opsctl.cli.init_text import FILE, NONE, check, text_of
from opsctl.engine.configuration import OWN, SYSTEM, config_files, load_config
from opsctl.errors import Busy, ProgramFailed, Refused, SafetyRefusal, UsageError, Waiting
from opsctl.shells.interface import Shell


@dataclass(frozen=True)
class InitResult:
    """What was written (``files``) and found there and left alone (``kept``), and what a person does now.

    ``fingerprint`` is that of the controller's signing key. ``remember`` is what to write down, ``notes``
    what looks wrong in the answers, ``next`` the commands that come now.
    """

    directory: Path
    files: tuple[str, ...]
    kept: tuple[str, ...]
    fingerprint: str
    password_file: str
    next: tuple[str, ...] = ()
    remember: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def init_directory(explicit: str | os.PathLike[str] | None, environ: Mapping[str, str], euid: int) -> Path:
    """Where ``init`` writes: as told, otherwise ``/etc/opsctl`` for root and ``./configs`` for others."""
    told = os.fspath(explicit) if explicit is not None else environ.get("OPSCTL_CONFIG")
    return Path(os.path.abspath(told)) if told else SYSTEM if euid == 0 else Path.cwd() / OWN


def init(
    answers: InitAnswers, *, directory: Path, ask: Ask, say: Say, hidden: Hidden, shell: Shell,
    environ: Mapping[str, str], euid: int, look: Look | None = None, around: Around | None = None,
) -> InitResult:
    """Ask what was not said, show what will be written, and write configuration, password and keys, or nothing.

    Where a question was asked, a person also says yes to the whole. ``around`` is what can be proposed. Keys that are
    already there stay as they are. ``look`` tries the database; what it finds wrong is said and noted and keeps nothing
    from being written, since the server may just be down. Raises SafetyRefusal (there is a configuration already),
    UsageError (an answer that cannot be), ProgramFailed (no key could be made, no space), Busy, and what
    ``ask`` raises.
    """
    if directory.exists() and not directory.is_dir():
        raise UsageError(f"{directory} is a file; a configuration is a directory")
    _refuse_existing(directory)
    questions = Questions(answers, ask, directory, environ, euid, say=say, hidden=hidden, look=look, around=around)
    said = questions.all()
    text = text_of(said)
    check(text, directory)
    if questions.asked:
        _sum_up(directory, said, text, around or Around(), say, ask)
    with _Placing(directory, euid) as placing:
        _refuse_existing(directory)
        if not said["password_file_given"]:
            placing.put("keys/repository-password", f"{secrets.token_urlsafe(32)}\n".encode(), 0o600)
        if said.get("database_password"):
            placing.put(PASSWORD, f"{said['database_password']}\n".encode(), 0o600)
        _make_key(placing, shell)
        _make_login_keys(placing, shell)
        # Last: a configuration that is there has all that it names.
        placing.put(FILE, text.encode(), 0o644)
        fingerprint = _fingerprint(directory / "keys" / "controller.pub", shell)
        config = load_config(directory, euid=euid)
        placing.keep()
    password = config.repositories["main"].password.file or ""
    default = init_directory(None, {}, euid) == directory
    given = "" if default else f" --config {shlex.quote(str(directory))}"
    return InitResult(
        directory=directory,
        files=tuple(placing.written),
        kept=tuple(placing.kept),
        fingerprint=fingerprint,
        password_file=password,
        next=tuple(f"opsctl{given} {word}" for word in ("doctor", "backup init", "backup run", "status")),
        remember=(
            f"Write down in two safe places away from this machine: the repository's password "
            f"(in {password}) and the fingerprint of the signing key ({fingerprint}).",
            "Without the password nothing can ever be restored; with both, everything can, from any machine.",
        ),
        notes=(*_absent(said, directory, shell), *_unreached(said["trouble"]), *_left_out(said), *config.warnings),
    )


def _refuse_existing(directory: Path) -> None:
    there = config_files(directory) if directory.is_dir() else []
    if there:
        raise SafetyRefusal(
            f"there is a configuration already: {there[0]}",
            hint="change it with an editor, or give another place with --config DIR",
            where=str(there[0]),
        )


def _unreached(trouble: Trouble | None) -> list[str]:
    if trouble is None:
        return []
    hint = f"; {trouble.hint}" if trouble.hint else ""
    return [f"the database cannot be backed up yet: {trouble.message}{hint}"]


def _left_out(said: Mapping[str, Any]) -> list[str]:
    left = said["left"]
    more = f" and {len(left) - 8} more" if len(left) > 8 else ""
    return [f"found here, and in no backup yet: {', '.join(left[:8])}{more}"] if left else []


def _absent(said: Mapping[str, Any], directory: Path, shell: Shell) -> list[str]:
    found = []
    for name in ("folder", "cacert"):
        path = said.get(name) or NONE
        if path != NONE and not os.path.exists(directory / path):
            found.append(f"{path} is not there yet")
    files = {"database_password_file": "the role's password", "repository_secret_file": "the user's password",
             "access_key_file": "the access key's id", "secret_key_file": "the access key's secret",
             "ssh_key_file": "the private key", "password_file": "the repository's password"}
    for name, what in files.items():
        path = said.get(name) or NONE
        if path == NONE or (name == "password_file" and not said["password_file_given"]):
            continue
        found += _unreadable(directory / path, what, shell)
    return found


def _unreadable(path: Path, what: str, shell: Shell) -> list[str]:
    """A password that is not there yet, empty, or open to others: better said now than by the first backup."""
    from opsctl.model.secrets import SecretRef
    from opsctl.shells.secrets import read_secret

    if not path.exists():
        return [f"{path} is not there yet: put {what} into it"]
    try:
        read_secret(SecretRef(what, file=str(path)), shell)
    except Refused as error:
        return [f"{error.message}; {error.hint}"]
    return []


def _sum_up(directory: Path, said: Mapping[str, Any], text: str, around: Around, say: Say, ask: Ask) -> None:
    """Show the whole, and go on only with a yes."""
    say("")
    say(f"This is what {directory / FILE} will hold:")
    for line in text.splitlines():
        say(f"  {line}")
    made = ["the controller's signing key", "two login keys for other machines (backup, isolation)"]
    made += [] if said["password_file_given"] else ["a random password of the repository"]
    made += ["the password that you typed"] if said.get("database_password") else []
    say(f"and {directory / 'keys'}, where they are not there yet: {'; '.join(made)}")
    for other in around.others:
        say(f"left as it is: {other}")
    while True:
        answer = ask("Write this? (yes, no)", "yes", option="--yes").strip().lower()
        if answer in ("y", "yes"):
            return
        if answer in ("n", "no"):
            raise Waiting("nothing was written", hint="start `opsctl init` again; every answer can be given as an option")


class _Placing:
    """Puts whole files into the directory and replaces none; without ``keep`` they are taken away again."""

    def __init__(self, directory: Path, euid: int) -> None:
        self.directory = directory
        self.euid = euid
        self.written: list[str] = []
        self.kept: list[str] = []
        self._made: list[Path] = []
        self._stage = Path()
        self._good = False
        self._lock = -1

    def __enter__(self) -> _Placing:
        try:
            self._folder(self.directory, 0o755)
            self._lock = os.open(self.directory, os.O_RDONLY | os.O_CLOEXEC)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._folder(self.directory / "keys", 0o700)
            self._stage = Path(tempfile.mkdtemp(prefix=".init-", dir=self.directory))
        except BlockingIOError as error:
            os.close(self._lock)
            raise Busy(f"another `opsctl init` is writing to {self.directory}") from error
        except OSError as error:
            self._undo()
            raise ProgramFailed(f"cannot write to {self.directory}: {error.strerror}") from error
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._stage, ignore_errors=True)
        if not self._good:
            self._undo()
        os.close(self._lock)

    def keep(self) -> None:
        self._good = True

    def scratch(self, name: str) -> Path:
        return self._stage / name

    def put(self, name: str, content: bytes, mode: int) -> None:
        """Place a file; one that is there stays and is noted."""
        target = self.directory / name
        staged = self._stage / "file"
        try:
            handle = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with open(handle, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fchmod(handle, mode)
                if self.euid == 0:
                    # Keys belong to the account that the machine was set up for, which owns their folder.
                    owner = target.parent.stat()
                    os.fchown(handle, owner.st_uid, owner.st_gid)
                os.fsync(handle)
            os.link(staged, target)
        except FileExistsError:
            self.kept.append(str(target))
        except OSError as error:
            raise ProgramFailed(f"cannot write {target}: {error.strerror}", where=str(target)) from error
        else:
            self.written.append(str(target))
            self._made.append(target)
        finally:
            staged.unlink(missing_ok=True)

    def _folder(self, path: Path, mode: int) -> None:
        if path.is_dir():
            return
        if not path.parent.is_dir():
            self._folder(path.parent, 0o755)
        path.mkdir(mode=mode)
        path.chmod(mode)
        self._made.append(path)

    def _undo(self) -> None:
        for path in reversed(self._made):
            with contextlib.suppress(OSError):
                path.rmdir() if path.is_dir() else path.unlink()


def _make_key(placing: _Placing, shell: Shell) -> None:
    there = placing.directory / "keys" / "controller"
    if there.exists():
        placing.kept.append(str(there))
        if not there.with_name("controller.pub").exists():
            public = shell.run(["ssh-keygen", "-y", "-P", "", "-f", str(there)], timeout=60)
            placing.put("keys/controller.pub", public.stdout, 0o644)
        return
    made = placing.scratch("controller")
    shell.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "opsctl-controller", "-f", str(made)],
        timeout=60,
    )
    placing.put("keys/controller", made.read_bytes(), 0o600)
    placing.put("keys/controller.pub", made.with_name("controller.pub").read_bytes(), 0o644)


def _make_login_keys(placing: _Placing, shell: Shell) -> None:
    """One for backups and one for isolation; a half that is there means that an agent may hold the other one."""
    from opsctl.wiring import login_keys_in

    made = placing.scratch("login")
    for key in login_keys_in(made, shell):
        public = key.with_name(f"{key.name}.pub")
        if any((placing.directory / "keys" / one.name).exists() for one in (key, public)):
            placing.kept.append(str(placing.directory / "keys" / key.name))
            continue
        placing.put(f"keys/{key.name}", key.read_bytes(), 0o600)
        placing.put(f"keys/{public.name}", public.read_bytes(), 0o644)


def _fingerprint(public: Path, shell: Shell) -> str:
    words = shell.run(["ssh-keygen", "-l", "-f", str(public)], timeout=60).text.split()
    found = next((word for word in words if word.startswith("SHA256:")), None)
    if found is None:
        raise ProgramFailed(f"ssh-keygen gives no fingerprint for {public}")
    return found
