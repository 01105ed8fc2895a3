"""What somebody may do who has the repository's password, a shared folder, or bad luck: nothing is covered or believed."""

from __future__ import annotations

import json
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from opsctl.actions import into_view, restoring
from opsctl.actions.restoring import make_staging
from opsctl.errors import SafetyRefusal
from opsctl.model.records import MANIFEST, VERIFICATION
from opsctl.sources.postgresql_server import Postgres
from tests.actions.planting import make_key, newest, plant
from tests.machine import Machine, tree


@pytest.fixture
def kept(machine: Machine) -> Machine:
    """A machine with one set of one file."""
    (machine.data / "top.txt").write_text("top\n")
    machine("backup", "run", expect=0)
    return machine


@pytest.fixture
def stranger(tmp_path: Path) -> Path:
    return make_key(tmp_path / "stranger")


@pytest.mark.parametrize("name", ["../../victim", "/VICTIM"])
def test_a_foreign_set_cannot_name_a_source_out_of_its_folder(
    kept: Machine, stranger: Path, tmp_path: Path, name: str
) -> None:
    victim = tmp_path / "a" / "victim"
    victim.mkdir(parents=True)
    (victim / "mine").write_text("mine")
    record = newest(kept)
    entry = record["sources"].pop("files")
    record["sources"][name.replace("/VICTIM", str(victim))] = entry
    record["set"] = "20261212-0000-ffff"
    plant(kept, record, stranger)
    said = kept("restore", "set", "portal", "--set", "20261212-0000-ffff", "--into", str(tmp_path / "a" / "b" / "c"))
    assert said.code == 2 and "there is no set '20261212-0000-ffff'" in said.err
    assert tree(victim) == {"mine": b"mine"}


def test_records_of_any_shape_stop_neither_lists_nor_backups(kept: Machine, stranger: Path) -> None:
    record = newest(kept)
    plant(kept, {"format": MANIFEST, "backup": {}, "set": {}})
    odd = {**record, "set": "20261212-0000-ffff", "sources": {"files": {**record["sources"]["files"], "bytes": "many"}}}
    plant(kept, odd, stranger)
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "deep.json"
        file.write_text("[" * 100_000)
        kept.restic("backup", "--tag", "opsctl,manifest", str(file))
    listed = kept.json("backup", "list", expect=0).result["sets"]
    assert sorted(one["state"] for one in listed) == ["damaged", "damaged", "damaged", "good"]
    kept.at("2026-12-15T02:30:00+05:30")
    kept("backup", "run", expect=0)
    kept("status", "--refresh", expect=0)
    kept("verify", expect=22)


def test_a_verification_of_another_repository_tells_nothing_here(kept: Machine) -> None:
    found = {"format": VERIFICATION, "repository": "0" * 64, "run": "r", "time": "2026-12-12T00:00:00+00:00", "host": "h",
             "level": "data", "shares": [1], "total": 1, "damaged": False, "findings": []}
    key = kept.etc / "keys" / "controller"
    plant(kept, found, key, mark="verification")
    own = kept.json("backup", "list", expect=0).result["sets"][0]["manifest"]
    repository = json.loads((kept.state / "repositories" / "main.json").read_text())["id"]
    plant(kept, {**found, "repository": repository, "time": "2027-12-12T00:00:00+00:00"}, key, mark="verification")
    kept("status", "--refresh", expect=0)
    standing = kept.json("status", expect=0).result["backups"]["portal"]
    assert own and standing["read_since"] is None and standing["verified"] is None
    plant(kept, {**found, "repository": repository, "time": "2026-12-11T00:00:00+00:00"}, key, mark="verification")
    kept("status", "--refresh", expect=0)
    assert kept.json("status", expect=0).result["backups"]["portal"]["read_since"] == "2026-12-11T00:00:00+00:00"


def test_junk_from_a_stranger_does_not_stop_the_rotating_share(kept: Machine) -> None:
    kept.restic("backup", str(kept.etc / "opsctl.yaml"))
    for day, share in ((13, "1/30"), (14, "2/30")):
        kept.at(f"2026-12-{day}T02:30:00+05:30")
        found = kept.json("verify", "--level", "data", expect=22).result["steps"][0]["result"]["shares"]
        assert found == [share]


