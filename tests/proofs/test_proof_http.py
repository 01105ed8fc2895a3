"""The proof of a page, against real servers on the loopback."""

from __future__ import annotations

import contextlib
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from opsctl.proofs import http, tcp


class Portal(BaseHTTPRequestHandler):
    """Pages by path; what it was sent is kept."""

    seen: list[dict[str, str]]

    def do_GET(self) -> None:
        self.server.seen.append({name.lower(): text for name, text in self.headers.items()})  # type: ignore[attr-defined]
        word = self.path.split("?")[0].strip("/")
        if word == "drip":
            with contextlib.suppress(OSError):
                while True:
                    self.wfile.write(b"H")
                    time.sleep(0.05)
        if word == "endless":
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(OSError):
                while True:
                    self.wfile.write(b"x" * 65536)
        if word == "loop" or word.startswith("to="):
            self.send_response(302)
            self.send_header("Location", word.removeprefix("to=").replace("|", "/"))
            self.end_headers()
            return
        self.send_response(503 if word == "down" else 200)
        self.end_headers()
        self.wfile.write("कर: tax portal is up\n".encode())

    def log_message(self, *words: object) -> None:
        """Nothing."""


@contextlib.contextmanager
def serving(certificate: Path | None = None) -> Iterator[tuple[str, list[dict[str, str]]]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Portal)
    server.daemon_threads = True
    server.seen = []  # type: ignore[attr-defined]
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"{'https' if certificate else 'http'}://127.0.0.1:{server.server_port}", server.seen  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def portal() -> Iterator[str]:
    with serving() as (url, _):
        yield url


def look(url: str, *, status: int = 200, contains: str | None = None, headers: dict[str, str] | None = None, cacert: Path | None = None,
         anywhere: bool = False, timeout: float = 5.0) -> list[str]:
    return [str(one) for one in http.prove(http.Page(url, status, contains, headers or {}, str(cacert) if cacert else None, anywhere, timeout))]


def test_a_page_is_as_expected_or_the_difference_is_told(portal: str) -> None:
    assert look(f"{portal}/") == []
    assert look(f"{portal}/health?a=1", contains="कर: tax") == []
    assert look(f"{portal}/down") == [f"{portal}/down, status: expected 200, found 503"]
    assert look(f"{portal}/down", status=503, contains="is up") == []
    assert look(f"{portal}/", contains="water") == [f"{portal}/, text: expected water, found {len('कर: tax portal is up'.encode()) + 1} bytes without it"]


def test_headers_go_to_the_server_and_to_no_other() -> None:
    with serving() as (one, seen), serving() as (other, seen_there):
        assert look(f"{one}/", headers={"Host": "portal.example.in", "X-Probe": "1"}) == []
        assert (seen[0]["host"], seen[0]["x-probe"]) == ("portal.example.in", "1")
        there = other.replace("127.0.0.1", "localhost") + "|"
        assert look(f"{one}/to={there.replace('/', '|')}", headers={"X-Probe": "1"}, anywhere=True) == []
        assert "x-probe" not in seen_there[-1]


def test_a_redirect_is_followed_on_the_same_server_only(portal: str) -> None:
    assert look(f"{portal}/to=|health", contains="is up") == []
    assert look(f"{portal}/to=|health", status=302) == []
    with serving() as (other, seen):
        far = other.replace("/", "|")
        assert look(f"{portal}/to={far}") == [f"{portal}/to={far}, redirect: expected none to another server, found {other}"]
        assert seen == []
        assert look(f"{portal}/to={far}", anywhere=True) == [] and len(seen) == 1
    assert look(f"{portal}/loop") == [f"{portal}/loop: expected status 200, found more than 5 redirects"]


def test_a_server_that_drips_or_never_ends_does_not_hold_it_up(portal: str) -> None:
    assert look(f"{portal}/drip", timeout=0.5) == [f"{portal}/drip: expected status 200, found no answer in time"]
    found, = look(f"{portal}/endless", contains="never", timeout=20)
    assert "1,048,576 bytes without it; the first MiB of it was read" in found
    assert look(f"{portal}/endless") == [], "a page whose text is not asked for is not read"


def test_nobody_there_is_a_difference_and_so_is_what_is_no_page() -> None:
    assert look("http://127.0.0.1:1/") == ["http://127.0.0.1:1/: expected status 200, found Connection refused"]
    found, = look("http://nowhere.invalid/")
    assert "nobody knows the address of nowhere.invalid" in found


def test_tls_counts_only_with_the_certificate_that_vouches_for_it(tmp_path: Path) -> None:
    own, other = tmp_path / "own.pem", tmp_path / "other.pem"
    for file in (own, other):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "36500",
                        "-subj", "/CN=portal", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(file), "-out", f"{file}.crt"],
                       check=True, capture_output=True)
        file.write_text(file.read_text() + Path(f"{file}.crt").read_text())
    with serving(own) as (url, _):
        assert look(url, cacert=Path(f"{own}.crt"), contains="is up") == []
        for trusted in (None, Path(f"{other}.crt")):
            found, = look(url, cacert=trusted)
            assert "a certificate that does not hold" in found
        found, = look(url.replace("127.0.0.1", "localhost"), cacert=Path(f"{own}.crt"))
        assert "a certificate that does not hold" in found


def test_a_port_takes_a_call_and_says_its_banner(portal: str) -> None:
    import socket

    port = int(portal.rpartition(":")[2])
    assert tcp.prove("127.0.0.1", port, banner=None, timeout=5) == []
    assert [str(one) for one in tcp.prove("127.0.0.1", 1, banner=None, timeout=5)] == ["the port: expected takes a call, found Connection refused"]
    with socket.create_server(("127.0.0.1", 0)) as server:
        def greet() -> None:
            for words in ((b"SSH-", b"2.0-Open"), (b"220 mail\r\n",), ()):
                connection, _ = server.accept()
                with connection:
                    for word in words:
                        connection.sendall(word)
                        time.sleep(0.02)

        thread = threading.Thread(target=greet)
        thread.start()
        place = server.getsockname()[1]
        found = [tcp.prove("127.0.0.1", place, banner="SSH-2.0-", timeout=5) for _ in range(3)]
        thread.join()
    assert found[0] == []
    assert [str(one[0]) for one in found[1:]] == ["what it says: expected SSH-2.0-, found 220 mail\r\n", "what it says: expected SSH-2.0-, found nothing"]
    assert "no answer in time" in str(tcp.prove("127.0.0.1", port, banner="SSH", timeout=0.2)[0])
