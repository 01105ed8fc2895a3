"""``init`` tries the database at once, says what is missing, and writes the file all the same."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from opsctl.cli.init import InitResult, init
from opsctl.cli.init_database import Look, Place, Trouble, looker
from opsctl.cli.init_questions import InitAnswers
from opsctl.engine.configuration import load_config
from opsctl.model.config import PostgresqlSource
from opsctl.shells.local import LocalShell
from opsctl.sources.postgresql_server import LOOPBACK, Postgres
from tests.cli.test_init import Person

PASSWORD = "geheim 1"


@pytest.fixture(scope="module")
def server(server_place: Path) -> Iterator[Postgres]:
    """The database `enagar`, a reader with a password, and one with no rights."""
    with Postgres(server_place / "init", tcp=True, password="the superuser's") as running:
        running.psql("CREATE ROLE reader LOGIN; GRANT pg_read_all_data TO reader; CREATE ROLE nobody LOGIN;")
        running.psql("CREATE DATABASE enagar;")
        running.psql("CREATE TABLE bills (id int);", "enagar")
        for role in ("reader", "nobody"):
            running.set_password(role, PASSWORD)
        yield running


@pytest.fixture(scope="module")
def look() -> Look:
    return looker(LocalShell(), Path("/nowhere"))


@pytest.fixture
def place(server: Postgres) -> Place:
    return Place("enagar", server=LOOPBACK, port=server.port, user="reader", password=PASSWORD)


def trouble(look: Look, place: Place) -> Trouble:
    found = look(place)
    assert found is not None
    assert PASSWORD not in str(found)
    return found


def test_what_can_be_backed_up_is_no_trouble(
    look: Look, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    assert look(place) is None
    assert not list((tmp_path / "tmp").iterdir()), "the typed password is gone again"
    file = tmp_path / "password"
    file.touch(0o600)
    file.write_text(PASSWORD + "\n")
    assert look(replace(place, password=None, password_file=str(file))) is None


def test_a_database_that_is_not_there_names_the_near_one(look: Look, place: Place) -> None:
    found = trouble(look, replace(place, database="enagr"))
    assert (found.message, found.hint) == ("there is no database enagr at this server", "did you mean enagar?")
    assert trouble(look, replace(place, database="zzz")).hint == "there are: enagar, postgres"


def test_a_password_that_is_missing_or_wrong_is_asked_for(look: Look, place: Place) -> None:
    none = trouble(look, replace(place, password=None))
    wrong = trouble(look, replace(place, password="another"))
    assert none.wants_password and "none was given" in none.message
    assert wrong.wants_password and "does not take this password" in wrong.message


def test_a_role_that_is_not_there_comes_with_the_statements_that_make_it(
    look: Look, place: Place, server: Postgres
) -> None:
    found = trouble(look, replace(place, server=str(server.socket), user="bakup", password=None))
    assert found.message == "there is no role bakup at this server"
    assert "CREATE ROLE bakup" in str(found.hint) and not found.wants_password


def test_a_role_that_may_not_read_comes_with_the_grant(look: Look, place: Place) -> None:
    found = trouble(look, replace(place, user="nobody"))
    assert "may not read tables public.bills" in found.message and "GRANT pg_read_all_data" in str(found.hint)


def test_a_server_that_does_not_answer_names_the_ports_that_do(look: Look, place: Place, server: Postgres) -> None:
    found = trouble(look, replace(place, server=str(server.socket), port=1))
    assert "did not answer" in found.message
    assert found.port == str(server.port) and f"port {server.port}" in str(found.hint)


def answers(server: Postgres) -> InitAnswers:
    return InitAnswers(organisation="x", timezone="UTC", repository="/srv/store", folder="/usr/share",
                       server=LOOPBACK, port=server.port)


def run(directory: Path, said: InitAnswers, person: Person, look: Look) -> InitResult:
    return init(said, directory=directory, ask=person, say=person.told.append, hidden=person.hidden,
                shell=LocalShell(), environ={"HOME": "/home/asha"}, euid=os.geteuid(), look=look)


def test_a_person_mends_the_answers_until_the_database_is_reached(
    tmp_path: Path, look: Look, server: Postgres
) -> None:
    person = Person({
        "--database": ["enagr", "change", "enagar"],
        "--user": ["reader", "reader"],
        "--database-password-file": ["type", "type"],
        "hidden": ["wrong", PASSWORD, PASSWORD],
    })
    result = run(tmp_path, answers(server), person, look)
    assert "not reached: there is no database enagr at this server" in person.told
    assert any(line.startswith("reached: database enagar at ") for line in person.told)
    assert result.notes == ()
    source = load_config(tmp_path).sources["portal-db"]
    assert isinstance(source, PostgresqlSource)
    assert (source.database, source.user, source.port) == ("enagar", "reader", server.port)
    assert (tmp_path / "keys" / "portal-db-password").read_text() == PASSWORD + "\n"


def test_a_server_that_is_down_keeps_nothing_from_being_written(tmp_path: Path, look: Look, server: Postgres) -> None:
    person = Person()
    said = replace(answers(server), database="enagar", user="reader", database_password_file="none", port=1)
    result = run(tmp_path, said, person, look)
    assert person.asked == [], "what options said is not asked again"
    assert len(result.notes) == 1 and result.notes[0].startswith("the database cannot be backed up yet: ")
    assert load_config(tmp_path).sources["portal-db"]


def test_a_role_that_needs_no_password_is_asked_for_none(tmp_path: Path, look: Look, server: Postgres) -> None:
    person = Person()
    said = replace(answers(server), database="enagar", server=str(server.socket), user="reader")
    run(tmp_path, said, person, look)
    assert person.asked == [] and person.told[-1].startswith("reached: ")
