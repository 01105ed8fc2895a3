"""What is in production on another machine, brought back there and put back: by programs beside it, over SSH."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.approvals.site import make_keys, people_of
from tests.machine import Said
from tests.remote.conftest import ROWS, Remote


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_keys(tmp_path_factory.mktemp("people"))


@pytest.fixture
def owner(remote: Remote, keys: Path) -> Iterator[Remote]:
    """Databases of h0 as sources that may make databases there."""
    (remote.machine.root / "rooms").mkdir(mode=0o711)
    known = remote.sources()
    roles = {name: known[name].partition(", user: ")[0] + f", user: {role}}}" for name, role in (("bills", "postgres"), ("meters", "root"))}
    services = "services: {tax: {restores: [bills], proofs: [{kind: rows}]}, water: {restores: [meters], proofs: [{kind: rows}]}}"
    remote.configure("bills", "meters", more=f"clean_room: {{place: {remote.machine.root}/rooms}}\n{services}\n{people_of(keys)}", **roles)
    yield remote
    for name in remote.servers.postgres.psql("SELECT datname FROM pg_database WHERE datname LIKE 'enagar\\_%'").split():
        remote.servers.postgres.psql(f"DROP DATABASE {name}")
    for name in remote.servers.mariadb.sql("SHOW DATABASES LIKE 'water\\_%'").split():
        remote.servers.mariadb.sql(f"DROP DATABASE {name}")


def promoted(remote: Remote, keys: Path, run: str, *gates: str) -> Said:
    for gate in gates:
        for name in ("asha", "imran"):
            remote.machine("--yes", "approve", run, gate, "--by", name, "--key", str(keys / name), expect=0)
    return remote.machine.json("resume", run, expect=0)


def test_databases_of_another_machine_come_into_production_there_and_go_back(owner: Remote, keys: Path) -> None:
    postgres, mariadb, machine = owner.servers.postgres, owner.servers.mariadb, owner.machine
    machine("backup", "run", expect=0)
    postgres.psql("DELETE FROM bills WHERE id > 10", "enagar")
    mariadb.sql("DELETE FROM water.meters WHERE id > 10")

    def rows() -> tuple[str, str]:
        return postgres.psql("SELECT count(*) FROM bills", "enagar"), mariadb.sql("SELECT count(*) FROM water.meters")

    try:
        run = machine.json("restore", "run", expect=4).document["run"]
        assert rows() == ("10", "10")
        done = promoted(owner, keys, run, "tax.approve", "water.approve")
        assert rows() == (str(ROWS), str(ROWS))
        outside = [step["result"]["proofs"][0] for step in done.result["steps"] if step["step"].endswith(".outside")]
        assert [proof["equal"] for proof in outside] == [True, True]
        machine("restore", "rollback", run, expect=0)
        assert rows() == ("10", "10"), "what was replaced is back"
        assert {one["before"] for one in machine.json("restore", "kept", expect=0).result["kept"]} == {False}
    finally:
        postgres.psql(f"TRUNCATE bills; INSERT INTO bills SELECT n, 'body ' || n % 412 FROM generate_series(1, {ROWS}) n", "enagar")
        mariadb.sql(f"TRUNCATE water.meters; INSERT INTO water.meters SELECT seq, CONCAT('street ', seq) FROM water.seq_1_to_{ROWS}")
