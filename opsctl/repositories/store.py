"""The objects of a repository as they lie in its store, seen without the repository's keys.

Listing and hashing need no key derivation, so this look costs milliseconds where a restic call costs half a
second, and it sees what restic hides: objects whose content is not their name, planted ones, deleted keys.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import re
import shutil
import ssl
import urllib.error
import urllib.parse
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from opsctl.errors import OpsError, ProgramFailed, Refused, Unreachable

KINDS = ("data", "index", "keys", "locks", "snapshots")
SMALL_KINDS = ("snapshots", "keys", "index")  # everything but the packs
SHORTEST = 32  # bytes of IV and MAC: nothing shorter is an object of restic's (it panics below 16)
_NAME = re.compile(r"[0-9a-f]{64}\Z")
_UNFINISHED = re.compile(r"[0-9a-f]{64}-tmp-\d+\Z")  # what restic was writing when it was killed
_REST_V2 = "application/vnd.x.restic.rest.v2"
_TIME_LIMIT = 10.0  # seconds


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
                if not entry.is_dir() and not _UNFINISHED.match(entry.name)
            )

    def _read(self, path: Path, part: tuple[int, int] | None = None) -> bytes | None:
        try:
            with open(path, "rb") as file:
                if part is None:
                    return file.read()
                file.seek(part[0])
                return file.read(part[1])
        except (FileNotFoundError, NotADirectoryError):
            return None
        except PermissionError as error:
            raise Refused(f"{path}: {error.strerror}") from error
        except OSError as error:
            raise ProgramFailed(
                f"{path} cannot be read: {error.strerror}", hint="is the disk or mount in order?"
            ) from error


class RestStore(Store):
    """A repository behind rest-server, spoken to by restic's REST protocol, version 2."""

    def __init__(
        self,
        url: str,
        *,
        user: str | None = None,
        secret: Callable[[], str] | None = None,
        cacert: str | None = None,
        time_limit: float = _TIME_LIMIT,
    ) -> None:
        self.url = url.rstrip("/")
        self._user = user
        self._secret = secret
        self._cacert = cacert
        self._time_limit = time_limit

    def list(self, kind: str) -> dict[str, int]:
        body = self._ask("GET", f"{kind}/", accept=_REST_V2)
        if body is None:
            return {}
        try:
            return {entry["name"]: entry["size"] for entry in json.loads(body)}
        except (ValueError, KeyError, TypeError) as error:
            raise ProgramFailed(
                f"{self.url} does not speak restic's REST protocol, version 2", hint="is this a rest-server?"
            ) from error

    def read(self, kind: str, name: str, part: tuple[int, int] | None = None) -> bytes | None:
        span = f"bytes={part[0]}-{part[0] + part[1] - 1}" if part is not None else None
        return self._ask("GET", f"{kind}/{urllib.parse.quote(name, safe='')}", span=span)

    def config(self) -> bytes | None:
        return self._ask("GET", "config")

    def remove_lock(self, name: str) -> None:
        self._ask("DELETE", f"locks/{name}")

    def is_empty(self) -> bool:
        return self.config() is None and not any(self.list(kind) for kind in KINDS)

    def remove_keys(self) -> None:
        for name in self.list("keys"):
            self._ask("DELETE", f"keys/{urllib.parse.quote(name, safe='')}")

    @cached_property
    def _opener(self) -> urllib.request.OpenerDirector:
        """As restic does it: never through a proxy to this machine itself."""
        handlers: list[urllib.request.BaseHandler] = []
        if self.url.startswith("https:"):
            handlers.append(
                urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=self._cacert))
            )
        if urllib.parse.urlsplit(self.url).hostname in ("localhost", "127.0.0.1", "::1"):
            handlers.append(urllib.request.ProxyHandler({}))
        return urllib.request.build_opener(*handlers)

    def _ask(self, method: str, path: str, accept: str = "*/*", span: str | None = None) -> bytes | None:
        """One request; None for 404."""
        headers = {"Accept": accept, **({"Range": span} if span else {})}
        request = urllib.request.Request(f"{self.url}/{path}", method=method, headers=headers)
        if self._user is not None:
            word = self._secret() if self._secret else ""
            login = base64.b64encode(f"{self._user}:{word}".encode()).decode("ascii")
            request.add_unredirected_header("Authorization", f"Basic {login}")
        try:
            with self._opener.open(request, timeout=self._time_limit) as answer:
                content: bytes = answer.read()
                return content
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 404:
                    return None
                raise _refusal(self.url, error.code) from error
        except urllib.error.URLError as error:
            if isinstance(error.reason, ssl.SSLCertVerificationError):
                raise Refused(
                    f"{self.url}: its certificate is not accepted ({error.reason.verify_message})",
                    hint="is `cacert` the certificate of this server?",
                ) from error
            raise _silence(self.url, error.reason) from error
        except (OSError, http.client.HTTPException) as error:
            raise _silence(self.url, error) from error


def store_for(
    url: str,
    *,
    user: str | None = None,
    secret: Callable[[], str] | None = None,
    cacert: str | None = None,
    time_limit: float = _TIME_LIMIT,
) -> Store | None:
    """The direct way to a repository's objects; None where only restic can reach them (sftp, s3, …).

    ``secret`` is called when a request needs the password of ``user``.
    """
    if url.startswith("rest:"):
        parts = urllib.parse.urlsplit(url.removeprefix("rest:"))
        if parts.username is not None and user is None:
            user, word = urllib.parse.unquote(parts.username), urllib.parse.unquote(parts.password or "")
            secret = lambda: word  # noqa: E731
        bare = urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
        return RestStore(bare, user=user, secret=secret, cacert=cacert, time_limit=time_limit)
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


def _refusal(url: str, code: int) -> OpsError:
    if code in (401, 403):
        return Refused(
            f"{url} does not accept these credentials (HTTP {code})",
            hint="are `user` and its `secret_file` those of this server?",
        )
    return ProgramFailed(f"{url} answered with HTTP {code}")


def _silence(url: str, reason: object) -> Unreachable:
    said = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
    return Unreachable(f"{url} does not answer ({said})", hint="is the server running, and the network up?")
