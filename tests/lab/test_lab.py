"""The lab: servers that come up, refuse what they should, never outlive us; content that repeats."""

from __future__ import annotations

import base64
import hashlib
import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from opsctl.demo import portal
from opsctl.demo.scans import add_scans, make_scans
from opsctl.errors import ProgramFailed
from opsctl.shells.tether import server_account
from opsctl.sources.postgresql_server import Postgres, program_directory
from opsctl.sources.throwaway import SUN_PATH_LIMIT
from tests.lab.places import open_folder
from tests.lab.restserver import RestServer
from tests.lab.waiting import alive, until

PROJECT = Path(__file__).parents[2]
LIMIT = 30.0  # seconds until a condition must hold


@pytest.fixture
def place() -> Iterator[Path]:
    with open_folder() as made:
        yield made


@pytest.fixture(scope="module")
def server(server_place: Path) -> Iterator[Postgres]:
    with Postgres(server_place / "lab") as running:
        yield running


@pytest.fixture(scope="module")
def enagar(server: Postgres) -> str:
    portal.build(server, "enagar", scale=0.01)
    return "enagar"


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def shared_memory_makers() -> set[int]:
    rows = Path("/proc/sysvipc/shm").read_text(encoding="utf-8").splitlines()
    creator = rows[0].split().index("cpid")
    return {int(row.split()[creator]) for row in rows[1:]}


def connect(server: Postgres, password: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **server.environment(tcp=True), "PGPASSWORD": password}
    argv = [str(program_directory() / "psql"), "-X", "-A", "-t", "-w", "-d", "postgres"]
    argv += ["-c", "SELECT inet_server_addr()"]
    return subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)


def content(server: Postgres, database: str) -> str:
    """Every table's rows and checksum, the large objects and where the sequences stand."""
    tables = portal.totals(server, database)["tables"]
    parts = [f"SELECT '{t}', count(*), sum(hashtextextended(t::text, 0)::numeric) FROM {t} t" for t in tables]
    large = "count(*), sum(hashtextextended(lo_get(oid)::text, oid::bigint)::numeric)"
    parts.append(f"SELECT 'large objects', {large} FROM pg_largeobject_metadata")
    stand = "count(*), sum(hashtextextended(sequencename::text, last_value)::numeric)"
    parts.append(f"SELECT 'sequences', {stand} FROM pg_sequences")
    return server.psql("SELECT * FROM (" + " UNION ALL ".join(parts) + ") AS part ORDER BY 1", database)


# PostgreSQL


def test_server_answers_on_its_socket_only_and_not_as_root(server: Postgres) -> None:
    assert server.psql("SELECT 'नगर', current_user, current_setting('listen_addresses')") == "नगर|postgres|"
    assert Path(f"/proc/{server.pid}").stat().st_uid == server_account().uid != 0
    assert server.socket.stat().st_mode & 0o077 == 0
    assert server.environment() == {"PGHOST": str(server.socket), "PGPORT": "5432", "PGUSER": "postgres"}


def test_tcp_asks_for_the_password_that_was_given(place: Path) -> None:
    with Postgres(place, tcp=True, password="s'ecret one") as server:
        assert connect(server, "s'ecret one").stdout.strip() == "127.0.0.1"
        assert "password authentication failed" in connect(server, "another").stderr
        server.set_password("postgres", "se\\cret' two")
        assert connect(server, "se\\cret' two").stdout.strip() == "127.0.0.1"
        with pytest.raises(ProgramFailed) as failed:
            server.set_password("nobody-here", "se'cret three")
        seen = f"{failed.value}{failed.value.__context__}{server.log.read_text(encoding='utf-8')}"
        assert "nobody-here" in seen and "cret three" not in seen


def test_stop_leaves_no_process_and_start_finds_the_data_and_the_port(place: Path) -> None:
    with Postgres(place / "pg", tcp=True) as server:
        server.psql("CREATE TABLE kept AS SELECT 412 AS bodies")
        where = server.port, server.socket
        processes = [server.pid, *children(server.pid)]
        assert len(processes) > 3
        server.stop()
        assert [pid for pid in processes if alive(pid)] == []
        assert processes[0] not in shared_memory_makers()
        assert not server.socket.exists()
        server.start()
        assert (server.port, server.socket) == where
        assert server.psql("SELECT bodies FROM kept") == "412"
    assert list(place.iterdir()) == []


