"""Who is told: a mail server and a dead man's switch on loopback, and a door in front of a server that can be shut."""

from __future__ import annotations

import email
import socket
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller


class Mailbox:
    """The person on call: an SMTP server that keeps what it gets, and can be down."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.port = free_port()
        self._controller: Controller | None = None

    @property
    def url(self) -> str:
        return f"mailto://127.0.0.1:{self.port}?from=opsctl@department.invalid&to=oncall@department.invalid&mode=insecure"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        message = email.message_from_bytes(envelope.content)
        self.texts.append("\n".join(str(part.get_payload(decode=True), "utf-8") for part in message.walk()
                                    if part.get_content_type() == "text/plain"))
        return "250 OK"

    def start(self) -> None:
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port)
        self._controller.start()

    def stop(self) -> None:
        if self._controller is not None:
            self._controller.stop()
            self._controller = None


class Switch:
    """The dead man's switch: counts the calls that say that all is well."""

    def __init__(self) -> None:
        self.calls = 0
        counted = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                counted.calls += 1
                self.send_response(200)
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/alive"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class Door:
    """A port of our own in front of a server: open, shut, or shut in the middle of a conversation."""

    def __init__(self, to: int) -> None:
        self.to = to
        self.port = free_port()
        self._cut: int | None = None
        self._listening: socket.socket | None = None
        self._open: set[socket.socket] = set()
        self._guard = threading.Lock()

    def open(self, *, cut_after: int | None = None) -> None:
        """Let everybody through; after so many bytes towards the server, shut."""
        self._cut = cut_after
        if self._listening is None:
            self._listening = socket.create_server(("127.0.0.1", self.port))
            threading.Thread(target=self._accept, args=(self._listening,), daemon=True).start()

    def shut(self) -> None:
        with self._guard:
            listening, self._listening = self._listening, None
            open_, self._open = self._open, set()
        if listening is not None:
            with suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)  # else the accepting thread would go on listening
            listening.close()
        for one in open_:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                inner, _ = listening.accept()
            except OSError:
                return
            try:
                outer = socket.create_connection(("127.0.0.1", self.to))
            except OSError:
                inner.close()
                continue
            with self._guard:
                self._open |= {inner, outer}
            for pair in ((inner, outer, True), (outer, inner, False)):
                threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, counted: bool) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 14):
                if counted and self._cut is not None:
                    self._cut -= len(data)
                    if self._cut < 0:
                        self.shut()
                        return
                target.sendall(data)
        for one in (source, target):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        with self._guard:
            self._open -= {source, target}
        if not counted:
            source.close()
            target.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
