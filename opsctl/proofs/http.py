"""The proof of a page: a server answers with the status and the text that it should."""

from __future__ import annotations

import contextlib
import http.client
import io
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from typing import Any, cast
from urllib.parse import SplitResult, urljoin, urlsplit

from opsctl.errors import Unreachable
from opsctl.model.values import value
from opsctl.proofs.tcp import call, left, reason
from opsctl.sources.interface import Difference

#: How much of a page is read to find a text in it.
_LARGEST = 1 << 20
_REDIRECTS = 5
_LEADS_ON = (301, 302, 303, 307, 308)


@value
class Page:
    """What is asked for and expected. ``anywhere``: whether a redirect may lead to another server; ``cacert`` a PEM file."""

    url: str
    status: int
    contains: str | None
    headers: Mapping[str, str]
    cacert: str | None
    anywhere: bool
    timeout: float


def prove(page: Page, check: Callable[[], None] = lambda: None) -> list[Difference]:
    """What is not as expected; at most ``timeout`` seconds, all redirects together. ``check`` ends it by raising."""
    until = time.monotonic() + page.timeout
    url = page.url
    for _ in range(_REDIRECTS + 1):
        try:
            status, location, body = _get(url, page, until, check)
        except (OSError, Unreachable, http.client.HTTPException, ValueError) as error:
            return [Difference(url, f"status {page.status}", _trouble(error))]
        if status == page.status:
            return _text(url, page.contains, body)
        if status not in _LEADS_ON or not location:
            return [Difference(f"{url}, status", page.status, status)]
        onward = urljoin(url, location)
        if not (page.anywhere or _here(urlsplit(url), urlsplit(onward))):
            return [Difference(f"{url}, redirect", "none to another server", onward[:200])]
        url = onward
    return [Difference(page.url, f"status {page.status}", f"more than {_REDIRECTS} redirects")]


def _text(url: str, contains: str | None, body: bytes) -> list[Difference]:
    if contains is None or contains.encode() in body:
        return []
    more = "; the first MiB of it was read" if len(body) >= _LARGEST else ""
    return [Difference(f"{url}, text", contains, f"{len(body):,} bytes without it{more}")]


def _here(one: SplitResult, other: SplitResult) -> bool:
    """Whether the second is on the server of the first, by the same way or by TLS in place of none."""
    if one.hostname != other.hostname:
        return False
    upgraded = (one.scheme, other.scheme) == ("http", "https") and _port(one) == 80 and _port(other) == 443
    return upgraded or (one.scheme, _port(one)) == (other.scheme, _port(other))


def _port(place: SplitResult) -> int:
    return place.port or (443 if place.scheme == "https" else 80)


def _trouble(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"a certificate that does not hold: {error.verify_message}"
    return reason(error)


def _get(url: str, page: Page, until: float, check: Callable[[], None]) -> tuple[int, str | None, bytes]:
    """Status, where it leads to, and as much of the body as is needed."""
    place = urlsplit(url)
    if place.scheme not in ("http", "https") or not place.hostname:
        raise ValueError(f"no address of a page: {url[:200]}")
    host = f"[{place.hostname}]" if ":" in place.hostname else place.hostname
    first = urlsplit(page.url)
    own = page.headers if (place.hostname, place.scheme) == (first.hostname, first.scheme) else {}
    headers = {"host": f"{host}:{place.port}" if place.port else host, "user-agent": "opsctl", "accept-encoding": "identity",
               "connection": "close", **{name.lower(): text for name, text in own.items()}}
    connection = http.client.HTTPConnection(place.hostname, _port(place))
    plain = call(place.hostname, _port(place), until)
    with contextlib.closing(_secured(plain, place.hostname, page.cacert, until) if place.scheme == "https" else plain) as found:
        # Each read has what is left of the time: a server that sends a byte now and then does not hold this up.
        connection.sock = cast(socket.socket, _Timed(found, until, check))
        connection.request("GET", (place.path or "/") + (f"?{place.query}" if place.query else ""), headers=headers)
        answer = connection.getresponse()
        body = answer.read(_LARGEST) if answer.status == page.status and page.contains is not None else b""
        return answer.status, answer.getheader("Location"), body


def _secured(plain: socket.socket, name: str, cacert: str | None, until: float) -> socket.socket:
    with contextlib.ExitStack() as stack:
        stack.callback(plain.close)
        plain.settimeout(left(until))  # for the whole handshake
        found = ssl.create_default_context(cafile=cacert).wrap_socket(plain, server_hostname=name)
        stack.pop_all()
    return found


class _Timed:
    """A socket as http.client uses it, all of which ends at one moment."""

    def __init__(self, inner: socket.socket, until: float, check: Callable[[], None]) -> None:
        self.inner = inner
        self.until = until
        self.check = check

    def sendall(self, data: Any) -> None:
        self.inner.settimeout(left(self.until))
        self.inner.sendall(data)

    def makefile(self, *_: Any, **__: Any) -> io.BufferedReader:
        return io.BufferedReader(_TimedReader(self))

    def close(self) -> None:
        """Nothing: http.client closes before the answer is read, and whoever opened it does so after."""


class _TimedReader(io.RawIOBase):
    def __init__(self, source: _Timed) -> None:
        self.source = source

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            self.source.check()
            self.source.inner.settimeout(min(left(self.source.until), 1.0))
            try:
                return self.source.inner.recv_into(buffer)
            except TimeoutError:
                continue
