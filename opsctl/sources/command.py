"""Any dump program as a source: what it writes is stored whole and proven by bytes, since nobody can read it."""

from __future__ import annotations

import os
import shutil
import stat
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

from opsctl.errors import OpsError, ProgramFailed, UsageError
from opsctl.model.secrets import SecretRef
from opsctl.model.snapshots import BackupSummary, Progress
from opsctl.proofs import content
from opsctl.shells.interface import Shell, Word
from opsctl.shells.secrets import read_secret
from opsctl.sources import guarded, outside
from opsctl.sources.interface import BroughtBack, Captured, Context, Difference, Problem, difference, shrunken
from opsctl.sources.spool import Spool

_SECRET = "OPSCTL_SOURCE_SECRET"
# The secret's own variable could be one that restic, which passes its environment on, takes for its own.
_GIVE = f'export "$1=${_SECRET}"; unset {_SECRET}; shift; exec "$@"'


class Command(BroughtBack):
    """``argv`` writes its dump to standard output, or with ``spool`` into the folder that ``${spool}`` stands for.

    ``there``: the machine that ``argv`` runs on, where that is not this one; ``restore`` runs here.
    ``restore`` brings it back as ``${target}``, from standard input or from ``${spool}``. ``variable`` is the
    environment variable in which both find ``password``. ``limit`` (seconds) is the longest that either may take.
    """

    kind: ClassVar[str] = "command"

    def __init__(
        self,
        name: str,
        *,
        argv: Sequence[str],
        spool: Spool | None = None,
        spool_free: int | None = None,
        restore: Sequence[str] | None = None,
        trailer: str | None = None,
        at_least: Mapping[str, int] | None = None,
        environment: Mapping[str, str] | None = None,
        password: SecretRef | None = None,
        variable: str | None = None,
        limit: float = 86_400,
        shell: Shell,
        there: Shell | None = None,
    ) -> None:
        self.name = name
        self.argv = tuple(argv)
        self.spool = spool
        self.spool_free = spool_free
        self.restore = tuple(restore) if restore else None
        self.trailer = trailer
        self.at_least = dict(at_least or {})
        self.environment = dict(environment or {})
        self.password = password
        self.variable = variable
        self.limit = limit
        self.shell = shell
        self.there = there or shell

    @property
    def filename(self) -> str:
        return f"{self.name}.dump"

    @property
    def brings_back(self) -> bool:
        return self.restore is not None

    def check(self, previous: Mapping[str, Any] | None) -> list[Problem]:
        try:
            self._require_program(self.argv, self.there)
            if self.spool is not None:
                self.spool.check(self._needed(previous))
        except OpsError as error:
            if error.code == 130:
                raise
            return [Problem(error.code, error.message, hint=error.hint)]
        return []

    def capture(self, context: Context) -> Captured:
        self._require_program(self.argv, self.there)
        secret = self._secret()
        try:
            return self._stream(context, secret) if self.spool is None else self._spooled(self.spool, context, secret)
        except OpsError as error:
            outside.mask(error, [secret])
            raise

    def restored_files(self, entry: Mapping[str, Any], place: Path) -> list[Difference]:
        root, expected = self._root(entry, place), entry["proof"]
        if _is_folder(expected):
            if not root.is_dir():
                return [Difference(root.name, "the folder of the dump", "missing")]
            return content.compare(expected, content.of_files(content.of_folder(root, self.shell.check)))
        if not root.is_file() or root.is_symlink():
            return [Difference(root.name, "the dump", "missing")]
        return _against(expected, content.of_file(root, self.shell.check))

    def bring_back(self, entry: Mapping[str, Any], place: Path, target: str) -> list[Difference]:
        if self.restore is None:
            raise UsageError(f"{self.name} has no program that brings it back",
                             hint="add restore: to the source, or leave --database out: the dump lands as files")
        self._require_program(self.restore, self.shell)
        secret, expected, root = self._secret(), entry["proof"], self._root(entry, place)
        what = f"the restore program of {self.name} ({os.path.basename(self.restore[0])})"
        if not _is_folder(expected):
            if any("${spool}" in word for word in self.restore):
                raise UsageError(f"{self.name} was dumped to standard output, and its restore program reads a spool folder",
                                 hint="change restore: in the configuration to what this set was made with")
            argv = outside.filled(self.restore, target=target)
            fed = outside.feed(self.shell, argv, root, what=what, limit=self.limit, env=self._env(secret), secrets=[secret])
            return _against(expected, content.Content(fed.bytes, fed.sha256))
        if self.spool is None:
            raise UsageError(f"{self.name} was dumped into a spool folder, and the configuration names none",
                             hint="add spool: to the source")
        with self.spool.made(int(expected["bytes"])) as spool:
            found = content.of_files(self._put(root, spool, self.spool))
            differences = content.compare(expected, found)
            if not differences:
                argv = outside.filled(self.restore, target=target, spool=str(spool))
                outside.run(self.shell, argv, what=what, limit=self.limit, env=self._env(secret), secrets=[secret])
        return differences

    def _stream(self, context: Context, secret: str) -> Captured:
        words, env = self._streamed(secret, context)
        options = ["--sha256", "--name", os.path.basename(self.argv[0]), "--limit", f"{self.limit:g}"]
        if self.trailer is not None:
            options += ["--trailer", self.trailer]
        if "bytes" in self.at_least:
            options += ["--at-least", str(max(1, self.at_least["bytes"]))]
        dumped = guarded.store(
            context,
            ["--", *words],
            filename=self.filename,
            options=options,
            env=env,
            prove=lambda: None,
            cancel=lambda: None,
            there=self.there,
        )
        written = int(dumped.report["bytes"])
        if dumped.summary.bytes != written:
            raise ProgramFailed(f"the dump has {written:,} bytes and restic saved {dumped.summary.bytes:,}")
        proof = content.of_stream(written, str(dumped.report["sha256"]))
        return self._captured(dumped.snapshot, proof, dumped.summary, f"/{self.filename}", dumped.summary.seconds, context)

    def _streamed(self, secret: str, context: Context) -> tuple[Sequence[Word], Mapping[str, str]]:
        """The command that restic starts, and its environment."""
        if not self.there.here:
            return self.there.streamed(self.argv, self._env(secret), context.limits.prefix)
        words = [*self.argv]
        if self.environment:
            words = ["env", *(f"{name}={value}" for name, value in self.environment.items()), *words]
        if self.variable:
            words = ["/bin/sh", "-c", _GIVE, "sh", self.variable, *words]
        return words, {_SECRET: secret} if self.variable else {}

    def _spooled(self, spool: Spool, context: Context, secret: str) -> Captured:
        begun = time.monotonic()
        with spool.made(self._needed(context.previous)) as place:
            if context.on_progress is not None:
                context.on_progress(Progress(f"{os.path.basename(self.argv[0])} writes {self.name}"))
            argv = [*context.limits.prefix, *outside.filled(self.argv, spool=str(place))]
            what = os.path.basename(self.argv[0])
            outside.run(self.shell, argv, what=what, limit=self.limit, env=self._env(secret), secrets=[secret])
            self._judge(what, place)
            summary, found = _stored(place, context, self.shell)
            _require_still(place, found, summary)
        proof = content.of_files(found)
        if summary.snapshot is None:
            raise ProgramFailed("restic kept no snapshot of the dump")
        return self._captured(summary.snapshot, proof, summary, str(place), round(time.monotonic() - begun, 3), context)

    def _captured(
        self, snapshot: str, proof: Mapping[str, Any], summary: BackupSummary, path: str, seconds: float, context: Context
    ) -> Captured:
        files, size = int(proof["files"]), int(proof["bytes"])
        return Captured(
            snapshot=snapshot,
            proof=proof,
            files=files,
            bytes=size,
            data_added=summary.data_added,
            data_added_packed=summary.data_added_packed,
            seconds=seconds,
            paths=(path,),
            problems=tuple(shrunken(context.previous, files, size)),
        )

    def _judge(self, what: str, place: Path) -> None:
        """ProgramFailed where what a program left in its folder is no dump that could be restored from."""
        files = size = 0
        for name, found in content.files_below(place):
            if not stat.S_ISREG(found.st_mode):
                raise ProgramFailed(f"{what} left {content.shown(name)} in its spool, which is no file",
                                    hint="a dump made of links would be restored as links to what is gone")
            files, size = files + 1, size + found.st_size
        if not size:
            raise ProgramFailed(f"{what} wrote nothing into {place}", hint="does it write where ${spool} says?")
        for have, least in ((files, "files"), (size, "bytes")):
            if have < self.at_least.get(least, 0):
                raise ProgramFailed(f"{what} wrote only {have:,} {least}, and at least {self.at_least[least]:,} are expected")

    def _put(self, root: Path, spool: Path, owner: Spool) -> dict[bytes, content.Content]:
        """Copy a restored dump into the spool folder; what lies there then, read back."""
        for name, found in content.files_below(root):
            self.shell.check()
            if not stat.S_ISREG(found.st_mode):
                continue
            path = spool / os.fsdecode(name)
            for folder in reversed(path.relative_to(spool).parents[:-1]):
                if not (spool / folder).is_dir():
                    (spool / folder).mkdir(0o700)
                    owner.give(spool / folder)
            shutil.copyfile(root / os.fsdecode(name), path, follow_symlinks=False)
            owner.give(path)
        return content.of_folder(spool, self.shell.check)

    def _needed(self, previous: Mapping[str, Any] | None) -> int:
        if self.spool_free is not None:
            return self.spool_free
        return int((previous or {}).get("bytes") or 0) * 11 // 10

    def _secret(self) -> str:
        return read_secret(self.password, self.shell).reveal() if self.password is not None else ""

    def _env(self, secret: str) -> dict[str, str]:
        return {**self.environment, **({self.variable: secret} if self.variable else {})}

    def _root(self, entry: Mapping[str, Any], place: Path) -> Path:
        return place / str(entry["paths"][0]).lstrip("/")

    def _require_program(self, argv: Sequence[str], shell: Shell) -> None:
        """ProgramFailed where the program is not there, which would otherwise show in the middle of the work."""
        found = shell.run(["/bin/sh", "-c", 'command -v "$1"', "sh", argv[0]], env=self.environment, accept=None, timeout=20)
        if found.code:
            where = "" if shell.here else f" on {shell.name}"
            raise ProgramFailed(f"{argv[0]} is not installed{where}, or may not be run",
                                hint="name it with its whole path, or set PATH in environment")


