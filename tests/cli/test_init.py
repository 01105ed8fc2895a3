"""``init`` writes a configuration that loads, a password and a key, all or nothing, over nothing."""

from __future__ import annotations

import os
import pwd
import re
import stat
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opsctl.cli.init import InitResult, init, init_directory
from opsctl.cli.init_questions import InitAnswers, local_timezone
from opsctl.cli.init_text import NONE
from opsctl.engine.configuration import load_config
from opsctl.errors import Busy, ProgramFailed, SafetyRefusal, UsageError, Waiting
from opsctl.model.config import PathsSource, PostgresqlSource
from opsctl.shells.local import LocalShell

SAID = InitAnswers(
    organisation="Urban Development Department",
    timezone="Asia/Kolkata",
    repository="/srv/store",
    database="enagar",
    server="10.0.0.11",
    user="backup",
    database_password_file="/etc/db-password",
    folder="/usr/share",
)


LOGINS = [f"keys/ssh-{name}" for name in ("backup", "backup.pub", "isolation", "isolation.pub")]


class Person:
    """Answers from a list, by option; notes what was asked."""

    def __init__(self, answers: Mapping[str, list[str]] | None = None) -> None:
        self.answers = {option: list(words) for option, words in (answers or {}).items()}
        self.asked: list[tuple[str, str]] = []
        self.told: list[str] = []

    def __call__(self, question: str, default: str | None = None, *, option: str | None = None) -> str:
        assert option is not None
        self.asked.append((option, question))
        words = self.answers.get(option)
        if words:
            return words.pop(0)
        if default is None:
            raise Waiting(question)
        return default

    def hidden(self, question: str) -> str:
        self.asked.append(("hidden", question))
        return self.answers["hidden"].pop(0)


def run(
    directory: Path, answers: InitAnswers = SAID, person: Person | None = None, **environ: str
) -> InitResult:
    person = person or Person()
    return init(
        answers,
        directory=directory,
        ask=person,
        say=person.told.append,
        hidden=person.hidden,
        shell=LocalShell(),
        environ={"HOME": "/home/asha", **environ},
        euid=os.geteuid(),
    )


