"""A bag filled with everything of a profile: each thing fetched, written down with its custody record, none holding up the next."""

from __future__ import annotations

import contextlib
import os
import shlex
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

from opsctl import __version__
from opsctl.actions import batching, fetching
from opsctl.actions.collecting import Entered, Limits, ask
from opsctl.errors import OpsError, ProgramFailed, Unreachable
from opsctl.model.config_evidence import Evidence
from opsctl.model.due import words
from opsctl.model.evidence import Ended, Outcome, in_bag, percent
from opsctl.model.evidence_items import Asked, Logs
from opsctl.model.evidence_profile import Wanted
from opsctl.model.quantities import counted
from opsctl.model.safe_text import shown
from opsctl.vault import Arriving, Half

_REGAINED = 3  # times that a connection is made anew
_MOST_FILES = 20_000
_AT_ONCE = 8  # files that are brought to the disk at one time: what they wait for there is the same for all


class _Here:
    """A small file that came with others, on its way to the disk; ``facts``: what the host said of it."""

    def __init__(self, into: Arriving, content: bytes, facts: Mapping[str, Any], pool: ThreadPoolExecutor) -> None:
        self.into = into
        self.kept = pool.submit(_written, content, into, facts)


class Filling:
    """Fills one bag from one host. ``since``: logs that were last written to before are left out."""

    def __init__(self, half: Half, entered: Entered, spec: Evidence, world: Any, *, host: str, since: datetime) -> None:
        self.half = half
        self.entered = entered
        self.spec = spec
        self.world = world
        self.host = host
        self.since = since
        self.until = time.monotonic() + spec.limit.total_seconds()
        self._taken = 0
        self._seen: set[bytes] = set()
        self._lost = ""
        self._regained = 0

    def everything(self, wanted: Iterable[Wanted]) -> None:
        """One after another. Raises ProgramFailed where not even the custody record can be written, Interrupted."""
        for one in wanted:
            if isinstance(one, Asked):
                self._command(one)
            else:
                self._files(one)

    def _command(self, one: Asked) -> None:
        at = self.world.clock()
        into = self.half.arriving(f"{len(self.half.items) + 1:04d}-{one.key}.txt")
        argv: Sequence[str] = one.tries[0]

        def get() -> Ended:
            nonlocal argv
            ended, argv = ask(self.entered.shell, one, into, self._limits())
            return ended

        ended = _flushed(self._try(get, into), into)
        self._record(one.key, one.about, ended, into, at, shlex.join(argv), personal=one.personal)

    def _files(self, one: Logs) -> None:
        at = self.world.clock()
        nothing = self.half.arriving(f"{one.key}")
        found: list[fetching.Found] = []

        def look() -> Ended:
            found.extend(fetching.find(self.entered.shell, one.globs))
            return Ended(Outcome.COLLECTED)

        ended = self._try(look, nothing)
        method = f"pattern {' '.join(one.globs)}"
        if ended.outcome == Outcome.FAILED:
            self._record(one.key, one.about, ended, nothing, at, method, personal=one.personal, type_=one.type)
            return
        fresh = [file for file in found if file.path not in self._seen
                 and (file.modified is None or not one.windowed or file.modified >= self.since.timestamp())]
        older = sum(1 for file in found if one.windowed and file.modified is not None and file.modified < self.since.timestamp())
        if older or not found:
            because = f"{counted(older, 'file')} left out: last written to more than {words(self._window())} before" if older else "no such files"
            self._record(one.key, one.about, Ended(Outcome.EMPTY if older else Outcome.MISSING, because), nothing, at, method,
                         personal=False, type_=one.type)
        self._seen.update(file.path for file in fresh)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            last = None
            for small, files in batching.batches(fresh[:_MOST_FILES]):
                together = self._together(files) if small else {}
                here = {path: _Here(self.half.arriving(in_bag(path)), content, facts, pool) for path, (content, facts) in together.items()}
                for file in files:
                    last, before = self._file(one, file, here.get(file.path), pool), last
                    if before is not None:
                        before()
            if last is not None:
                last()
            self.half.flush()
        if len(fresh) > _MOST_FILES:
            self._record(one.key, one.about, Ended(Outcome.FAILED, f"{len(fresh) - _MOST_FILES:,} more files are left out: {_MOST_FILES:,} are the most",
                                                   cut=True), nothing, at, method, personal=False, type_=one.type)

    def _together(self, files: Sequence[fetching.Found]) -> Mapping[bytes, tuple[bytes, dict[str, Any]]]:
        """Small files by one command, those that stood still meanwhile; the others are fetched one by one."""
        if self._lost or sum(file.size for file in files) > min(self.spec.item, self._left()):
            return {}
        with contextlib.suppress(OpsError):
            return batching.together(self.entered.shell, files)
        return {}

    def _file(self, one: Logs, file: fetching.Found, here: _Here | None, pool: ThreadPoolExecutor) -> Callable[[], None]:
        """Fetch one file, unless it is ``here`` with others; returns what waits until it is on the disk, and writes it down.

        So the next one is on its way meanwhile.
        """
        at = self.world.clock()
        if here is None:
            into = self.half.arriving(in_bag(file.path))
            came = self._try(lambda: fetching.take(self.entered.shell, file.path, into, self._limits()), into)
            kept, tools = pool.submit(_flushed, came, into), "dd, head and openssl or sha256sum"
        else:
            into, kept, tools = here.into, here.kept, "tar and sha256sum"
            self._taken += file.size

        def write_down() -> None:
            self._record(one.key, f"{one.about}: {shown(file.path)[:300]}", kept.result(), into, at, f"read whole by {tools}",
                         personal=one.personal, path=file.path, type_=one.type, flush=here is None)

        return write_down

    def _try(self, get: Any, into: Arriving) -> Ended:
        """What came of one thing, whatever went wrong with it."""
        if self._lost:
            return Ended(Outcome.FAILED, self._lost)
        if time.monotonic() >= self.until:
            return Ended(Outcome.FAILED, f"not asked for: it took longer than {words(self.spec.limit)} already", cut=True)
        if not self._left():
            return Ended(Outcome.FAILED, "not asked for: there is no room left here (evidence: bag, free)", cut=True)
        try:
            ended: Ended = get()
            return ended
        except Unreachable as error:
            because = f"the connection was lost: {shown(error.message)[:200]}"
            self._regain(because)
        except ProgramFailed as error:
            return _not_kept(error, into)
        finally:
            into.close()
            self._taken += into.size
        return Ended(Outcome.FAILED, because, into.size, into.sha256 if into.size else "", cut=bool(into.size))

    def _regain(self, because: str) -> None:
        self._regained += 1
        try:
            if self._regained > _REGAINED:
                raise Unreachable(because)
            self.entered.shell.reach()
        except OpsError:
            self._lost = because

    def _limits(self) -> Limits:
        return Limits(self.spec.item, self._left, self.until)

    def _left(self) -> int:
        """Bytes that may still come: of the bag's limit, and of what the disk has beyond what stays free."""
        room = os.statvfs(self.half.folder)
        return max(0, min(self.spec.bag - self._taken, room.f_bavail * room.f_frsize - self.spec.free))

    def _window(self) -> timedelta:
        return self.world.now - self.since

    def _record(self, name: str, about: str, ended: Ended, into: Arriving, at: datetime, method: str, *, personal: bool,
                path: bytes | None = None, type_: str = "", flush: bool = True) -> None:
        """The custody record of one item: the fields of ``evidence_record`` (protocol.yaml), and how it ended."""
        number = len(self.half.items) + 1
        source = dict(ended.source or {})
        digest = source.pop("sha256", "")
        device = self.entered.device
        self.half.record({
            "evidence_id": f"{self.half.name}/{number:04d}", "name": name, "description": about, "source_host": self.host,
            "source_make_model_serial": ", ".join(filter(None, (device.get(key) for key in ("sys_vendor", "product_name", "product_serial")))),
            "collected_at": at.isoformat(), "collected_by": self.world.by, "method_and_tool": f"{shown(method)[:500]} (opsctl {__version__})",
            "size_bytes": ended.size, "sha256": ended.sha256, "other_hashes": {"sha256_at_source": digest} if digest else {},
            "stored_at": f"{self.world.host}:{self.half.folder.with_name(self.half.name)}", "transfers": [],
            "outcome": ended.outcome, "because": ended.because, "cut": ended.cut, "changed_while_read": ended.changed,
            "file": into.path.relative_to(self.half.folder / "data").as_posix() if ended.size else "",
            "personal_data": personal, **({"retain_until": self._retain()} if personal and ended.size else {}),
            **({"log_type": type_} if type_ else {}), **({"path": percent(path), "source": source} if path is not None else {}),
        }, flush=flush)

    def _retain(self) -> str:
        return f"{self.world.now + self.spec.personal_data:%Y-%m-%d}"


def _written(content: bytes, into: Arriving, facts: Mapping[str, Any]) -> Ended:
    """How a file ends of which all that came is here already."""
    try:
        into.write(content)
        into.close()
    except ProgramFailed as error:
        return _not_kept(error, into)
    return _flushed(Ended(Outcome.COLLECTED, "", into.size, into.sha256, source=facts), into)


def _flushed(ended: Ended, into: Arriving) -> Ended:
    """How it ends once it is on the disk, or could not be brought there."""
    try:
        into.flush()
    except ProgramFailed as error:
        return _not_kept(error, into)
    return ended


def _not_kept(error: ProgramFailed, into: Arriving) -> Ended:
    into.close()
    return Ended(Outcome.FAILED, f"it could not be kept: {shown(error.message)[:200]}", into.size, into.sha256 if into.size else "", cut=bool(into.size))
