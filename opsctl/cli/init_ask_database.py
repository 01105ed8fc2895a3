"""The questions of ``init`` about one database: which, where, as whom, asked until it is reached or kept as it is."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opsctl.cli.init_database import Look, Place, Trouble
from opsctl.cli.init_databases import KINDS, LOOPBACK, PORTS, Server
from opsctl.cli.init_text import NONE
from opsctl.errors import UsageError

if TYPE_CHECKING:
    from opsctl.cli.init_around import Around
    from opsctl.cli.init_questions import Questions

TYPE = "type"
"""The answer that a password will be typed, and kept in a file that init makes."""
READER = "backup"
PASSWORD = "keys/portal-db-password"
_TRIES = 5
_PASSWORDS = 3
_SERVER = f"an address, the folder of a socket (MariaDB: its path), or {NONE}: the usual socket of this machine"
_PASSWORD_FILE = (
    f"{TYPE}: type it now, hidden, and a private file is made that holds it",
    "or a path: a file that holds it and that only its owner can read (mode 0600)",
)


def _no_path(answer: str) -> str | None:
    """Why an answer is not taken for the path of a password's file: it may be the password itself."""
    if "/" in answer or answer == NONE or os.path.exists(answer):
        return None
    return (f"that is no path. If it is the password, nothing kept it; answer `{TYPE}` and give it where it is not shown. A file of "
            "this folder is written ./NAME")


class DatabaseQuestions:
    """``ask`` fills in what ``Questions`` collects. ``around`` is what init found here; ``look`` tries the database."""

    def __init__(self, questions: Questions, around: Around, look: Look | None) -> None:
        self.questions = questions
        self.answers = questions.answers
        self.say = questions.say
        self.around = around
        self.look = look

    def ask(self, said: dict[str, Any]) -> Trouble | None:
        """Name, kind, place, role and password, and what is wrong with them, None where nothing is or there is none."""
        said["port"] = NONE if self.answers.port is None else self.questions.fitting("port", str(self.answers.port))
        said["database"] = self.questions.one("database", "Database to back up", self.around.database or NONE,
                                              *self._found())
        said["database_kind"] = KINDS[0]
        if said["database"] == NONE:
            return None
        here = self.around.server_of(said["database"])
        said["database_kind"] = self._kind(here)
        return self._place(said, here if here and here.kind == said["database_kind"] else None)

    def _found(self) -> list[str]:
        lines = []
        for server in self.around.servers:
            names = f": {', '.join(server.databases[:12])}" if server.databases else ", whose databases you may not list"
            lines.append(f"found {server}{names}")
        return lines

    def _kind(self, here: Server | None) -> str:
        if self.answers.database_kind is not None:
            return self.questions.fitting("database_kind", self.answers.database_kind)
        if here is not None:
            return here.kind
        if self.answers.database is not None:
            return KINDS[0]
        choice = f"{' or '.join(KINDS)} (MySQL is mariadb)"
        return self.questions.one("database_kind", "Its kind", self._likeliest(), choice)

    def _likeliest(self) -> str:
        kinds = {server.kind for server in self.around.servers}
        return kinds.pop() if len(kinds) == 1 else KINDS[0]

    def _place(self, said: dict[str, Any], here: Server | None) -> Trouble | None:
        asked = any(getattr(self.answers, name) is None for name in ("database", "server", "user"))
        said["server"] = self.questions.one("server", "Its server", self._server(here), _SERVER)
        if self.answers.server is None and self.answers.port is None:
            usual = PORTS[said["database_kind"]]
            its_own = here.port if here else usual
            if its_own != usual or not (said["server"] == NONE or said["server"].startswith("/")):
                said["port"] = self.questions.one("port", "Its port", str(its_own))
        said["user"] = self.questions.one("user", "Role to connect as", *self._role(said))
        trouble = self._password(said, self.answers.database_password_file)
        for _ in range(_TRIES):
            if trouble is None or not asked:
                break
            self.say(f"not reached: {trouble.message}")
            if trouble.hint:
                self.say(f"hint: {trouble.hint}")
            answer = self.questions.ask("Change these answers, or keep them for now? (change, keep)", "keep",
                                        option="--database")
            if answer != "change":
                break
            again = self.questions.again
            said["database"] = again("database", "Database to back up", said["database"])
            said["server"] = again("server", "Its server", trouble.server or said["server"], _SERVER)
            port = trouble.port or (str(PORTS[said["database_kind"]]) if said["port"] == NONE else said["port"])
            said["port"] = again("port", "Its port", port)
            said["user"] = again("user", "Role to connect as", said["user"])
            trouble = self._password(said, None)
        return trouble

    def _server(self, here: Server | None) -> str:
        """Where it is. Over the socket PostgreSQL takes only the role of one's own name: root has none, so loopback."""
        if here is None:
            return NONE
        if here.kind == "postgresql" and here.tcp and self.questions.euid == 0:
            return LOOPBACK
        return here.server or NONE

    def _role(self, said: Mapping[str, Any]) -> tuple[str, str]:
        """The role that is proposed, and why that one."""
        own = _account(self.questions.euid)
        if said["server"] != NONE or own is None or said["database_kind"] != "postgresql":
            return READER, f"{READER}: a role of its own that may only read; the README says how to make it"
        return own, f"{own}: over its socket PostgreSQL lets an account in as the role of that name"

    def _password(self, said: dict[str, Any], given: str | None) -> Trouble | None:
        """Take the role's password as a file or typed, where it needs one; what is wrong then."""
        said.pop("database_password", None)
        said["database_password_file"] = NONE
        if given is not None:
            said["database_password_file"] = self.questions.fitting("database_password_file", given)
            return self._look(said)
        trouble = self._look(said)
        if self.look is not None and (trouble is None or not trouble.wants_password):
            return trouble
        kept: Path = self.questions.directory / PASSWORD
        default = NONE if trouble is None else str(kept) if kept.exists() else TYPE
        answer = self.questions.again("database_password_file", "The role's password", default, *_PASSWORD_FILE, word=TYPE, refused=_no_path)
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
            said["database_password"] = self.questions.hidden(f"Password of role {said['user']} (it is not shown)")
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
            kind=said["database_kind"],
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


def kind_of(value: str) -> str:
    """One of the kinds, under the names that people use. UsageError."""
    found = {"postgres": "postgresql", "mysql": "mariadb"}.get(value.strip().lower(), value.strip().lower())
    if found not in KINDS:
        raise UsageError(f"--database-kind: must be {' or '.join(KINDS)}")
    return found


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


