"""The objects of a repository as they lie in its store, seen without the repository's keys.

Listing and hashing need no key derivation, so this look costs milliseconds where a restic call costs half a
second, and it sees what restic hides: objects whose content is not their name, planted ones, deleted keys.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import urllib.parse
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from opsctl.errors import DamagedData, ProgramFailed, Refused
from opsctl.plain_file import NoPlainFile, is_read_for_ever, open_plain
from opsctl.repositories.refusal import Attempt

KINDS = ("data", "index", "keys", "locks", "snapshots")
SMALL_KINDS = ("snapshots", "keys", "index")  # everything but the packs
SHORTEST = 32  # bytes of IV and MAC: nothing shorter is an object of restic's (it panics below 16)
_NAME = re.compile(r"[0-9a-f]{64}\Z")
UNFINISHED = re.compile(r"[0-9a-f]{64}-tmp-\d+\Z")  # what restic was writing when it was killed
TIME_LIMIT = 10.0  # seconds


class Store(ABC):
    """Read access to the objects of one repository, and to its locks also write access.

    ``kind`` is one of KINDS. All methods raise Unreachable (no answer within 10 s), Refused (credentials) and
    ProgramFailed (the store answered with an error).
    """

    @abstractmethod
    def list(self, kind: str) -> dict[str, int]:
        """Name and size in bytes of every object; empty where there is nothing of the kind."""

    @abstractmethod
    def read(self, kind: str, name: str, part: tuple[int, int] | None = None) -> bytes | None:
        """The stored (encrypted) bytes, or of them (offset, length); None where there is no such object."""

    @abstractmethod
    def config(self) -> bytes | None:
        """The stored config; None where there is none."""

    @abstractmethod
    def remove_lock(self, name: str) -> None:
        """Remove a lock; one that is gone already is no error."""

    @abstractmethod
    def is_empty(self) -> bool:
        """Whether a repository can be made here without touching anything that exists."""

    def is_only_begun(self) -> bool:
        """Whether there is no more than a killed ``restic init`` leaves: it writes a key first and the config last."""
        return self.config() is None and not any(self.list(kind) for kind in KINDS if kind != "keys")

    @abstractmethod
    def remove_keys(self) -> None:
        """Remove every key, also one that restic was still writing."""

    @abstractmethod
    def prove_refusal(self) -> Sequence[Attempt]:
        """Try with the everyday credentials what an attacker who stole them would, and leave nothing changed.

        What can be tried without harm differs from store to store; each attempt says what it was.
        """

    def free(self) -> int | None:
        """Free bytes for an ordinary user; None where that cannot be known."""
        return None

    def digest(self, kind: str, name: str) -> str | None:
        """SHA-256 of an object, which for all but ``config`` must be its name; None where it is gone."""
        content = self.read(kind, name)
        return None if content is None else hashlib.sha256(content).hexdigest()


class LocalStore(Store):
    """A repository in a directory."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def list(self, kind: str) -> dict[str, int]:
        return {entry.name: entry.stat(follow_symlinks=False).st_size for entry in self._entries(kind)}

    def read(self, kind: str, name: str, part: tuple[int, int] | None = None) -> bytes | None:
        directory = self.root / kind
        return self._read(directory / name[:2] / name if kind == "data" else directory / name, part)

    def config(self) -> bytes | None:
        return self._read(self.root / "config")

    def remove_lock(self, name: str) -> None:
        with suppress(FileNotFoundError):
            os.unlink(self.root / "locks" / name)

    def is_empty(self) -> bool:
        try:
            return not any(self.root.iterdir())
        except FileNotFoundError:
            return True
        except OSError:
            return False

    def remove_keys(self) -> None:
        for entry in _scan(self.root / "keys"):
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.path)

    def prove_refusal(self) -> Sequence[Attempt]:
        return [Attempt("delete", False, f"{self.root} is a folder of this machine: whoever owns it can delete there")]

    def refuse_endless(self, *, packs: bool) -> None:
        """DamagedData where restic would wait for ever, or not come to an end: a pipe, a socket or a device in the place of an object."""
        kinds = KINDS if packs else tuple(kind for kind in KINDS if kind != "data")
        found = [entry for kind in kinds for entry in self._entries(kind) if is_read_for_ever(entry)]
        found += [entry for entry in _scan(self.root) if entry.name == "config" and is_read_for_ever(entry)]
        if found:
            names = sorted(os.path.relpath(entry.path, self.root) for entry in found)
            raise DamagedData(f"{self.root} holds what is no file, and restic would read it for ever: {', '.join(names[:5])}"
                              f"{f' and {len(names) - 5} more' if len(names) > 5 else ''}", where=str(self.root), details={"files": names[:200]},
                              hint="find out who put it there, and move it away; then opsctl verify says what is missing in its place")

    def free(self) -> int | None:
        try:
            return shutil.disk_usage(self.root).free
        except OSError:
            return None

    def _entries(self, kind: str) -> Iterator[os.DirEntry[str]]:
        directories = [self.root / kind]
        if kind == "data":
            directories = [Path(entry.path) for entry in _scan(self.root / kind) if entry.is_dir()]
        for directory in directories:
            yield from (
                entry
                for entry in _scan(directory)
                if not entry.is_dir() and not UNFINISHED.match(entry.name)
            )

    def _read(self, path: Path, part: tuple[int, int] | None = None) -> bytes | None:
        try:
            with open_plain(path, follow=True) as opened:
                file = io.BufferedReader(opened)  # type: ignore[type-var]
                if part is None:
                    return file.read()
                file.seek(part[0])
                return file.read(part[1])
        except (FileNotFoundError, NotADirectoryError):
            return None
        except PermissionError as error:
            raise Refused(f"{path}: {error.strerror}") from error
        except NoPlainFile as error:
            raise DamagedData(f"{path} cannot be read: {error.strerror}", where=str(path), hint="find out who put it there, and move it away") from error
        except OSError as error:
            raise ProgramFailed(
                f"{path} cannot be read: {error.strerror}", hint="is the disk or mount in order?"
            ) from error