def everything(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_answers_by_options_ask_nothing_and_make_what_loads(tmp_path: Path) -> None:
    directory, person = tmp_path / "etc" / "opsctl", Person()
    result = run(directory, person=person)
    assert person.asked == []
    names = ["keys/repository-password", "keys/controller", "keys/controller.pub", *LOGINS, "opsctl.yaml"]
    assert result.files == tuple(str(directory / name) for name in names)
    assert sorted(everything(directory)) == sorted(names), "nothing else is left behind"

    config = load_config(directory)
    assert config.organisation.name == "Urban Development Department"
    assert config.repositories["main"].url == "/srv/store"
    assert (
        config.repositories["main"].password.file
        == str(directory / "keys/repository-password")
        == result.password_file
    )
    database, files = config.sources["portal-db"], config.sources["uploads"]
    assert isinstance(database, PostgresqlSource) and isinstance(files, PathsSource)
    assert (database.database, database.server, database.user) == ("enagar", "10.0.0.11", "backup")
    assert database.password_file == "/etc/db-password"
    assert files.paths == ("/usr/share",)
    assert config.backups["portal"].sources == ("portal-db", "uploads")
    assert config.backups["portal"].every == timedelta(days=3)
    assert len((directory / "opsctl.yaml").read_text().splitlines()) <= 10


def test_keys_are_private_and_the_key_signs(tmp_path: Path) -> None:
    result = run(tmp_path)
    keys = tmp_path / "keys"
    assert [mode(keys), mode(keys / "controller"), mode(keys / "repository-password")] == [
        0o700,
        0o600,
        0o600,
    ]
    password = (keys / "repository-password").read_text()
    assert re.fullmatch(r"[\w-]{43}\n", password)
    assert (keys / "controller.pub").read_text().split()[::2] == ["ssh-ed25519", "opsctl-controller"]
    said = subprocess.run(
        ["ssh-keygen", "-l", "-f", keys / "controller"], capture_output=True, text=True, check=True
    )
    assert result.fingerprint in said.stdout
    signed = subprocess.run(
        ["ssh-keygen", "-Y", "sign", "-f", keys / "controller", "-n", "opsctl-test"],
        input=b"x",
        capture_output=True,
        check=True,
    )
    assert signed.stdout.startswith(b"-----BEGIN SSH SIGNATURE-----")
    assert password.strip() not in f"{result} {(tmp_path / 'opsctl.yaml').read_text()}"


def test_the_person_is_told_what_to_write_down_and_what_comes_next(tmp_path: Path) -> None:
    result = run(tmp_path)
    assert result.password_file in result.remember[0] and result.fingerprint in result.remember[0]
    assert [command.removeprefix(f"opsctl --config {tmp_path} ") for command in result.next] == [
        "doctor",
        "backup init",
        "backup run",
        "status",
    ]
    assert result.notes == ("/etc/db-password is not there yet: put the role's password into it",)


def test_two_passwords_are_never_the_same(tmp_path: Path) -> None:
    run(tmp_path / "a")
    run(tmp_path / "b")
    names = ("keys/repository-password", "keys/controller", "keys/controller.pub")
    assert all((tmp_path / "a" / name).read_bytes() != (tmp_path / "b" / name).read_bytes() for name in names)


def test_what_was_not_said_is_asked(tmp_path: Path) -> None:
    person = Person(
        {
            "--organisation": ["नगर विकास: विभाग #1"],
            "--timezone": ["Asia/Kolkata"],
            "--repository": ["rest:https://backup-1:8000/portal"],
            "--repository-user": ["portal"],
            "--repository-secret-file": ["~/rest-password"],
            "--database": ["enagar"],
            "--folder": ["/srv/portal uploads"],
        }
    )
    run(tmp_path, InitAnswers(), person)
    assert [option for option, _ in person.asked] == [
        "--organisation",
        "--timezone",
        "--repository",
        "--repository-user",
        "--repository-secret-file",
        "--database",
        "--database-kind",
        "--server",
        "--user",
        "--database-password-file",
        "--folder",
        "--yes",
    ]
    config = load_config(tmp_path)
    assert config.organisation.name == "नगर विकास: विभाग #1"
    main = config.repositories["main"]
    assert (main.user, main.secret_file) == ("portal", "/home/asha/rest-password")
    database = config.sources["portal-db"]
    assert isinstance(database, PostgresqlSource)
    assert (database.server, database.password) == (None, None)
    assert config.sources["uploads"].paths == ("/srv/portal uploads",)  # type: ignore[union-attr]


@pytest.mark.parametrize(("url", "keys"), [
    ("s3:https://s3.example.in/opsctl/portal", {"access_key_file": "/etc/s3-id", "secret_key_file": "/etc/s3-secret"}),
    ("sftp:backup@store-1:/srv/portal", {
        "host_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFC8FwO9w21IUTb6CvHpr+LdR2pF4Ouw9uTQ0OWSvQ01 root@store-1",
        "ssh_key_file": "/etc/sftp-key"}),
])
def test_a_store_elsewhere_is_asked_for_what_opens_it(tmp_path: Path, url: str, keys: dict[str, str]) -> None:
    options = [f"--{name.replace('_', '-')}" for name in keys]
    person = Person({"--repository": [url], **{option: [word] for option, word in zip(options, keys.values(), strict=True)}})
    run(tmp_path / "asked", replace(SAID, repository=None), person)
    assert [option for option, _ in person.asked] == ["--repository", *options, "--yes"]
    run(tmp_path / "said", replace(SAID, repository=url, **keys))  # type: ignore[arg-type]
    for name in ("asked", "said"):
        main = load_config(tmp_path / name).repositories["main"]
        assert main.url == url and {key: getattr(main, key) for key in keys} == keys


@pytest.mark.parametrize(("database", "folder"), [("enagar", NONE), (NONE, "/srv/up")])
def test_a_database_or_a_folder_is_enough(tmp_path: Path, database: str, folder: str) -> None:
    run(tmp_path, replace(SAID, database=database, folder=folder))
    config = load_config(tmp_path)
    assert list(config.sources) == ["portal-db" if folder == NONE else "uploads"]
    assert config.warnings == ()


def test_a_wrong_answer_is_asked_again_saying_why(tmp_path: Path) -> None:
    person = Person({"--timezone": ["Asia/Calcuta", "Asia/Kolkata"]})
    run(tmp_path, replace(SAID, timezone=None), person)
    assert person.asked == [("--timezone", "Time zone")] * 2 + [("--yes", "Write this? (yes, no)")]
    assert "not taken: must be a time zone such as Asia/Kolkata or UTC; did you mean Asia/Kolkata?" in person.told
    assert load_config(tmp_path).organisation.timezone == "Asia/Kolkata"


def test_a_relative_path_is_taken_from_the_working_directory_and_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    person = Person({"--repository": ["store/main"]})
    run(tmp_path / "etc", replace(SAID, repository=None, folder="../up"), person)
    config = load_config(tmp_path / "etc")
    assert config.repositories["main"].url == str(tmp_path / "store/main")
    assert config.sources["uploads"].paths == (str(tmp_path.parent / "up"),)  # type: ignore[union-attr]
    assert [line for line in person.told if "from this folder" in line] == [
        f"store/main: from this folder, so {tmp_path / 'store/main'}",
        f"../up: from this folder, so {tmp_path.parent / 'up'}",
    ]


def test_the_role_that_is_proposed_says_why(tmp_path: Path) -> None:
    person, own = Person(), pwd.getpwuid(os.geteuid()).pw_name
    run(tmp_path / "remote", replace(SAID, user=None), person)
    assert "backup: a role of its own that may only read; the README says how to make it" in person.told
    run(tmp_path / "here", replace(SAID, user=None, server=NONE), person)
    users = [load_config(tmp_path / name).sources["portal-db"].user for name in ("remote", "here")]  # type: ignore[union-attr]
    assert users == ["backup", own if os.geteuid() else "backup"]


def test_a_typed_password_lands_in_a_private_file_and_nowhere_else(tmp_path: Path) -> None:
    person = Person({"--database-password-file": ["type"], "hidden": ["geheim 1"]})
    result = run(tmp_path, replace(SAID, database_password_file=None), person)
    file = tmp_path / "keys" / "portal-db-password"
    assert (file.read_text(), mode(file)) == ("geheim 1\n", 0o600)
    source = load_config(tmp_path).sources["portal-db"]
    assert source.password_file == str(file)  # type: ignore[union-attr]
    rest = {name: text for name, text in everything(tmp_path).items() if name != "keys/portal-db-password"}
    assert b"geheim" not in b"".join(rest.values()) and "geheim" not in f"{result} {person.told} {person.asked}"


def test_a_password_typed_in_the_place_of_its_file_is_not_kept(tmp_path: Path) -> None:
    person = Person({"--database-password-file": ["geheim", "type"], "hidden": ["geheim"]})
    run(tmp_path, replace(SAID, database_password_file=None), person)
    assert any("that is no path" in line for line in person.told)
    source = load_config(tmp_path).sources["portal-db"]
    assert source.password_file == str(tmp_path / "keys" / "portal-db-password")  # type: ignore[union-attr]
    rest = {name: text for name, text in everything(tmp_path).items() if name != "keys/portal-db-password"}
    assert b"geheim" not in b"".join(rest.values()) and not any("geheim" in line for line in person.told)


def test_a_password_file_that_is_there_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir(mode=0o700)
    (tmp_path / "keys" / "portal-db-password").write_text("mine\n")
    person = Person({"--database-password-file": ["type"]})
    run(tmp_path, replace(SAID, database_password_file=None), person)
    assert everything(tmp_path)["keys/portal-db-password"] == b"mine\n"
    assert not [option for option, _ in person.asked if option == "hidden"]
    assert any("is taken as it is" in line for line in person.told)


def test_asking_ends(tmp_path: Path) -> None:
    person = Person({"--timezone": ["Calcutta"] * 100})
    with pytest.raises(UsageError, match="asked 5 times"):
        run(tmp_path / "x", replace(SAID, timezone=None), person)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"organisation": ""}, "--organisation: must be one line of text"),
        ({"timezone": "Asia"}, "--timezone: must be a time zone"),
        ({"repository": "b2:bucket:y"}, "--repository: a store of kind b2 is not supported"),
        ({"repository": "s3:https://x"}, "--repository: must be s3:https://host/bucket/prefix"),
        ({"repository": "s3:https://x/abc", "access_key_file": ""}, "--access-key-file: is empty"),
        ({"repository": "sftp:u@h:/r", "host_key": "ssh-ed25519 AAAA"}, "--host-key: is not a whole SSH public key"),
        ({"repository": "rest:https://u:hunter2@h/x"}, "--repository: must not hold a user or password"),
        (
            {"repository": "rest:https://h/x", "repository_user": ""},
            "--repository-user: must be one line of text",
        ),
        ({"database": "host=x"}, "--database: must be a plain name"),
        ({"port": 70000}, "--port: must be at most 65535"),
        ({"database": NONE, "folder": NONE}, "there is nothing to back up"),
        ({"organisation": "a\x1b[2Jb"}, "--organisation: the text holds the character U+001B"),
        ({"folder": "/srv/a\nb"}, "--folder: must be one line of text"),
        ({"repository": ""}, "--repository: is empty"),
    ],
)
def test_a_wrong_option_is_wrong_usage_and_nothing_is_written(
    tmp_path: Path, change: dict[str, str | int], message: str
) -> None:
    with pytest.raises(UsageError, match=re.escape(message)) as caught:
        run(tmp_path / "x", replace(SAID, **change))  # type: ignore[arg-type]
    assert "hunter2" not in str(caught.value.as_dict())
    assert not (tmp_path / "x").exists()


