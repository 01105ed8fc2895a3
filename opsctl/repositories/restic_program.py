"""The restic program: how it is called, with which environment, and which versions are taken."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from opsctl.errors import ProgramFailed
from opsctl.model.secrets import SecretRef
from opsctl.repositories.store import LocalStore
from opsctl.shells.interface import Result, Session, Shell, Word
from opsctl.shells.local import LocalShell
from opsctl.shells.secrets import read_secret

if TYPE_CHECKING:
    from opsctl.shells.ssh import SshShell

OLDEST = (0, 17)  # the first with the exit codes 10, 11 and 12 and with --stdin-from-command in JSON
_SECRETS = ("RESTIC_PASSWORD", "RESTIC_REST_USERNAME", "RESTIC_REST_PASSWORD", "RESTIC_FROM_PASSWORD")
# Told to end because the connection is gone, restic takes its lock away, unless it has died of writing into that
# connection before, which no Go program can be kept from. So somebody else writes there, and goes on reading when he cannot.
_SMALL = frozenset({"cat", "forget", "init", "key", "list", "snapshots", "tag", "unlock", "version"})
"""Commands that read no packs."""
_SHIELDED = ("/bin/sh", "-c", " ".join("""
    pass() { trap '' PIPE TERM; while IFS= read -r line; do printf '%s\\n' "$line" 2>/dev/null; done; };
    exec 4>&1;
    code=$({ { { "$@" 2>&3 4>&- 5>&-; echo $? >&5; } | pass >&4 5>&-; } 3>&1 | pass >&2 5>&-; } 5>&1);
    exit "${code:-1}"