def lie(machine: Machine, where: Path) -> None:
    """Have a catalogue say that the newest of two sets is what the first one was."""
    old, new = (dict(machine.json("backup", "show", one["set"], expect=0).result["sets"][0]["record"])
                for one in machine.json("backup", "list", expect=0).result["sets"])
    with closing(sqlite3.connect(where / "catalogue.sqlite")) as catalogue, catalogue:
        told = json.dumps({**new, "sources": old["sources"]})
        assert catalogue.execute("update records set json = ? where json like ?",
                                 (told, f'%"set": "{new["set"]}"%')).rowcount == 1


@pytest.fixture
def twice(kept: Machine) -> Machine:
    """A machine with two sets."""
    (kept.data / "top.txt").write_text("new\n")
    kept.at("2026-12-15T02:30:00+05:30")
    kept("backup", "run", expect=0)
    return kept


def test_a_catalogue_that_somebody_changed_is_not_believed(twice: Machine, tmp_path: Path) -> None:
    lie(twice, twice.state)
    twice("restore", "set", "portal", "--into", str(tmp_path / "back"), expect=0)
    assert Path(f"{tmp_path}/back/files{twice.data}/top.txt").read_text() == "new\n"
    twice.at("2026-12-19T02:30:00+05:30")
    twice("status", expect=5)
    with closing(sqlite3.connect(twice.state / "catalogue.sqlite")) as catalogue, catalogue:
        catalogue.execute("update standing set json = replace(json, '2026-12-15T', '2026-12-18T')")
        assert "2026-12-18T" in catalogue.execute("select json from standing").fetchone()[0]
    assert "2026-12-18T" not in json.dumps(twice.json("status", expect=5).result)
    twice("status", "--refresh", expect=5)
    found = twice.json("status", expect=5).result["backups"]["portal"]
    assert found["newest_time"].startswith("2026-12-15T")


def test_nothing_is_restored_by_the_word_of_a_catalogue_without_a_key(twice: Machine, tmp_path: Path) -> None:
    signer = twice.json("backup", "list", expect=0).result["sets"][0]["signer"]
    bare = Machine(tmp_path / "bare")
    bare.environ |= {"XDG_STATE_HOME": str(tmp_path / "home"), "OPSCTL_CLOCK": twice.environ["OPSCTL_CLOCK"]}
    where = ["--repository", str(twice.store), "--password-file", str(twice.etc / "keys" / "repository-password"),
             "--trust", signer]
    bare("backup", "list", *where, expect=0)
    lie(twice, tmp_path / "home" / "opsctl")
    said = bare.json("restore", "set", "portal", *where, "--into", str(tmp_path / "back"), expect=22)
    assert "catalogue.sqlite" in said.errors[0]["hint"]
    (tmp_path / "home" / "opsctl" / "catalogue.sqlite").unlink()
    bare("restore", "set", "portal", *where, "--into", str(tmp_path / "back"), expect=0)
    assert Path(f"{tmp_path}/back/files{twice.data}/top.txt").read_text() == "new\n"


def test_a_catalogue_that_has_decayed_is_read_anew(kept: Machine) -> None:
    with closing(sqlite3.connect(kept.state / "catalogue.sqlite")) as catalogue, catalogue:
        for table in ("snapshots", "records", "standing"):
            catalogue.execute(f"update {table} set json = substr(json, 2)")
    assert kept.json("status").code == 5
    assert [one["state"] for one in kept.json("backup", "list", expect=0).result["sets"]] == ["good"]
    kept("backup", "list", "portal", expect=0)
    kept("status", expect=0)