def test_a_question_that_nobody_answers_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(Waiting):
        run(tmp_path / "x", replace(SAID, organisation=None))
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("name", ["opsctl.yaml", "portal.yaml"])
def test_a_configuration_that_is_there_is_never_touched(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("state: /x\n")
    with pytest.raises(SafetyRefusal, match=name):
        run(tmp_path)
    assert everything(tmp_path) == {name: b"state: /x\n"}


def test_a_second_init_changes_nothing(tmp_path: Path) -> None:
    run(tmp_path)
    before = everything(tmp_path)
    with pytest.raises(SafetyRefusal):
        run(tmp_path, replace(SAID, organisation="Other"))
    assert everything(tmp_path) == before


def test_keys_that_are_there_stay_and_are_used(tmp_path: Path) -> None:
    first = run(tmp_path)
    before = everything(tmp_path)
    (tmp_path / "opsctl.yaml").unlink()
    (tmp_path / "keys" / "controller.pub").unlink()
    (tmp_path / "opsctl.example.yaml").write_text("x")
    second = run(tmp_path)
    after = everything(tmp_path)
    assert {name: after[name] for name in before if name != "keys/controller.pub"} == {
        name: content for name, content in before.items() if name != "keys/controller.pub"
    }
    assert second.fingerprint == first.fingerprint
    assert second.kept == tuple(str(tmp_path / f"keys/{name}") for name in (
        "repository-password", "controller", "ssh-backup", "ssh-isolation"))
    assert second.files == (str(tmp_path / "keys/controller.pub"), str(tmp_path / "opsctl.yaml"))


def test_a_password_of_ones_own_is_used_and_none_is_made(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("correct horse\n")
    result = run(tmp_path / "x", replace(SAID, password_file=str(own)))
    assert load_config(tmp_path / "x").repositories["main"].password.file == str(own) == result.password_file
    assert not (tmp_path / "x" / "keys" / "repository-password").exists()


def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))  # no ssh-keygen
    with pytest.raises(ProgramFailed):
        run(tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_a_failure_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "keys").mkdir(mode=0o700)
    (tmp_path / "keys" / "note").write_text("mine")
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(ProgramFailed):
        run(tmp_path)
    assert everything(tmp_path) == {"keys/note": b"mine"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["keys"]


def test_two_at_once_are_one_and_a_refusal(tmp_path: Path) -> None:
    import fcntl

    held = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(Busy):
            run(tmp_path)
        assert everything(tmp_path) == {}
    finally:
        os.close(held)
    run(tmp_path)


@pytest.mark.as_root("only root can set up a machine for an account")
def test_keys_made_by_root_belong_to_the_account_that_owns_their_folder(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir(mode=0o700)
    os.chown(tmp_path / "keys", 1234, 1234)
    run(tmp_path)
    owners = {path.name: path.stat().st_uid for path in (tmp_path / "keys").iterdir()}
    assert owners == dict.fromkeys([*(Path(name).name for name in LOGINS), "controller", "controller.pub",
                                    "repository-password"], 1234)
    assert (tmp_path / "opsctl.yaml").stat().st_uid == 0


def test_the_directory_follows_what_was_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert init_directory(None, {}, 0) == Path("/etc/opsctl")
    assert init_directory(None, {}, 1000) == tmp_path / "configs"
    assert init_directory(None, {"OPSCTL_CONFIG": "/x"}, 0) == Path("/x")
    assert init_directory("there", {"OPSCTL_CONFIG": "/x"}, 0) == tmp_path / "there"


def test_the_time_zone_of_the_machine_is_the_default(tmp_path: Path) -> None:
    assert local_timezone({"TZ": "Asia/Kolkata"}, tmp_path) == "Asia/Kolkata"
    assert local_timezone({"TZ": ":/etc/localtime"}, tmp_path) == "UTC"
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "localtime").symlink_to("/usr/share/zoneinfo/Asia/Kolkata")
    assert local_timezone({}, tmp_path) == "Asia/Kolkata"
    (tmp_path / "etc" / "timezone").write_text("Asia/Tokyo\n")
    assert local_timezone({}, tmp_path) == "Asia/Tokyo"


@settings(max_examples=60, deadline=None, database=None, derandomize=True)
@given(st.text(min_size=1, max_size=30))
def test_any_name_is_written_as_it_was_said_or_refused(name: str) -> None:
    from opsctl.cli.init_questions import Questions
    from opsctl.cli.init_text import TRIAL, text_of
    from opsctl.engine.load import load_document

    person = Person()
    questions = Questions(
        SAID, person, Path("/etc/opsctl"), {}, 0, say=person.told.append, hidden=person.hidden
    )
    try:
        said = questions.fitting("organisation", name)
    except UsageError:
        return
    data = load_document(text_of({**TRIAL, "organisation": said}), "x").data
    assert data["organisation"]["name"] == name.strip()
