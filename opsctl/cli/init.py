"""``opsctl init``: a first configuration from a few answers."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pwd
import re
import secrets
import shlex
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from opsctl.engine.configuration import OWN, SYSTEM, config_files, load_config
from opsctl.engine.load import load_document, resolve, validate
from opsctl.errors import Busy, ConfigError, ProgramFailed, SafetyRefusal, UsageError
from opsctl.shells.interface import Shell

NONE = "none"
FILE = "opsctl.yaml"
_TRIES = 5


class Ask(Protocol):
    """Asks a person for a word (``cli.session.Session.ask``); raises Waiting where nobody is there."""

    def __call__(self, question: str, default: str | None = None, *, option: str | None = None) -> str: ...


@dataclass(frozen=True)
class InitAnswers:
    """What was already said by options; None is asked for. ``none`` says that there is no such thing.

    The last ones are never asked for: they have a default that fits most.
    """

    organisation: str | None = None
    timezone: str | None = None
    repository: str | None = None
    repository_user: str | None = None
    repository_secret_file: str | None = None
    database: str | None = None
    server: str | None = None
    user: str | None = None
    database_password_file: str | None = None
    folder: str | None = None
    port: int | None = None
    cacert: str | None = None
    password_file: str | None = None
    state: str | None = None


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
    answers: InitAnswers, *, directory: Path, ask: Ask, shell: Shell, environ: Mapping[str, str], euid: int
) -> InitResult:
    """Ask what was not said, then write configuration, repository password and signing key, or nothing.

    Keys that are already there stay as they are. Raises SafetyRefusal (there is a configuration already),
    UsageError (an answer that cannot be), ProgramFailed (no key could be made, no space), Busy, and what
    ``ask`` raises.
    """
    if directory.exists() and not directory.is_dir():
        raise UsageError(f"{directory} is a file; a configuration is a directory")
    _refuse_existing(directory)
    said = _Questions(answers, ask, directory, environ, euid).all()
    text = _text(said)
    _check(text, directory)
    with _Placing(directory, euid) as placing:
        _refuse_existing(directory)
        if not said["password_file_given"]:
            placing.put("keys/repository-password", f"{secrets.token_urlsafe(32)}\n".encode(), 0o600)
        _make_key(placing, shell)
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
        notes=(*_absent(said), *config.warnings),
    )


def _refuse_existing(directory: Path) -> None:
    there = config_files(directory) if directory.is_dir() else []
    if there:
        raise SafetyRefusal(
            f"there is a configuration already: {there[0]}",
            hint="change it with an editor, or give another place with --config DIR",
            where=str(there[0]),
        )


class _Questions:
    def __init__(
        self, answers: InitAnswers, ask: Ask, directory: Path, environ: Mapping[str, str], euid: int
    ) -> None:
        self.answers = answers
        self.ask = ask
        self.directory = directory
        self.environ = environ
        self.euid = euid

    def all(self) -> dict[str, Any]:
        said: dict[str, Any] = {}
        root = self.euid == 0
        home = Path(self.environ.get("HOME") or "/")
        said["organisation"] = self.one("organisation", "Name of the organisation", None)
        said["timezone"] = self.one("timezone", "Time zone", local_timezone(self.environ))
        store = "/srv/backups/opsctl" if root else str(home / "opsctl-backups")
        said["repository"] = self.one(
            "repository",
            "Where backups are kept: a path, best on another disk, or rest:https://host:port/name",
            store,
        )
        if said["repository"].startswith("rest:"):
            said["repository_user"] = self.one("repository_user", "User at the REST server", NONE)
            if said["repository_user"] != NONE:
                said["repository_secret_file"] = self.one(
                    "repository_secret_file", "File with that user's password", None
                )
        said["database"] = self.one("database", "PostgreSQL database to back up", NONE)
        if said["database"] != NONE:
            said["server"] = self.one("server", "Its server (none: the socket of this machine)", NONE)
            said["user"] = self.one("user", "Role to connect as", _role(self.euid))
            said["database_password_file"] = self.one(
                "database_password_file", "File with that role's password", NONE
            )
        nothing_yet = said["database"] == NONE
        said["folder"] = self.one("folder", "Folder to back up", None if nothing_yet else NONE)
        if nothing_yet and said["folder"] == NONE:
            raise UsageError("there is nothing to back up", hint="give --database or --folder")
        state = "/var/lib/opsctl" if root else str(_state_home(self.environ, home) / "opsctl")
        said["state"] = self.fitting("state", self.answers.state or state)
        for name in ("cacert", "password_file", "port"):
            given = getattr(self.answers, name)
            said[name] = NONE if given is None else self.fitting(name, str(given))
        said["password_file_given"] = said["password_file"] != NONE
        if not said["password_file_given"]:
            said["password_file"] = "keys/repository-password"
        return said

    def one(self, name: str, question: str, default: str | None) -> str:
        """The answer from its option, or by asking until it can be."""
        option = f"--{name.replace('_', '-')}"
        given = getattr(self.answers, name)
        if given is not None:
            return self.fitting(name, str(given))
        problem = ""
        for _ in range(_TRIES):
            try:
                return self.fitting(name, self.ask(problem + question, default, option=option))
            except UsageError as error:
                problem = f"{error.message}. "
        raise UsageError(f"{problem}Asked {_TRIES} times", hint=f"answer it with {option}")

    def fitting(self, name: str, value: str) -> str:
        """The answer as it goes into the file; UsageError where the configuration would not take it."""
        value = value.strip()
        option = f"--{name.replace('_', '-')}"
        if name in _PATHS or (name == "repository" and not re.match(r"[a-z][a-z0-9+-]*:", value)):
            home = self.environ.get("HOME") or "~"
            value = home + value[1:] if value.startswith("~/") else value
            value = value if value == NONE else os.path.abspath(value)
        trial = {**_TRIAL, "folder": "/", name: value}
        if name in ("repository_user", "repository_secret_file", "cacert"):
            trial = {
                "repository_user": "a",
                "repository_secret_file": "/a",
                **trial,
                "repository": "rest:https://a/",
            }
            trial[name] = value
        try:
            _load(_text(trial), self.directory)
        except ConfigError as error:
            # What follows ``file:line: path: `` is the sentence.
            message = error.problems[0].split(": ", 2)[-1] if error.problems else error.message
            raise UsageError(f"{option}: {message}") from error
        return value


_PATHS = ("folder", "repository_secret_file", "database_password_file", "cacert", "password_file", "state")
_TRIAL = {
    "organisation": "a",
    "timezone": "UTC",
    "state": "/a",
    "repository": "/a",
    "password_file": "/a",
    "database": "a",
    "folder": NONE,
}


def local_timezone(environ: Mapping[str, str], root: Path = Path("/")) -> str:
    """The name of this machine's time zone, ``UTC`` where it does not say."""
    if re.fullmatch(r"[A-Za-z]+(/[A-Za-z0-9_+-]+)+", environ.get("TZ", "")):
        return environ["TZ"]
    try:
        return (root / "etc/timezone").read_text().strip() or "UTC"
    except OSError:
        pass
    try:
        target = os.readlink(root / "etc/localtime")
    except OSError:
        return "UTC"
    return target.partition("zoneinfo/")[2] or "UTC"