def test_psql_names_the_line_and_runs_nothing_after_it(server: Postgres) -> None:
    with pytest.raises(ProgramFailed, match=r"<stdin>:2: ERROR: .*missing. does not exist") as failed:
        server.psql("SELECT 1;\nSELECT * FROM missing;\nCREATE TABLE after ();")
    assert str(server.log) in str(failed.value.hint)
    assert server.psql("SELECT to_regclass('after') IS NULL") == "t"


def test_a_long_directory_gets_a_short_socket(place: Path) -> None:
    with Postgres(place / ("d" * 100)) as server:
        assert len(os.fsencode(server.socket / ".s.PGSQL.5432")) <= SUN_PATH_LIMIT
        assert server.psql("SELECT 1") == "1"
    assert not server.socket.exists()


@pytest.mark.as_root("only root starts a server as another account")
def test_a_directory_closed_to_the_server_account_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with pytest.raises(ProgramFailed, match="Permission denied") as failed, Postgres(tmp_path / "pg"):
        pass
    assert "must be able to enter every folder above" in str(failed.value.hint)
    assert not (tmp_path / "pg").exists()


@pytest.mark.parametrize("made", ["postgres", "rest"])
def test_kill_9_of_the_parent_leaves_no_server(place: Path, made: str) -> None:
    program = f"""
import sys
from pathlib import Path
from opsctl.sources.postgresql_server import Postgres
from tests.lab.restserver import RestServer
server = {"Postgres" if made == "postgres" else "RestServer"}(Path(sys.argv[1])).start()
print(server.pid, flush=True)
sys.stdin.read()
"""
    argv = [sys.executable, "-c", program, str(place)]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=PROJECT, env=environment
    ) as parent:
        assert parent.stdout is not None
        postmaster = int(parent.stdout.readline())
        sleeper = None
        if made == "postgres":  # a backend that is at work must go as well
            idle = len(children(postmaster))
            query = [str(program_directory() / "psql"), "-X", "-w", "-h", str(place / "socket")]
            query += ["-U", "postgres", "-c", "SELECT pg_sleep(600)"]
            sleeper = subprocess.Popen(query, stderr=subprocess.DEVNULL)
            until(lambda: len(children(postmaster)) > idle)
        processes = [postmaster, *children(postmaster)]
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        until(lambda: not any(alive(pid) for pid in processes))
        if sleeper is not None:
            assert sleeper.wait(LIMIT) != 0
    assert postmaster not in shared_memory_makers()


# The portal


def test_the_same_seed_builds_and_plays_the_same_portal(server: Postgres) -> None:
    for database, seed in (("once", 412), ("again", 412), ("other", 7)):
        portal.build(server, database, scale=0.01, seed=seed)
    first = content(server, "once")
    assert content(server, "again") == first != content(server, "other")
    moved = [portal.day(server, database, n) for n in (1, 2) for database in ("once", "again")]
    assert moved[0] == moved[1] > 0 and moved[2] == moved[3] > 0
    assert content(server, "again") == content(server, "once") != first


def test_the_portal_has_412_bodies_and_their_business(server: Postgres, enagar: str) -> None:
    totals = portal.totals(server, enagar)
    assert totals["tables"]["municipal.bodies"] == 412 == portal.BODIES
    assert min(totals["tables"][t] for t in ("billing.payments", "registry.marriages", "licence.trades")) > 50
    assert totals["rows"] > 0.01 * 300_000 and totals["rows"] == sum(totals["tables"].values())
    assert totals["large_objects"] == 2
    codes = server.psql("SELECT code FROM municipal.bodies ORDER BY id", enagar).splitlines()
    assert codes == [portal.body_code(number) for number in range(1, 413)]
    names = "SELECT count(DISTINCT name_hi), count(DISTINCT name_en) FROM municipal.bodies"
    assert server.psql(names, enagar) == "412|412"
    assert server.psql("SELECT bool_and(name_hi ~ '[\u0900-\u097f]') FROM municipal.citizens", enagar) == "t"