def _stored(place: Path, context: Context, shell: Shell) -> tuple[BackupSummary, dict[bytes, content.Content]]:
    """Store the folder, and read it for its proof at the same time, while it is in memory."""
    over = threading.Event()

    def check() -> None:
        shell.check()
        if over.is_set():
            raise ProgramFailed("the dump could not be stored")

    with ThreadPoolExecutor(1, thread_name_prefix="proof") as beside:
        proof = beside.submit(content.of_folder, place, check)
        try:
            summary = context.repository.backup_paths(
                [str(place)], tags=context.tags, host=context.host, on_progress=context.on_progress
            )
        except BaseException:
            over.set()
            raise
        return summary, proof.result()


def _require_still(place: Path, found: Mapping[bytes, content.Content], summary: BackupSummary) -> None:
    """ProgramFailed where the dump was not the same from its proof to its storing."""
    now = {name: (now.st_size, now.st_mtime_ns) for name, now in content.files_below(place)}
    then = {name: (one.bytes, one.mtime_ns) for name, one in found.items()}
    size = sum(one.bytes for one in found.values())
    if now != then or summary.unreadable or (summary.files, summary.bytes) != (len(found), size):
        moved = sorted(content.shown(name) for name in now.keys() | then.keys() if now.get(name) != then.get(name))
        which = ": " + ", ".join(moved[:3]) if moved else ""
        raise ProgramFailed(f"the dump changed while it was stored{which}",
                            hint="did its program end before its files were written?")


def _is_folder(proof: Mapping[str, Any]) -> bool:
    return str(proof["algorithm"]).endswith("-listing")


def _against(expected: Mapping[str, Any], found: content.Content) -> list[Difference]:
    return [*difference("bytes", expected["bytes"], found.bytes), *difference("SHA-256", expected["sha256"], found.sha256)]