""".split()), "sh")
_accepted: dict[tuple[str, str], tuple[int, ...]] = {}  # by (shell, program): asked once per process


class Program:
    """Calls restic for one repository. ``calls`` counts those that open it (half a second of scrypt each).

    ``words``: what restic is told on each call beside its options, where the storage needs that.
    """

    def __init__(
        self,
        shell: Shell,
        program: str,
        version: tuple[int, ...] | None,
        url: str,
        *,
        password: SecretRef,
        rest_user: str | None,
        rest_secret: SecretRef | None,
        cacert: str | None,
        cache_dir: Path | None,
        time_limit: float,
        environment: Mapping[str, str | SecretRef],
        words: Callable[[], Sequence[str]] | None = None,
    ) -> None:
        self.shell = shell
        self.program = program
        self._version = version
        self.url = url
        self.time_limit = time_limit
        self.calls = 0
        self.options: tuple[str, ...] = ()
        self.prefix: tuple[str, ...] = ()  # before the program itself: nice, ionice
        self.key: str | None = (
            None  # tried first: a planted key must not stop us, another must not cost half a second
        )
        self._password = password
        self._rest_user = rest_user
        self._rest_secret = rest_secret
        self._cacert = cacert
        self._cache_dir = cache_dir
        self._environment = dict(environment)
        self._words = words
        self._known: dict[SecretRef, str] = {}

    @property
    def storage(self) -> Mapping[str, str]:
        """What the storage itself asks for, by environment variable (``AWS_ACCESS_KEY_ID``, …). Raises Refused."""
        return {name: self.secret(value) if isinstance(value, SecretRef) else value
                for name, value in self._environment.items()}

    @property
    def way(self) -> Sequence[str]:
        """The words that tell restic how to reach this repository; they do for every one that is reached so."""
        return self._words() if self._words is not None else ()

    @property
    def cacert(self) -> str | None:
        return self._cacert

    def run(
        self,
        words: Sequence[Word],
        *,
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,
        on_line: Callable[[bytes], None] | None = None,
        cwd: str | None = None,
        give_up: Callable[[], bool] | None = None,
    ) -> Result:
        """Run restic to its end; any exit code is returned. ``timeout=0``: no limit, for hours of work."""
        if not (env or {}).get("RESTIC_REPOSITORY"):
            self._refuse_endless(words)
        argv = self._argv(words)
        limit = None if timeout == 0 else timeout or self.time_limit
        surroundings = {**self.environment(), **(env or {})}
        return self.shell.run(
            argv,
            stdin=None if self.shell.here else _typed(surroundings),
            env=surroundings,
            timeout=limit,
            accept=None,
            on_line=on_line,
            cwd=cwd,
            give_up=give_up,
        )

    def on(self, shell: SshShell) -> Program:
        """The same on another machine, for work that ends by itself; nothing of it lies on its disk."""
        found = copy.copy(self)
        found.shell, found.prefix = shell.behind((*_SHIELDED, *self.prefix)), ()
        found.program, found._version = "restic", None
        found.options = tuple(dict.fromkeys(("--no-cache", *self.options)))
        found._cache_dir = None
        return found

    def open(self, words: Sequence[Word]) -> Session:
        """Start restic and read its output as it comes."""
        self._refuse_endless(words)
        argv = self._argv(words)
        return self.shell.open(argv, env=self.environment())

    def _refuse_endless(self, words: Sequence[Word]) -> None:
        """DamagedData for what restic would wait for and cannot be told to leave: in a folder of this machine, which a disk may have brought."""
        if self.shell.here and not self.url.startswith(("rest:", "s3:", "sftp:")):
            LocalStore(Path(self.url)).refuse_endless(packs=_SMALL.isdisjoint(map(str, words[:1])))

    def environment(self) -> dict[str, str]:
        """Everything secret that restic needs, and how often it reports. Raises Refused."""
        env = {
            "RESTIC_PROGRESS_FPS": "1",
            **self.storage,
            "RESTIC_REPOSITORY": self.url,
            "RESTIC_PASSWORD": self.secret(self._password),
        }
        if self.key is not None:
            env["RESTIC_KEY_HINT"] = self.key
        if self._rest_user is not None:
            env["RESTIC_REST_USERNAME"] = self._rest_user
        if self._rest_secret is not None:
            env["RESTIC_REST_PASSWORD"] = self.secret(self._rest_secret)
        if self._cacert is not None:
            env["RESTIC_CACERT"] = self._cacert
        if self._cache_dir is not None:
            env["RESTIC_CACHE_DIR"] = str(self._cache_dir)
        return env

    def as_source(self) -> dict[str, str]:
        """The environment that lets another call read this repository as ``--from-repo``.

        Its rest-server login goes into the URL, since the variables for it are the other repository's.
        """
        url = self.url
        if url.startswith("rest:") and self._rest_user is not None:
            login = f"{quote(self._rest_user, safe='')}:{quote(self.rest_password(), safe='')}"
            url = re.sub(r"://(?:[^/@]*@)?", f"://{login}@".replace("\\", r"\\"), url, count=1)
        return {
            **self.storage,
            "RESTIC_FROM_REPOSITORY": url,
            "RESTIC_FROM_PASSWORD": self.secret(self._password),
        }

    def rest_password(self) -> str:
        return self.secret(self._rest_secret) if self._rest_secret is not None else ""

    def secret(self, ref: SecretRef) -> str:
        """A secret, read once: a command may ask a person for it."""
        if ref not in self._known:
            self._known[ref] = read_secret(ref, LocalShell()).reveal()
        return self._known[ref]

    def as_child(self, argv: Sequence[Word], errors: Path) -> list[Word]:
        """A command for restic to start: without restic's secrets, its complaints in a file.

        restic passes a command's standard error on, but drops what it has not read when the command fails.
        """
        hidden = [*_SECRETS, *self._environment]
        return [
            "/bin/sh",
            "-c",
            f'unset {" ".join(hidden)}; errors=$1; shift; exec "$@" 2>>"$errors"',
            "sh",
            str(errors),
            *argv,
        ]

    def _argv(self, words: Sequence[Word]) -> list[Word]:
        self.version()
        self.calls += 1
        return [*self.prefix, self.program, *self.options, *self.way, *words]

    def version(self) -> tuple[int, ...]:
        """restic's version; ProgramFailed where it is missing or too old. Opens no repository."""
        if self._version is not None:
            return self._version
        key = (self.shell.name, self.program)
        if key not in _accepted:
            result = self.shell.run([self.program, "version", "--json"], timeout=30, accept=None)
            found = _version(result.text)
            where = "" if self.shell.here else f" on {self.shell.name}"
            if result.code or not found:
                raise ProgramFailed(
                    f"{self.program}{where} does not say its version like restic does",
                    hint=f"install restic 0.17 or newer{where or ': opsctl doctor --fix'}",
                )
            if found < OLDEST:
                raise ProgramFailed(
                    f"{self.program}{where} is restic {_dotted(found)}; opsctl needs {_dotted(OLDEST)} or newer",
                    hint=f"install a newer one{where}" if where else "opsctl doctor --fix installs one",
                )
            _accepted[key] = found
        return _accepted[key]


def _typed(surroundings: dict[str, str]) -> bytes | None:
    """The password as restic reads it from its standard input, taken out of the environment. It reads one line."""
    if "\n" in surroundings["RESTIC_PASSWORD"]:
        return None
    return surroundings.pop("RESTIC_PASSWORD").encode() + b"\n"


def _version(text: str) -> tuple[int, ...]:
    try:
        text = json.loads(text)["version"]
    except (ValueError, KeyError, TypeError):
        match = re.search(r"restic (\S+)", text)  # before 0.17 `--json` was ignored here
        text = match[1] if match else ""
    match = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    return tuple(int(part) for part in match.groups() if part) if match else ()


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