def _role(euid: int) -> str:
    try:
        return pwd.getpwuid(euid).pw_name if euid else "postgres"
    except KeyError:
        return "postgres"


def _state_home(environ: Mapping[str, str], home: Path) -> Path:
    return Path(environ.get("XDG_STATE_HOME") or home / ".local" / "state")


def _text(said: Mapping[str, Any]) -> str:
    """The ten lines."""

    def entry(**keys: Any) -> str:
        given = {key: value for key, value in keys.items() if value not in (None, NONE)}
        return "{" + ", ".join(f"{key}: {_scalar(value)}" for key, value in given.items()) + "}"

    sources = {}
    if said["database"] != NONE:
        sources["portal-db"] = entry(
            kind="postgresql",
            database=said["database"],
            server=said.get("server"),
            port=int(said["port"]) if said.get("port", NONE).isdecimal() else said.get("port"),
            user=said.get("user"),
            password_file=said.get("database_password_file"),
        )
    if said["folder"] != NONE:
        sources["uploads"] = f"{{kind: paths, paths: [{_scalar(said['folder'])}]}}"
    main = entry(
        url=said["repository"],
        user=said.get("repository_user"),
        secret_file=said.get("repository_secret_file"),
        cacert=said.get("cacert"),
        password_file=said["password_file"],
    )
    return "\n".join(
        [
            "# What is backed up, where to, how often. configs/README.md explains every key.",
            f"organisation: {entry(name=said['organisation'], timezone=said['timezone'])}",
            f"state: {_scalar(said['state'])}",
            "repositories:",
            f"  main: {main}",
            "sources:",
            *(f"  {name}: {source}" for name, source in sources.items()),
            "backups:",
            f"  portal: {{sources: [{', '.join(sources)}], repository: main, every: 3d}}",
            "",
        ]
    )


def _scalar(value: Any) -> str:
    if isinstance(value, int):
        return str(value)
    plain = re.fullmatch(
        r"[A-Za-z/][A-Za-z0-9_./@-]*( [A-Za-z0-9_./@-]+)*|rest:https?://[A-Za-z0-9_./:@-]+", value
    )
    return value if plain and resolve(value) == value else json.dumps(value, ensure_ascii=False)


def _load(text: str, directory: Path) -> Any:
    from opsctl.model.config import Config

    return validate(Config, [load_document(text, FILE)], context={"directory": str(directory)})


def _check(text: str, directory: Path) -> None:
    try:
        _load(text, directory)
    except ConfigError as error:
        raise UsageError(f"these answers do not make a configuration: {error.problems[0]}") from error


def _absent(said: Mapping[str, Any]) -> list[str]:
    found = []
    for name in ("folder", "database_password_file", "repository_secret_file", "cacert"):
        path = said.get(name) or NONE
        if path != NONE and not os.path.exists(path):
            found.append(f"{path} is not there yet")
    if said["password_file_given"] and not os.path.exists(said["password_file"]):
        found.append(f"{said['password_file']} is not there yet: put the repository's password into it")
    return found


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


def _fingerprint(public: Path, shell: Shell) -> str:
    words = shell.run(["ssh-keygen", "-l", "-f", str(public)], timeout=60).text.split()
    found = next((word for word in words if word.startswith("SHA256:")), None)
    if found is None:
        raise ProgramFailed(f"ssh-keygen gives no fingerprint for {public}")
    return found
