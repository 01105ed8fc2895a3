"""A place on this machine where the demo's notices arrive."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

# Run in another network: opens the door there, and hands it over to whoever called it.
_OPEN = """\
import socket, sys
door = socket.create_server(("127.0.0.1", int(sys.argv[1])))
socket.send_fds(socket.socket(fileno=int(sys.argv[2])), [b"."], [door.fileno()])
"""


class Sink:
    """``with Sink() as sink:`` an address for ``notify: {urls: …}``; ``messages`` is what came, each a text."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        messages = self.messages

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # the name is the library's
                content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                messages.append(str(json.loads(content).get("message", "")))
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._servers: list[ThreadingHTTPServer] = []

    @property
    def url(self) -> str:
        return f"json://127.0.0.1:{self._server.server_address[1]}/"

    def __enter__(self) -> Self:
        self._serve(self._server)
        return self

    def also(self, inside: Sequence[str]) -> None:
        """Be there at the same address in another network, in which a program is started by the words of ``inside``."""
        number = self._server.server_address[1]
        here, there = socket.socketpair()
        with here, there:
            subprocess.run([*inside, sys.executable, "-c", _OPEN, str(number), str(there.fileno())], pass_fds=[there.fileno()], check=True,
                           stdin=subprocess.DEVNULL)
            _, found, _, _ = socket.recv_fds(here, 1, 1)
        server = ThreadingHTTPServer(("127.0.0.1", number), self._server.RequestHandlerClass, bind_and_activate=False)
        server.socket.close()
        server.socket = socket.socket(fileno=found[0])
        self._serve(server)

    def _serve(self, server: ThreadingHTTPServer) -> None:
        self._servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()