def test_what_went_aside_stays_when_a_killed_restore_is_resumed(
    kept: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "top.txt"
    target.write_text("first\n")

    def die(old: Path, new: Path) -> None:
        into_view.move(old, new)
        if old == target:
            raise OSError(5, "the machine died here")

    monkeypatch.setattr(restoring, "move", die)
    words = ["restore", "files", "portal", f"{kept.data}/top.txt", "--into", str(tmp_path), "--replace"]
    run = kept.json(*words, expect=20).document["run"]
    monkeypatch.undo()
    target.write_text("second\n")
    kept("resume", run, expect=0)
    found = {path.name: path.read_text() for path in tmp_path.iterdir() if path.is_file()}
    assert found == {"top.txt": "top\n", f"top.txt.before-{run}": "first\n", f"top.txt.before-{run}-2": "second\n"}


def test_staged_files_that_changed_meanwhile_are_not_called_proven(
    kept: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "back"
    run = kill_before_view(kept, target, monkeypatch)
    staged = Path(f"{tmp_path}/.back.opsctl-{run}/files{kept.data}/top.txt")
    staged.write_text("something else\n")
    kept("resume", run, expect=0)
    assert Path(f"{target}/files{kept.data}/top.txt").read_text() == "top\n"


def kill_before_view(machine: Machine, target: Path, monkeypatch: pytest.MonkeyPatch, *words: str) -> str:
    """A restore that ends after everything is proven and before anything is in view; its run."""

    def show(*_: Any, **__: Any) -> None:
        raise OSError(5, "the machine died here")

    with monkeypatch.context() as patch:
        patch.setattr("opsctl.actions.restore_set.show", show)
        said = machine.json("restore", "set", "portal", "--into", str(target), *words, expect=3)
    assert not target.exists()
    return str(said.document["run"])


def test_a_link_in_the_place_of_the_staging_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "mine").write_text("mine")
    (tmp_path / "staging").symlink_to(tmp_path / "theirs")
    for anew in (True, False):
        with pytest.raises(SafetyRefusal):
            make_staging(tmp_path / "staging", anew=anew)
    assert tree(tmp_path / "theirs") == {"mine": b"mine"}


def test_a_restore_lands_neither_in_the_store_nor_in_the_state(kept: Machine) -> None:
    before = tree(kept.store)
    for place in (kept.store / "data" / "x", kept.state / "x", kept.root / "data" / ".." / "store"):
        kept("restore", "set", "portal", "--into", str(place), expect=23)
        kept("restore", "files", "portal", f"{kept.data}/top.txt", "--into", str(place), expect=23)
    assert tree(kept.store) == before


def test_a_restore_on_a_machine_that_has_nothing_is_resumed(
    kept: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signer = kept.json("backup", "list", expect=0).result["sets"][0]["signer"]
    bare = Machine(tmp_path / "bare")
    bare.environ["XDG_STATE_HOME"] = str(tmp_path / "bare" / "home")
    where = ["--repository", str(kept.store), "--password-file", str(kept.etc / "keys" / "repository-password"),
             "--trust", signer]
    run = kill_before_view(bare, tmp_path / "back", monkeypatch, *where)
    bare("resume", run, *where, expect=0)
    assert Path(f"{tmp_path}/back/files{kept.data}/top.txt").read_text() == "top\n"


def test_a_repository_that_is_not_there_is_no_empty_one(kept: Machine, tmp_path: Path) -> None:
    password = str(kept.etc / "keys" / "repository-password")
    said = kept.json("backup", "list", "--repository", str(tmp_path / "mistyped"), "--password-file", password, expect=23)
    assert "mistyped" in said.errors[0]["message"] and "backup init" not in said.err + json.dumps(said.errors)
    for words in (["restore", "set", "portal", "--into", str(tmp_path / "x")], ["backup", "list"]):
        beside = kept.json(*words, "--repository", str(kept.root / "stroe"), "--password-file", password, expect=23)
        assert f"did you mean {kept.store.name}?" in beside.errors[0]["message"]
        named = kept.json(*words, "--repository", "main", "--password-file", password, expect=23)
        assert "main is a repository of the configuration" in named.errors[0]["hint"]
        near = kept.json(*words, "--repository", "mian", "--password-file", password, expect=23)
        assert near.errors[0]["message"].endswith("did you mean main?")


def test_a_set_is_shown_with_who_could_not_be_asked(kept: Machine) -> None:
    password = kept.etc / "keys" / "repository-password"
    kept.configure(repositories=f"  silent: {{url: rest:http://127.0.0.1:1/x, password_file: {password}}}")
    own = kept.json("backup", "list", "portal", expect=0).result["sets"][0]["set"]
    shown = kept.json("backup", "show", own, expect=3)
    assert [one["set"] for one in shown.result["sets"]] == [own]
    assert [(one["code"], one["where"]) for one in shown.errors] == [(13, "silent")]
    said = kept("backup", "show", own, expect=3)
    assert own in said.out and "127.0.0.1" in said.err
    unknown = kept.json("backup", "show", "20260101-0000-aaaa", expect=13)
    assert unknown.result == {"sets": []} and "in the repositories that answered" in " ".join(unknown.document["warnings"])
    kept.configure()
    assert "there is no set" in kept.json("backup", "show", "20260101-0000-aaaa", expect=2).errors[0]["message"]


def test_what_is_no_fingerprint_is_not_trusted(kept: Machine) -> None:
    kept("--yes", "backup", "init", "--trust", "SHA256:short", expect=2)
    assert not (kept.etc / "keys" / "trusted").exists()
    kept("backup", "list", "--trust", "anything", expect=2)


def test_init_says_whether_it_made_a_repository(kept: Machine) -> None:
    kept.forget()
    assert "(was there, now pinned)" in kept("backup", "init", expect=0).out
    assert "(was there)" in kept("backup", "init", expect=0).out


def test_a_monitor_gets_an_answer_of_its_own_kind_whatever_is_wrong(kept: Machine) -> None:
    (kept.etc / "opsctl.yaml").write_text("x: [\n")
    said = kept("status", "--nagios", expect=3)
    assert said.out.startswith("OPSCTL UNKNOWN - ")


def test_resume_with_another_configuration_says_so(kept: Machine) -> None:
    (kept.data / "top.txt").unlink()
    run = kept.json("backup", "run", expect=3).document["run"]
    kept.configure((kept.etc / "opsctl.yaml").read_text().replace("  portal:", "  other:"))
    said = kept("resume", run, expect=10)
    assert "the configuration is not the one" in said.err
    kept("resume", run, "--repeat", "nothing", expect=2)


@pytest.fixture
def server(server_place: Path) -> Iterator[Postgres]:
    with Postgres(server_place / "hostile") as found:
        yield found


LONG = "a-municipal-portal-with-a-rather-long-name-of-its-own"


def test_databases_are_not_taken_for_one_another(
    machine: Machine, server: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        server.psql(f"CREATE DATABASE {name}")
        server.psql(f"CREATE TABLE who AS SELECT '{name}' AS name", name)
    sources = "\n".join(f"  {name}: {{kind: postgresql, database: {name}, server: {server.socket}, port: {server.port}, "
                        f"user: {server.superuser}}}" for name in ("one", "two"))
    machine.configure(sources=sources, backup_sources="[one, two]")
    machine("backup", "run", expect=0)

    def restore(into: str, *databases: str, expect: int) -> str:
        pairs = [word for pair in databases for word in ("--database", pair)]
        return str(machine.json("restore", "set", "portal", "--into", str(tmp_path / into), *pairs, expect=expect)
                   .document["run"])

    restore("same", "one=x", "two=x", expect=2)
    restore("both", f"one={LONG}-1", f"two={LONG}-2", expect=0)
    hindi = "नगर-पालिका-पोर्टल-१"
    machine.json("restore", "set", "portal", "--source", "two", "--database", f"one={hindi}", "--into",
                 str(tmp_path / "hindi"), expect=0)
    for name, held in ((f"{LONG}-1", "one"), (f"{LONG}-2", "two"), (hindi, "one")):
        assert server.psql("SELECT name FROM who", name).strip() == held

    def rename(*_: Any, **__: Any) -> None:
        raise OSError(5, "the machine died here")

    with monkeypatch.context() as patch:
        patch.setattr("opsctl.sources.postgresql_load.rename", rename)
        run = restore("third", "one=third", expect=3)
    server.psql("CREATE DATABASE third")
    said = machine.json("resume", run, expect=23)
    assert "third" in said.errors[0]["message"]
    server.psql("DROP DATABASE third")
    machine("resume", run, expect=0)
    assert server.psql("SELECT name FROM who", "third").strip() == "one"