def test_the_books_of_the_portal_agree(server: Postgres, enagar: str) -> None:
    books = """
        SELECT sum(amount) FROM billing.payments;
        SELECT (SELECT sum(paid) FROM tax.demands) + (SELECT sum(paid) FROM billing.bills)
             + (SELECT sum(fee) FROM licence.trades);
        SELECT count(*) FROM billing.receipts r
        WHERE ARRAY(SELECT receipt_no FROM billing.payments p WHERE p.body_id = r.body_id ORDER BY 1)
           <> ARRAY(SELECT generate_series(1, r.last_no));
        SELECT count(*) FROM tax.demands WHERE paid > amount;
        SELECT count(*) FROM pg_constraint WHERE NOT convalidated;
    """
    paid, credited, *wrong = server.psql(books, enagar).splitlines()
    assert Decimal(paid) == Decimal(credited) == portal.totals(server, enagar)["paid"] > 0
    assert wrong == ["0", "0", "0"]


def test_days_are_played_once_and_in_turn(server: Postgres) -> None:
    portal.build(server, "days", scale=0.01)
    before = portal.totals(server, "days")
    with pytest.raises(ProgramFailed, match="is not present"):
        portal.day(server, "days", 2)
    moved = portal.day(server, "days", 1)
    after = portal.totals(server, "days")
    assert 0.005 < moved / before["rows"] < 0.02
    assert after["rows"] > before["rows"] and after["paid"] > before["paid"]
    played = content(server, "days")
    with pytest.raises(ProgramFailed, match="already exists"):
        portal.day(server, "days", 1)
    assert content(server, "days") == played
    assert server.psql("SELECT max(paid_on) FROM billing.payments", "days") == "2026-12-03"


def test_each_role_may_do_its_own_and_no_more(server: Postgres, enagar: str) -> None:
    server.psql("CREATE ROLE reader LOGIN IN ROLE enagar_readers")
    assert int(server.psql("SELECT count(name_hi) FROM municipal.citizens", enagar, user="reader")) > 0
    for refused in ("SELECT mobile FROM municipal.citizens", "UPDATE tax.demands SET paid = 0"):
        with pytest.raises(ProgramFailed, match="permission denied"):
            server.psql(refused, enagar, user="reader")
    pay = """
        BEGIN;
        SELECT last_no + 1 FROM billing.receipts WHERE body_id = 1;
        INSERT INTO billing.payments (body_id, paid_on, service, licence_id, amount, method)
            SELECT 1, '2026-12-01', 'trade_licence', min(id), 500, 'cash' FROM licence.trades
            RETURNING receipt_no;
        ROLLBACK;
    """
    expected, given = server.psql(pay, enagar, user="enagar_app").splitlines()
    assert given == expected
    with pytest.raises(ProgramFailed, match="permission denied"):
        server.psql("UPDATE municipal.audit SET place = ''", enagar, user="enagar_app")


# Scans


def tree(directory: Path) -> dict[str, tuple[str, float]]:
    return {
        str(path.relative_to(directory)): (
            hashlib.sha256(path.read_bytes()).hexdigest(),
            path.stat().st_mtime,
        )
        for path in directory.rglob("*")
        if path.is_file()
    }


def test_scans_repeat_for_a_seed_and_later_ones_only_add(tmp_path: Path) -> None:
    written = make_scans(tmp_path / "a", megabytes=6)
    make_scans(tmp_path / "b", megabytes=6)
    make_scans(tmp_path / "c", megabytes=6, seed=7)
    first = tree(tmp_path / "a")
    assert first == tree(tmp_path / "b") and not first.keys() & tree(tmp_path / "c").keys()
    assert sorted(str(path.relative_to(tmp_path / "a")) for path in written) == sorted(first)
    assert sum(path.stat().st_size for path in written) >= 6 * 2**20
    more = add_scans(tmp_path / "a", count=3, seed=1)
    assert [path.parent.name for path in more] == ["2026"] * 3
    second = tree(tmp_path / "a")
    assert first.items() < second.items() and len(second) == len(first) + 3
    assert len({digest for digest, _ in second.values()}) == len(second)
    with pytest.raises(FileExistsError):
        make_scans(tmp_path / "a", megabytes=6)


