"""A repository as it would be without some of its objects, for restic to read over loopback.

restic crashes on some planted or damaged objects and then tells nothing about the rest. Through this view it
sees a repository that does not have them. Only reading is served, under a path that nobody can guess.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from opsctl.errors import OpsError
from opsctl.repositories.store import KINDS, Store

_RANGE = re.compile(r"bytes=(\d+)-(\d*)$")


@contextmanager
def view(store: Store, hidden: Collection[str]) -> Iterator[str]:
    """Serve ``store`` without the ``hidden`` objects (``kind/name``); yields the URL for restic."""
    token = secrets.token_urlsafe(24)

    class Handler(_Handler):
        shown = _Shown(store, frozenset(hidden), f"/{token}/")

    server = _Server(("127.0.0.1", 0), Handler)
    serving = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    serving.start()
    try:
        yield f"rest:http://127.0.0.1:{server.server_address[1]}/{token}/"
    finally:
        server.shutdown()
        server.server_close()
        serving.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """restic hangs up when it has read enough; that is no reason to print a trace."""


class _Shown:
    """What a request gets to see."""

    def __init__(self, store: Store, hidden: frozenset[str], root: str) -> None:
        self._store = store
        self._hidden = hidden
        self._root = root

    def listing(self, path: str) -> dict[str, int] | None:
        kind = path.removeprefix(self._root).rstrip("/")
        if not path.startswith(self._root) or kind not in KINDS:
            return None
        return {
            name: size
            for name, size in self._store.list(kind).items()
            if f"{kind}/{name}" not in self._hidden
        }

    def content(self, path: str, part: tuple[int, int] | None) -> bytes | None:
        where = path.removeprefix(self._root)
        if not path.startswith(self._root) or where in self._hidden:
            return None
        if where == "config":
            return self._store.config()
        kind, _, name = where.partition("/")
        return self._store.read(kind, name, part) if kind in KINDS and "/" not in name else None


class _Handler(BaseHTTPRequestHandler):
    """restic's REST protocol, version 2, the reading half."""

    shown: _Shown
    protocol_version = "HTTP/1.1"
    # An answer in two small packets waits 40 ms for the first one's acknowledgement, thousands of times over.
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        try:
            self._answer()
        except OpsError as error:  # of the store behind
            self._send(502, error.message.encode())

    def _answer(self) -> None:
        if self.path.endswith("/"):
            found = self.shown.listing(self.path)
            body = json.dumps([{"name": name, "size": size} for name, size in (found or {}).items()]).encode()
            self._send(404 if found is None else 200, body, "application/vnd.x.restic.rest.v2")
            return
        span = _RANGE.match(self.headers.get("Range", ""))
        first = int(span[1]) if span else 0
        part = (first, int(span[2]) - first + 1) if span and span[2] else None
        content = self.shown.content(self.path, part)
        if content is None:
            self._send(404, b"")
        else:
            self._send(206 if span else 200, content if part else content[first:])

    def _send(self, code: int, body: bytes, kind: str = "application/octet-stream") -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""