def store_for(
    url: str,
    *,
    user: str | None = None,
    secret: Callable[[], str] | None = None,
    cacert: str | None = None,
    keys: Callable[[], tuple[str, str]] | None = None,
    region: str | None = None,
    time_limit: float = TIME_LIMIT,
) -> Store | None:
    """The direct way to a repository's objects; None where only restic can reach them (sftp, b2, …).

    ``secret`` is called when a request needs the password of ``user``, and ``keys`` for the id and the secret of the
    access key to an S3 store; without them there is no direct way to one.
    """
    if url.startswith("rest:"):
        # What speaks HTTP takes longer to load than all of the rest, and most repositories are local.
        from opsctl.repositories.rest_store import RestStore

        parts = urllib.parse.urlsplit(url.removeprefix("rest:"))
        if parts.username is not None and user is None:
            user, word = urllib.parse.unquote(parts.username), urllib.parse.unquote(parts.password or "")
            secret = lambda: word  # noqa: E731
        bare = urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
        return RestStore(bare, user=user, secret=secret, cacert=cacert, time_limit=time_limit)
    if url.startswith("s3:") and keys is not None:
        from opsctl.repositories.s3_place import S3Place
        from opsctl.repositories.s3_store import S3Store

        return S3Store(S3Place.at(url, keys=keys, region=region, cacert=cacert, time_limit=time_limit))
    if url.startswith("local:"):
        return LocalStore(Path(url.removeprefix("local:")))
    if url.startswith("/") or not re.match(r"[a-z0-9]+:", url):
        return LocalStore(Path(url))
    return None


def public_url(url: str) -> str:
    """A repository's URL without a user or password that may stand in it."""
    return re.sub(r"(?<=//)[^/@]*@", "", url)


def is_object_name(name: str) -> bool:
    """Whether restic takes a file name for one of its objects."""
    return _NAME.match(name) is not None


def _scan(directory: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            yield from entries
    except (FileNotFoundError, NotADirectoryError):
        return
    except PermissionError as error:
        raise Refused(f"{directory}: {error.strerror}") from error
    except OSError as error:
        raise ProgramFailed(f"{directory} cannot be read: {error.strerror}") from error
