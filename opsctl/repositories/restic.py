"""One restic repository, through the restic program, believed only as far as the store confirms it."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from opsctl.errors import DamagedData, OpsError, ProgramFailed, SafetyRefusal, Unreachable
from opsctl.model.secrets import SecretRef
from opsctl.model.snapshots import BackupSummary, Finding, LockInfo, Node, Progress, Snapshot
from opsctl.repositories import restic_damage, restic_failures, restic_locks, restic_output, restic_snapshots
from opsctl.repositories.interface import Identity, OnProgress, Repository, SnapshotCache
from opsctl.repositories.restic_failures import Place
from opsctl.repositories.restic_program import Program
from opsctl.repositories.store import LocalStore, public_url, store_for
from opsctl.repositories.view import view
from opsctl.shells.interface import Result, Shell, Word

NO_LIMIT = 0.0     # for work that takes as long as there is data
_TIME_LIMIT = 120.0


class Restic(Repository):
    """A repository that restic keeps.

    ``environment`` holds what a storage needs (``AWS_ACCESS_KEY_ID``, …). ``wait`` is how many seconds to wait for
    somebody else's lock. ``time_limit`` (seconds) bounds the calls that only look. ``cache_dir=None``: no cache.
    A repository in a local directory is read without a cache in any case: it would hide damage and save nothing.
    ``calls`` counts the restic calls that open the repository.
    """

    def __init__(
        self, name: str, url: str, *, password: SecretRef, rest_user: str | None = None,
        rest_secret: SecretRef | None = None, cacert: str | None = None, shell: Shell, cache_dir: Path | None,
        snapshot_cache: SnapshotCache | None = None, program: str = "restic", wait: float = 0,
        time_limit: float = _TIME_LIMIT, environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.url = public_url(url)
        self.notes: list[str] = []
        self.program = Program(shell, program, url, password=password, rest_user=rest_user, rest_secret=rest_secret,
                               cacert=cacert, cache_dir=cache_dir, time_limit=time_limit, environment=environment or {})
        self.store = store_for(url, user=rest_user, secret=self.program.rest_password, cacert=cacert)
        if cache_dir is None or isinstance(self.store, LocalStore):
            self.program.options = ("--no-cache",)
        self._cache_dir = cache_dir
        self._wait = wait
        self._pinned: Identity | None = None
        self._confirmed = False
        self._listing = restic_snapshots.Listing(snapshot_cache)
        self._locks = restic_locks.Locks(self.program, self.store)

    @property
    def calls(self) -> int:
        return self.program.calls

    @property
    def place(self) -> Place:
        return Place(self.name, self.url, self.store, self._pinned)

    # Which repository this is

    def create(self, *, chunker_from: Repository | None = None) -> Identity:
        refusal = SafetyRefusal(f"something is already at {self.url} ({self.name}); a repository is only made in an empty place",
                                hint="is it a repository of yours? then it needs no backup init; otherwise choose another place")
        if self.store is not None and not self.store.is_empty():
            raise refusal
        words, env = ["init", "--json", "--repository-version", "2"], {}
        if chunker_from is not None:
            if not isinstance(chunker_from, Restic):
                raise TypeError("the chunker parameters come from another restic repository")
            words.append("--copy-chunker-params")
            env = chunker_from.program.as_source()
        result = self.program.run(words, env=env)
        if result.code:
            if "already" in result.errors:
                raise refusal
            raise self.failure("make a repository", result)
        return self.identity()

    def identity(self) -> Identity:
        stored = self.store.config() if self.store is not None else None
        if self.store is not None and stored is None:
            raise restic_failures.gone(self.place)
        found = self._document("read the config", ["cat", "config", "--no-lock"], sure=False)
        keys = list(self.store.list("keys")) if self.store is not None else []
        key = keys[0] if len(keys) == 1 else None
        if len(keys) > 1:
            result = self.call("list the keys", ["key", "list", "--json", "--no-lock"], sure=False)
            key = next((each["id"] for each in restic_output.array(result.stdout) if each.get("current")), None)
        return Identity(found["id"], found["chunker_polynomial"],
                        hashlib.sha256(stored).hexdigest() if stored is not None else None, key)

    def pin(self, identity: Identity | None) -> None:
        self._pinned = identity
        self._confirmed = False
        self.program.key = identity.key if identity is not None else None
        self._listing.repository_id = identity.id if identity is not None else None

    def make_sure(self) -> None:
        """Raise DamagedData where this is not the pinned repository; costs a restic call only when in doubt."""
        stored = None
        if self.store is not None:
            stored = self.store.config()
            if stored is None:
                raise restic_failures.gone(self.place)
        if self._pinned is None or (stored is None and self._confirmed):
            return
        digest = hashlib.sha256(stored).hexdigest() if stored is not None else None
        if digest is not None and digest == self._pinned.config_sha256:
            return
        try:
            found = self.identity()
        except OpsError as error:
            locked_out = error.code == 12 or error.details.get("kind") == "key-missing"
            if locked_out and self._pinned.config_sha256 is not None:
                raise restic_failures.replaced(self.place, None) from error
            raise
        if found.id != self._pinned.id:
            raise restic_failures.replaced(self.place, found.id)
        if self._pinned.config_sha256 is not None and digest is not None:
            self.notes.append(f"the config of {self.place} was stored anew (same repository)")
        self._pinned = replace(self._pinned, config_sha256=digest)
        self._confirmed = True

    # What is in it

    def snapshots(self) -> list[Snapshot]:
        self.make_sure()
        if self._listing.needs_id:
            self._listing.repository_id = self.identity().id
        return self._listing.read(self)

    def junk(self) -> list[Finding]:
        return list(self._listing.junk)

    def read(self, snapshot_id: str, path: str) -> bytes:
        return self.call(f"read {path} of snapshot {snapshot_id[:8]}",
                          ["dump", "--no-lock", snapshot_id, "--", path], timeout=NO_LIMIT).stdout

    def ls(self, snapshot_id: str, path: str | None = None) -> Iterator[Node]:
        self.make_sure()
        below = ["--recursive", snapshot_id, "--", path] if path is not None else [snapshot_id]
        session = self.program.open(["ls", "--json", "--no-lock", *below])
        finished = False
        try:
            for line in session.stdout:
                raw = restic_output.parse_line(line)
                if raw is not None and raw.get("message_type", raw.get("struct_type")) == "node":
                    yield restic_output.node(raw)
            finished = True
        finally:
            result = session.close() if finished else session.close(timeout=0)
        self.program.shell.check()
        if result.code:
            raise self.failure(f"list snapshot {snapshot_id[:8]}", result)

    # Putting things in

    def backup_paths(
        self, paths: Sequence[Word], *, excludes: Sequence[str] = (), tags: Sequence[str], host: str,
        parent: str | None = None, on_progress: OnProgress | None = None,
    ) -> BackupSummary:
        # Without --parent restic would look for the latest snapshot, and one planted object stops that.
        options = [word for exclude in excludes for word in ("--exclude", exclude)]
        if on_progress is None:
            options.append("--no-scan")
        known = tuple(os.fsdecode(path) for path in paths)
        found = self._backup(
            "back up " + ", ".join(ascii(path)[1:-1] for path in known[:3]),
            [*options, *(("--parent", parent) if parent else ("--force",))], ["--", *paths], tags, host, known,
            on_progress, without_parent=[*options, "--force"] if parent else None)
        return found

    def backup_command(
        self, argv: Sequence[Word], *, filename: str, env: Mapping[str, str] | None = None, tags: Sequence[str],
        host: str, on_progress: OnProgress | None = None,
    ) -> BackupSummary:
        name = os.path.basename(os.fsdecode(argv[0]))
        with self._scratch() as scratch:
            errors = scratch / "errors"
            options = ["--force", "--stdin-filename", filename, "--stdin-from-command"]
            try:
                found = self._backup(f"store what {name} wrote", options, ["--", *self.program.as_child(argv, errors)],
                                     tags, host, (), on_progress, env=env, command=True)
            except ProgramFailed as error:
                if "command" not in error.details:
                    raise
                words = _last_lines(errors)
                raise ProgramFailed(f"{name} failed ({error.details['command']}): {words or 'it said nothing'}",
                                    details={"program": name, "said": words.split("; ") if words else []}) from error
            if found.bytes == 0:
                words = _last_lines(errors)
                stray = [found.snapshot] if found.snapshot else []
                raise ProgramFailed(f"{name} wrote nothing" + (f": {words}" if words else ""),
                                    details={"program": name, "stray": stray})
        return found

    def backup_bytes(self, content: bytes, *, filename: str, tags: Sequence[str], host: str) -> BackupSummary:
        if not content:
            raise ValueError("an empty document cannot be told from a failed backup")
        # From a file and a command, not through a pipe of ours: where we are killed, restic would take the end of
        # the pipe for the end of the document.
        with self._scratch() as scratch:
            document = scratch / "document"
            document.write_bytes(content)
            options = ["--force", "--stdin-filename", filename, "--stdin-from-command"]
            found = self._backup(f"store {filename}", options, ["--", "cat", str(document)], tags, host, (), None)
        if found.bytes != len(content):
            raise ProgramFailed(f"restic stored {found.bytes} of {len(content)} bytes of {filename}")
        return found

    def _backup(
        self, doing: str, options: Sequence[Word], what: Sequence[Word], tags: Sequence[str], host: str,
        paths: Sequence[str], on_progress: OnProgress | None, *, env: Mapping[str, str] | None = None,
        command: bool = False, without_parent: Sequence[Word] | None = None,
    ) -> BackupSummary:
        for tag in tags:
            if "," in tag or not tag:
                raise ValueError(f"{tag!r} is no tag: restic splits tags at commas")
        words = ["backup", "--json", "--host", host, *(word for tag in tags for word in ("--tag", tag))]
        if on_progress is None:
            words.append("--quiet")
        output, status = restic_output.Collector(), _Status(doing, on_progress)
        result = self.call(doing, [*words, *options, *what], accept=None, timeout=NO_LIMIT, env=env,
                            on_line=lambda line: status.take(output.add(line)))
        errors = restic_output.sort_lines(result.stderr)
        found = restic_output.summary(output.said(), errors, paths)
        if result.code in (0, 3) and found is not None and found.snapshot is not None:
            self._look_again(found.snapshot)
            return found
        if without_parent is not None and "failed to load snapshot" in result.errors:
            self.notes.append("the snapshot to compare with cannot be read; everything was read anew")
            return self._backup(doing, without_parent, what, tags, host, paths, on_progress, env=env)
        if command and (ended := restic_output.command_failure(errors)) is not None:
            raise ProgramFailed(f"the command failed ({ended})", details={"command": ended})
        if result.code in (0, 3):
            raise ProgramFailed(f"restic could not {doing} ({self.place}): it ended without naming a snapshot")
        if restic_failures.NO_SPACE.search(result.errors):
            raise restic_failures.no_space(f"no space left for {self.place}",
                                           self.store.free() if self.store else None, status.missing())
        raise self.failure(doing, result)

    def _look_again(self, snapshot_id: str) -> None:
        if self.store is not None and self.store.digest("snapshots", snapshot_id) != snapshot_id:
            raise DamagedData(f"restic says that it saved snapshot {snapshot_id[:8]}, but it is not in {self.place}",
                              hint="is another program removing files there?",
                              details={"kind": "snapshot-deleted", "object": f"snapshots/{snapshot_id}"})

    # Getting things out

    def restore(
        self, snapshot_id: str, target: Path, *, include: Sequence[Word] = (), on_progress: OnProgress | None = None,
    ) -> None:
        wanted = [os.fsencode(path) for path in include]
        words: list[Word] = ["restore", "--json", "--no-lock", "--verify", "--target", str(target)]
        for path in wanted:
            words += ["--include", restic_output.pattern(path)]
        if on_progress is None:
            words.append("--quiet")
        output, status = restic_output.Collector(), _Status(f"restoring {snapshot_id[:8]}", on_progress)
        result = self.call(f"restore snapshot {snapshot_id[:8]}", [*words, snapshot_id], accept=None, timeout=NO_LIMIT,
                            on_line=lambda line: status.take(output.add(line)))
        errors = restic_output.restore_errors(restic_output.sort_lines(result.stderr).objects)
        if result.code or errors:
            raise self._restore_failure(snapshot_id, target, result, errors, status)
        base = os.fsencode(target)
        absent = [os.fsdecode(path) for path in wanted if not os.path.lexists(base + b"/" + path.lstrip(b"/"))]
        if absent:
            raise ProgramFailed(f"not in snapshot {snapshot_id[:8]}: {', '.join(ascii(path)[1:-1] for path in absent)}",
                                details={"missing": [ascii(path)[1:-1] for path in absent]},
                                hint="list the snapshot to see what is in it")

    def _restore_failure(
        self, snapshot_id: str, target: Path, result: Result, errors: Mapping[str, str], status: _Status,
    ) -> OpsError:
        if restic_failures.NO_SPACE.search(result.errors):
            return restic_failures.no_space(f"no space left in {target}", _free(target), status.missing() or status.total)
        if errors and not all(restic_output.is_about_target(message) for message in errors.values()):
            files = sorted(errors)
            return DamagedData(
                f"{len(files)} files of snapshot {snapshot_id[:8]} could not be restored from {self.place}:"
                f" {', '.join(files[:3])}{', …' if len(files) > 3 else ''}",
                details={"files": files, "snapshot": snapshot_id},
                hint="run opsctl verify: it names what is damaged; another copy may still have them")
        if errors:
            path, message = next(iter(errors.items()))
            return ProgramFailed(f"{len(errors)} files could not be written into {target}: {path}: {message}",
                                 details={"files": sorted(errors)})
        return self.failure(f"restore snapshot {snapshot_id[:8]}", result)

    def dump_to(self, snapshot_id: str, path: str, target: Path) -> None:
        partial = target.with_name(f".{target.name}.partial-{os.getpid()}")
        try:
            result = self.call(f"read {path} of snapshot {snapshot_id[:8]}", accept=None, timeout=NO_LIMIT,
                                words=["dump", "--no-lock", "--target", str(partial), snapshot_id, "--", path])
            if result.code and restic_failures.NO_SPACE.search(result.errors):
                sizes = [node.size for node in self.ls(snapshot_id, path) if node.path == path]
                raise restic_failures.no_space(f"no space left in {target.parent}", _free(target.parent),
                                               sizes[0] if sizes else None)
            if result.code:
                raise self.failure(f"read {path} of snapshot {snapshot_id[:8]}", result)
            with open(partial, "rb") as written:
                os.fsync(written.fileno())
            os.replace(partial, target)
        finally:
            with suppress(FileNotFoundError):
                partial.unlink()

    # Whether it is whole, and who is in it

    def check(self, share: tuple[int, int] | None = None, on_progress: OnProgress | None = None) -> list[Finding]:
        return restic_damage.check(self, share, on_progress)

    def locks(self) -> list[LockInfo]:
        return self._locks.read()

    def unlock_stale(self) -> list[LockInfo]:
        removed = self._locks.remove_stale()
        self.notes += [f"removed the lock of process {lock.pid} of this host, which is gone, from {self.place}"
                       for lock in removed]
        return removed

    # Calling restic

    def call(
        self, doing: str, words: Sequence[Word], *, accept: Collection[int] | None = (0,), sure: bool = True,
        timeout: float | None = None, env: Mapping[str, str] | None = None,
        on_line: Callable[[bytes], None] | None = None, hidden: Collection[str] = (),
    ) -> Result:
        """One restic call against the pinned repository, waiting for locks; raises where the code is not accepted.

        With ``accept=None`` every code comes back except those that mean the same for all commands: 10, 11, 12.
        ``timeout=0``: no limit. ``hidden`` (``kind/name``): objects that restic shall not see; it then only reads.
        """
        if sure:
            self.make_sure()
        if hidden and self.store is not None:
            with view(self.store, hidden) as url:
                words = [*words, *(() if "--no-lock" in words else ("--no-lock",))]
                return self._run(doing, words, {"RESTIC_REPOSITORY": url}, timeout, on_line)
        if "--no-lock" not in words and self.store is not None and self.store.list("locks"):
            self._refuse_planted_locks()
        begun = time.monotonic()
        while True:
            result = self._run(doing, words, env, timeout, on_line)
            if result.code == 1 and self._avoid_bad_keys(result):
                continue
            if result.code != 11:
                break
            self._wait_for_lock(begun)
        if result.code in (10, 12) or (accept is not None and result.code not in accept):
            raise self.failure(doing, result)
        return result

    def _run(
        self, doing: str, words: Sequence[Word], env: Mapping[str, str] | None, timeout: float | None,
        on_line: Callable[[bytes], None] | None,
    ) -> Result:
        try:
            return self.program.run(words, env=env, timeout=timeout, on_line=on_line)
        except Unreachable as error:
            raise Unreachable(f"restic could not {doing}: {self.place} did not answer in time",
                              hint="is the store running, and the network up?") from error

    def failure(self, doing: str, result: Result) -> OpsError:
        """The error to raise for a call that ended badly; damage is looked up by name."""
        error = restic_failures.failure(doing, result, self.place)
        if error.details.get("kind") == "structure" and self.store is not None:
            found = self.planted_locks() or restic_damage.bad_indexes(self)
            if found:
                return restic_failures.damage(found, self.place)
        return error

    def planted_locks(self) -> list[Finding]:
        return [restic_failures.junk("locks", name, "is no lock, but keeps restic from taking one")
                for name in self._locks.unreadable()]

    def _refuse_planted_locks(self) -> None:
        """restic tries for half a minute to read what is no lock."""
        planted = self.planted_locks()
        if planted:
            raise restic_failures.damage(planted, self.place)

    def _wait_for_lock(self, begun: float) -> None:
        """Come back when it is worth trying again; raises Busy when ``wait`` is over."""
        if self.unlock_stale():
            return
        waited = time.monotonic() - begun
        if waited >= self._wait:
            raise restic_failures.busy(self.place, self.locks(), time.time(), waited)
        self._locks.await_change(min(self._wait - waited, 5.0))

    def _avoid_bad_keys(self, result: Result) -> bool:
        """A planted or damaged key object stops restic from trying the others: point it at a good one."""
        if self.store is None or self.program.key is not None:
            return False
        if "Unmarshal" not in result.errors and "LoadRaw(<key/" not in restic_output.plain(result.stderr):
            return False
        bad = {finding.object for finding in restic_failures.suspicious(self.store, ("keys",), self._pinned)}
        good = [name for name in self.store.list("keys") if f"keys/{name}" not in bad]
        if bad and good:
            self.program.key = good[0]
        return bool(bad and good)

    @contextmanager
    def _scratch(self) -> Iterator[Path]:
        """A private directory for what restic's children read and write."""
        if self._cache_dir is not None:
            self._cache_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="opsctl-", dir=self._cache_dir) as directory:
            yield Path(directory)

    def _document(self, doing: str, words: Sequence[Word], *, sure: bool = True) -> dict[str, str]:
        result = self.call(doing, words, sure=sure)
        try:
            return restic_output.document(result.stdout)
        except (ValueError, json.JSONDecodeError) as error:
            raise ProgramFailed(f"restic could not {doing} ({self.place}): it printed something else") from error


class _Status:
    """The last status of a running call, handed on as progress."""

    def __init__(self, what: str, on_progress: OnProgress | None) -> None:
        self._what = what
        self._on_progress = on_progress
        self._last: Progress | None = None

    def take(self, status: Mapping[str, object] | None) -> None:
        if status is not None and status.get("message_type") == "status":
            self._last = restic_output.progress(status, self._what)
            if self._on_progress is not None:
                self._on_progress(self._last)

    @property
    def total(self) -> int | None:
        return self._last.bytes_total if self._last is not None else None

    def missing(self) -> int | None:
        """Bytes that were still to come."""
        if self._last is None or not self._last.bytes_total:
            return None
        return max(0, self._last.bytes_total - self._last.bytes_done) or None


def _free(directory: Path) -> int | None:
    with suppress(OSError):
        return os.statvfs(directory).f_bavail * os.statvfs(directory).f_frsize
    return None


def _last_lines(path: Path, count: int = 5) -> str:
    """The end of what a command complained, on one line."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.path.getsize(path) - 8192))
            text = file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
    lines = [line.strip() for line in restic_output.clean(text).split("\n")]
    return "; ".join([line for line in lines if line][-count:])
