"""The questions of ``opsctl init``."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from opsctl.cli.init_around import Around
from opsctl.cli.init_ask_database import DatabaseQuestions, kind_of
from opsctl.cli.init_database import Look
from opsctl.cli.init_text import NONE, TRIAL, load, text_of
from opsctl.errors import ConfigError, UsageError
from opsctl.model.quantities import format_size

_TRIES = 5
_NAMED = 6
_STORE = "a path, best on another disk, or rest:https://host:port/name, s3:https://host/bucket/prefix, sftp:user@host:/path"
_CONSOLE = "the line of /etc/ssh/ssh_host_ed25519_key.pub there, as its own console shows it"
_PRIVATE = "a file that holds it and that only its owner can read (mode 0600)"


Say = Callable[[str], None]
Hidden = Callable[[str], str]


class Ask(Protocol):
    """Asks a person for a word (``cli.session.Session.ask``); raises Waiting where nobody is there."""

    def __call__(self, question: str, default: str | None = None, *, option: str | None = None) -> str: ...


@dataclass(frozen=True)
class InitAnswers:
    """What was already said by options; None is asked for. ``none`` says that there is no such thing.

    The last ones are never asked for: they have a default that fits most. ``database_kind`` and ``port`` are asked for
    only where they are not clear.
    """

    organisation: str | None = None
    timezone: str | None = None
    repository: str | None = None
    repository_user: str | None = None
    repository_secret_file: str | None = None
    access_key_file: str | None = None
    secret_key_file: str | None = None
    host_key: str | None = None
    ssh_key_file: str | None = None
    database: str | None = None
    database_kind: str | None = None
    server: str | None = None
    user: str | None = None
    database_password_file: str | None = None
    folder: str | None = None
    port: int | None = None
    cacert: str | None = None
    password_file: str | None = None
    state: str | None = None


class Questions:
    """Asks for what no option said. ``look`` tries the database; None leaves it alone. ``around``: what can be proposed.

    ``say`` shows a line at once: why a question comes again, what became of an answer. ``hidden`` reads a word
    that is not shown.
    """

    def __init__(
        self, answers: InitAnswers, ask: Ask, directory: Path, environ: Mapping[str, str], euid: int, *,
        say: Say, hidden: Hidden, look: Look | None = None, around: Around | None = None,
    ) -> None:
        self.answers = answers
        self.put = ask
        self.asked = False
        self.directory = directory
        self.environ = environ
        self.euid = euid
        self.say = say
        self.hidden = hidden
        self.look = look
        self.around = around or Around()

    def ask(self, question: str, default: str | None = None, *, option: str | None = None) -> str:
        """Ask a person, and remember that one was asked."""
        self.asked = True
        return self.put(question, default, option=option)

    def all(self) -> dict[str, Any]:
        """Every answer by its name, NONE where there is no such thing; ``trouble`` with the database, or None."""
        said: dict[str, Any] = {}
        root = self.euid == 0
        home = Path(self.environ.get("HOME") or "/")
        said["organisation"] = self.one("organisation", "Name of the organisation", None)
        zone = local_timezone(self.environ)
        said["timezone"] = self.one("timezone", "Time zone", zone, "such as Asia/Kolkata; times are shown in it")
        said["repository"] = self.one("repository", "Where backups are kept", *self._store(root, home))
        self._door(said)
        said["trouble"] = DatabaseQuestions(self, self.around, self.look).ask(said)
        nothing_yet = said["database"] == NONE
        said["folder"] = self.one("folder", "Folder to back up", *self._folder(nothing_yet))
        if nothing_yet and said["folder"] == NONE:
            raise UsageError("there is nothing to back up", hint="give --database or --folder")
        said["left"] = self._left(said)
        state = "/var/lib/opsctl" if root else str(_state_home(self.environ, home) / "opsctl")
        said["state"] = self.fitting("state", self.answers.state or state)
        for name in ("cacert", "password_file"):
            given = getattr(self.answers, name)
            said[name] = NONE if given is None else self.fitting(name, str(given))
        said["password_file_given"] = said["password_file"] != NONE
        if not said["password_file_given"]:
            said["password_file"] = "keys/repository-password"
        return said

    def _door(self, said: dict[str, Any]) -> None:
        """What a repository that is elsewhere asks of whoever comes in."""
        kind = said["repository"].partition(":")[0]
        if kind == "rest":
            said["repository_user"] = self.one("repository_user", "User at the REST server", NONE)
            if said["repository_user"] != NONE:
                said["repository_secret_file"] = self.one(
                    "repository_secret_file", "File that holds that user's password", None, _PRIVATE)
        elif kind == "s3":
            said["access_key_file"] = self.one("access_key_file", "File that holds the access key's id", None, _PRIVATE)
            said["secret_key_file"] = self.one("secret_key_file", "File that holds the access key's secret", None, _PRIVATE)
        elif kind == "sftp":
            said["host_key"] = self.one("host_key", "Host key of the SFTP server", None, _CONSOLE)
            said["ssh_key_file"] = self.one("ssh_key_file", "File that holds the private key to log in with", None, _PRIVATE)

    def _store(self, root: bool, home: Path) -> tuple[str, ...]:
        """The place for backups that is proposed: another disk than the system's, where there is one."""
        usual = "/srv/backups/opsctl" if root else str(home / "opsctl-backups")
        known = [one for one in self.around.disks if one.free]
        found = [f"found another disk at {one.place}, {format_size(one.free)} free" if one.free else
                 f"found a network disk at {one.place}" for one in self.around.disks[:_NAMED]]
        return (f"{known[0].place.rstrip('/')}/opsctl" if known else usual, _STORE, *found)

    def _folder(self, needed: bool) -> tuple[Any, ...]:
        """The folder that is proposed; none where there is a database and nothing that looks like data."""
        found = self.around.folders
        if not found:
            return (None if needed else NONE,)
        more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        return (found[0], f"found {', '.join(found[:_NAMED])}{more}; or {NONE}")

    def _left(self, said: Mapping[str, Any]) -> list[str]:
        """What was found and not taken, so that nobody takes it for backed up."""
        databases = [f"{server.kind} {name}" for server in self.around.servers for name in server.databases
                     if (server.kind, name) != (said["database_kind"], said["database"])]
        taken = said["folder"]
        folders = [one for one in self.around.folders if taken == NONE or os.path.commonpath([one, taken]) != taken]
        return [*databases, *folders]

    def one(self, name: str, question: str, default: str | None, *explained: str) -> str:
        """The answer from its option, or by asking until it can be."""
        given = getattr(self.answers, name)
        return self.again(name, question, default, *explained) if given is None else self.fitting(name, str(given))

    def again(
        self, name: str, question: str, default: str | None, *explained: str, word: str | None = None,
        refused: Callable[[str], str | None] = lambda answer: None,
    ) -> str:
        """The answer by asking; ``word`` is one that is no value for the file, ``refused`` says why one cannot be it."""
        option = f"--{name.replace('_', '-')}"
        for line in explained:
            self.say(line)
        problem = ""
        for _ in range(_TRIES):
            try:
                answer = self.ask(question, default, option=option)
                if word is not None and answer == word:
                    return answer
                if why := refused(answer):
                    raise UsageError(f"{option}: {why}")
                return self.fitting(name, answer)
            except UsageError as error:
                problem = error.message.removeprefix(f"{option}: ")
                self.say(f"not taken: {problem}")
        raise UsageError(f"{option}: {problem}; asked {_TRIES} times", hint=f"answer it with {option}")

    def fitting(self, name: str, value: str) -> str:
        """The answer as it goes into the file; UsageError where the configuration would not take it."""
        value = kind_of(value) if name == "database_kind" else value.strip()
        option = f"--{name.replace('_', '-')}"
        if name in _PATHS or (name == "repository" and not re.match(r"[a-z][a-z0-9+-]*:", value)):
            home = self.environ.get("HOME") or "~"
            value = home + value[1:] if value.startswith("~/") else value
            if not value:
                raise UsageError(f"{option}: is empty")
            if value != NONE and not os.path.isabs(value):
                self.say(f"{value}: from this folder, so {os.path.abspath(value)}")
            value = value if value == NONE else os.path.abspath(value)
        trial = {**TRIAL, "folder": "/", name: value}
        for url, keys in _DOORS.items():
            if name in keys or (name == "repository" and value.startswith(url.partition(":")[0] + ":")):
                trial = {**{key: given for key, given in keys.items() if given}, "repository": url, **trial, name: value}
                trial["repository"] = value if name == "repository" else url
        try:
            load(text_of(trial), self.directory)
        except ConfigError as error:
            # What follows ``file:line: path: `` is the sentence.
            message = error.problems[0].split(": ", 2)[-1] if error.problems else error.message
            raise UsageError(f"{option}: {message}") from error
        return value


#: What each kind of store elsewhere asks for, with values that fit, so that one of them can be tried by itself.
_DOORS: Mapping[str, Mapping[str, str]] = {
    "rest:https://a/": {"repository_user": "a", "repository_secret_file": "/a", "cacert": ""},
    "s3:https://a/abc": {"access_key_file": "/a", "secret_key_file": "/a"},
    "sftp:a@a:/a": {"host_key": f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{'A' * 43}", "ssh_key_file": "/a"},
}
_PATHS = ("folder", "repository_secret_file", "access_key_file", "secret_key_file", "ssh_key_file", "database_password_file",
          "cacert", "password_file", "state")


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


def _state_home(environ: Mapping[str, str], home: Path) -> Path:
    return Path(environ.get("XDG_STATE_HOME") or home / ".local" / "state")
