"""The questions of ``opsctl init``."""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from opsctl.cli.init_database import Look, Place, Trouble
from opsctl.cli.init_text import NONE, TRIAL, load, text_of
from opsctl.errors import ConfigError, UsageError

TYPE = "type"
"""The answer that a password will be typed, and kept in a file that init makes."""
READER = "backup"
PASSWORD = "keys/portal-db-password"
_TRIES = 5
_PASSWORDS = 3
_STORE = "a path, best on another disk, or rest:https://host:port/name"
_SERVER = f"an address, the folder of a socket, or {NONE}: the socket of this machine"
_PASSWORD_FILE = (
    f"{TYPE}: type it now, hidden, and a private file is made that holds it",
    "or a path: a file that holds it and that only its owner can read (mode 0600)",
)


Say = Callable[[str], None]
Hidden = Callable[[str], str]


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


class Questions:
    """Asks for what no option said. ``look`` tries the database; None leaves it alone.

    ``say`` shows a line at once: why a question comes again, what became of an answer. ``hidden`` reads a word
    that is not shown.
    """

    def __init__(
        self, answers: InitAnswers, ask: Ask, directory: Path, environ: Mapping[str, str], euid: int, *,
        say: Say, hidden: Hidden, look: Look | None = None,
    ) -> None:
        self.answers = answers
        self.ask = ask
        self.directory = directory
        self.environ = environ
        self.euid = euid
        self.say = say
        self.hidden = hidden
        self.look = look

    def all(self) -> dict[str, Any]:
        """Every answer by its name, NONE where there is no such thing; ``trouble`` with the database, or None."""
        said: dict[str, Any] = {}
        root = self.euid == 0
        home = Path(self.environ.get("HOME") or "/")
        said["organisation"] = self.one("organisation", "Name of the organisation", None)
        zone = local_timezone(self.environ)
        said["timezone"] = self.one("timezone", "Time zone", zone, "such as Asia/Kolkata; times are shown in it")
        store = "/srv/backups/opsctl" if root else str(home / "opsctl-backups")
        said["repository"] = self.one(
            "repository",
            "Where backups are kept",
            store,
            _STORE,
        )
        if said["repository"].startswith("rest:"):
            said["repository_user"] = self.one("repository_user", "User at the REST server", NONE)
            if said["repository_user"] != NONE:
                said["repository_secret_file"] = self.one(
                    "repository_secret_file", "File that holds that user's password", None, _PASSWORD_FILE[1].partition(": ")[2]
                )
        said["port"] = NONE if self.answers.port is None else self.fitting("port", str(self.answers.port))
        said["database"] = self.one("database", "PostgreSQL database to back up", NONE)
        said["trouble"] = self._database(said) if said["database"] != NONE else None
        nothing_yet = said["database"] == NONE
        said["folder"] = self.one("folder", "Folder to back up", None if nothing_yet else NONE)
        if nothing_yet and said["folder"] == NONE:
            raise UsageError("there is nothing to back up", hint="give --database or --folder")
        state = "/var/lib/opsctl" if root else str(_state_home(self.environ, home) / "opsctl")
        said["state"] = self.fitting("state", self.answers.state or state)
        for name in ("cacert", "password_file"):
            given = getattr(self.answers, name)
            said[name] = NONE if given is None else self.fitting(name, str(given))
        said["password_file_given"] = said["password_file"] != NONE
        if not said["password_file_given"]:
            said["password_file"] = "keys/repository-password"
        return said

    def _database(self, said: dict[str, Any]) -> Trouble | None:
        """Where the database is, asked until it can be reached or the person keeps it as it is."""
        asked = any(getattr(self.answers, name) is None for name in ("database", "server", "user"))
        said["server"] = self.one("server", "Its server", NONE, _SERVER)
        said["user"] = self.one("user", "Role to connect as", *self._role(said["server"]))
        trouble = self._password(said, self.answers.database_password_file)
        for _ in range(_TRIES):
            if trouble is None or not asked:
                break
            self.say(f"not reached: {trouble.message}")
            if trouble.hint:
                self.say(f"hint: {trouble.hint}")
            answer = self.ask("Change these answers, or keep them for now? (change, keep)", "keep", option="--database")
            if answer != "change":
                break
            said["database"] = self._again("database", "PostgreSQL database to back up", said["database"])
            said["server"] = self._again("server", "Its server", trouble.server or said["server"], _SERVER)
            port = trouble.port or ("5432" if said["port"] == NONE else said["port"])
            said["port"] = self._again("port", "Its port", port)
            said["user"] = self._again("user", "Role to connect as", said["user"])
            trouble = self._password(said, None)
        return trouble

    def _role(self, server: str) -> tuple[str, str]:
        """The role that is proposed, and why that one."""
        own = _account(self.euid)
        if server != NONE or own is None:
            return READER, f"{READER}: a role of its own that may only read; the README says how to make it"
        return own, f"{own}: over its socket PostgreSQL lets an account in as the role of that name"

    def _password(self, said: dict[str, Any], given: str | None) -> Trouble | None:
        """Take the role's password as a file or typed, where it needs one; what is wrong then."""
        said.pop("database_password", None)
        said["database_password_file"] = NONE
        if given is not None:
            said["database_password_file"] = self.fitting("database_password_file", given)
            return self._look(said)
        trouble = self._look(said)
        if self.look is not None and (trouble is None or not trouble.wants_password):
            return trouble
        kept = self.directory / PASSWORD
        default = NONE if trouble is None else str(kept) if kept.exists() else TYPE
        answer = self._again("database_password_file", "The role's password", default, *_PASSWORD_FILE, word=TYPE)
        if answer == TYPE and kept.exists():
            self.say(f"{kept} is there already and is not overwritten; it is taken as it is")
            answer = str(kept)
        elif answer == TYPE:
            said["database_password_file"] = PASSWORD
            return self._typed(said)
        said["database_password_file"] = answer
        return self._look(said)

    def _typed(self, said: dict[str, Any]) -> Trouble | None:
        """Take a password that is typed, again where the server does not take it."""
        for left in reversed(range(_PASSWORDS)):
            said["database_password"] = self.hidden(f"Password of role {said['user']} (it is not shown)")
            trouble = self._look(said)
            if trouble is None or not trouble.wants_password or not left:
                break
            self.say("the server does not take it; type it again")
        return trouble

    def _look(self, said: Mapping[str, Any]) -> Trouble | None:
        if self.look is None:
            return None
        typed = said.get("database_password")
        place = Place(
            said["database"],
            server=_given(said["server"]),
            port=int(said["port"]) if said["port"] != NONE else None,
            user=_given(said["user"]),
            password_file=None if typed else _given(said["database_password_file"]),
            password=typed,
        )
        trouble = self.look(place)
        if trouble is None:
            self.say(f"reached: database {place}, as {place.user or 'this account'}")
        return trouble

    def one(self, name: str, question: str, default: str | None, *explained: str) -> str:
        """The answer from its option, or by asking until it can be."""
        given = getattr(self.answers, name)
        return self._again(name, question, default, *explained) if given is None else self.fitting(name, str(given))

    def _again(self, name: str, question: str, default: str | None, *explained: str, word: str | None = None) -> str:
        """The answer by asking; ``word`` is one that is no value for the file."""
        option = f"--{name.replace('_', '-')}"
        for line in explained:
            self.say(line)
        problem = ""
        for _ in range(_TRIES):
            try:
                answer = self.ask(question, default, option=option)
                return answer if word is not None and answer == word else self.fitting(name, answer)
            except UsageError as error:
                problem = error.message.removeprefix(f"{option}: ")
                self.say(f"not taken: {problem}")
        raise UsageError(f"{option}: {problem}; asked {_TRIES} times", hint=f"answer it with {option}")

    def fitting(self, name: str, value: str) -> str:
        """The answer as it goes into the file; UsageError where the configuration would not take it."""
        value = value.strip()
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
        if name in ("repository_user", "repository_secret_file", "cacert"):
            trial = {
                "repository_user": "a",
                "repository_secret_file": "/a",
                **trial,
                "repository": "rest:https://a/",
            }
            trial[name] = value
        try:
            load(text_of(trial), self.directory)
        except ConfigError as error:
            # What follows ``file:line: path: `` is the sentence.
            message = error.problems[0].split(": ", 2)[-1] if error.problems else error.message
            raise UsageError(f"{option}: {message}") from error
        return value


_PATHS = ("folder", "repository_secret_file", "database_password_file", "cacert", "password_file", "state")


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


def _account(euid: int) -> str | None:
    """The name of an ordinary user; None for root, whom PostgreSQL knows nowhere, and where there is no name."""
    if euid == 0:
        return None
    try:
        return pwd.getpwuid(euid).pw_name
    except KeyError:
        return None


def _given(answer: str) -> str | None:
    return None if answer == NONE else answer


def _state_home(environ: Mapping[str, str], home: Path) -> Path:
    return Path(environ.get("XDG_STATE_HOME") or home / ".local" / "state")