def test_scans_look_like_scans(tmp_path: Path) -> None:
    written = make_scans(tmp_path, megabytes=8)
    kinds = {path.suffix for path in written}
    assert kinds == {".pdf", ".jpg"}
    assert any(" " in path.name for path in written) and any(not path.name.isascii() for path in written)
    codes = {portal.body_code(number) for number in range(1, 413)}
    for path in written:
        code, year, _ = path.relative_to(tmp_path).parts
        assert code in codes and time.gmtime(path.stat().st_mtime).tm_year == int(year) <= 2025
        data = path.read_bytes()
        assert 20_000 <= len(data) <= 2_000_000
        if path.suffix == ".pdf":
            assert data.startswith(b"%PDF-1.4\n") and data.endswith(b"%%EOF\n")
            table = int(data.rpartition(b"startxref\n")[2].split()[0])
            assert data[table:].startswith(b"xref\n0 6\n")
            image = int(data[table:].splitlines()[7].split()[0])
            assert data[image:].startswith(b"5 0 obj\n")
            data = data[data.index(b"\xff\xd8\xff") : data.rindex(b"\nendstream")]
        assert data.startswith(b"\xff\xd8\xff\xe0\x00\x10JFIF\x00") and data.endswith(b"\xff\xd9")
        picture = data[data.index(b"\xff\xda") + 10 : -2]
        assert picture.count(b"\xff") == picture.count(b"\xff\x00")
        assert len(zlib.compress(picture, 1)) > 0.98 * len(picture)


# The REST server


def ask(
    server: RestServer, method: str, path: str, data: bytes | None = None, *, password: str = "s3cret"
) -> int:
    request = urllib.request.Request(f"{server.url}/{path}", data=data, method=method)
    request.add_header("Authorization", "Basic " + base64.b64encode(f"portal:{password}".encode()).decode())
    context = ssl.create_default_context(cafile=str(server.certificate)) if server.tls else None
    try:
        with urllib.request.urlopen(request, timeout=LIMIT, context=context) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        return refused.code


def test_append_only_refuses_to_delete_what_the_owner_of_the_store_may(place: Path) -> None:
    pack, lock = b"a pack", b"a lock"
    data = f"portal/data/{hashlib.sha256(pack).hexdigest()}"
    locked = f"portal/locks/{hashlib.sha256(lock).hexdigest()}"
    with RestServer(place, user="portal", password="s3cret") as server:
        assert Path(f"/proc/{server.pid}").stat().st_uid == server_account().uid != 0
        assert ask(server, "POST", "portal/?create=true") == 200
        assert ask(server, "POST", data, pack) == 200
        assert ask(server, "POST", locked, lock) == 200
        assert ask(server, "DELETE", data, password="guessed") == 401
        assert ask(server, "DELETE", data) == 403
        assert ask(server, "DELETE", "portal/") in (403, 405)
        assert ask(server, "DELETE", locked) == 200
        kept = server.repository_path("portal") / "data"
        assert [path.read_bytes() for path in kept.rglob("*") if path.is_file()] == [pack]
    with RestServer(place, append_only=False, user="portal", password="s3cret") as server:
        assert ask(server, "DELETE", data) == 200
        assert [path for path in kept.rglob("*") if path.is_file()] == []


def test_rest_server_starts_again_on_its_port_with_its_certificate(place: Path) -> None:
    with RestServer(place, tls=True) as server:
        url, first = server.url, server.pid
        assert url.startswith("https://127.0.0.1:")
        assert ask(server, "POST", "portal/?create=true") == 200
        server.stop()
        assert not alive(first)
        with pytest.raises(urllib.error.URLError):
            ask(server, "HEAD", "portal/config")
        server.start()
        assert server.url == url and server.pid != first
        assert ask(server, "HEAD", "portal/config") == 404
        assert ask(server, "GET", "portal/data/") == 200
