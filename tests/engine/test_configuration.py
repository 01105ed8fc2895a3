"""The configuration directory is found, trusted or refused, read as one, and documented."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from opsctl.engine.configuration import config_files, find_config_dir, load_config, read_documents
from opsctl.engine.load import load_document, validate
from opsctl.errors import ConfigError
from opsctl.model.config import Config, PathsSource, PostgresqlSource
from opsctl.model.secrets import SecretRef

PROJECT = Path(__file__).resolve().parents[2]
ORDINARY = 1000

MAIN = """\
organisation: {name: Department, timezone: Asia/Kolkata}
state: state
repositories:
  main: {url: store, password_file: keys/main}
"""
MORE = """\
repositories:
  away: {url: "rest:https://backup-1:8000/portal", user: portal, secret_env: AWAY, cacert: /etc/ca.pem,
         password_command: [pass, show, away], append_only: true, maintenance: {url: /srv/portal}}
sources:
  db: {kind: postgresql, database: enagar, server: /run/postgresql, user: backup, password_file: /p,
       proof: off}
  up: {kind: paths, paths: [/srv/up, data], exclude: ["*.tmp"], at_least: {files: 1, bytes: 10GiB},
       marker: here, mountpoint: /srv}
  lite: {kind: sqlite, path: lite.db}
backups:
  portal: {sources: [db, up], repository: away, every: 12h, verify: {read_all_within: 7d}}
  lite: {sources: [lite], repository: main}
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    directory = tmp_path / "opsctl"
    directory.mkdir(mode=0o755)
    (directory / "opsctl.yaml").write_text(MAIN)
    (directory / "portal.yaml").write_text(MORE)
    for path in (directory, *directory.iterdir()):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return directory


def problems(directory: Path, *, euid: int = ORDINARY) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(directory, euid=euid)
    assert caught.value.code == 10
    return list(caught.value.problems)


def test_all_files_are_one_configuration(place: Path) -> None:
    config = load_config(place)
    assert config.directory == place
    assert config.files == (str(place / "opsctl.yaml"), str(place / "portal.yaml"))
    assert config.organisation.tz == ZoneInfo("Asia/Kolkata")
    assert config.state == str(place / "state")
    assert list(config.repositories) == ["main", "away"]

    main, away = config.repositories["main"], config.repositories["away"]
    assert (main.name, main.url, main.local) == ("main", str(place / "store"), True)
    assert main.password == SecretRef("password of repository main", file=str(place / "keys/main"))
    assert main.secret is None
    assert (away.url, away.local, away.append_only) == ("rest:https://backup-1:8000/portal", False, True)
    assert away.password == SecretRef("password of repository away", command=("pass", "show", "away"))
    assert away.secret == SecretRef("password of user portal at repository away", env="AWAY")
    assert away.maintenance is not None and away.maintenance.url == "/srv/portal"

    database, uploads = config.sources["db"], config.sources["up"]
    assert isinstance(database, PostgresqlSource) and isinstance(uploads, PathsSource)
    assert (database.name, database.port, database.proof) == ("db", 5432, "off")
    assert database.password == SecretRef("password of source db", file="/p")
    assert uploads.paths == ("/srv/up", str(place / "data"))
    assert uploads.at_least is not None and (uploads.at_least.files, uploads.at_least.bytes) == (
        1,
        10 * 2**30,
    )
    assert (uploads.marker, uploads.mountpoint) == ("here", "/srv")

    portal, lite = config.backups["portal"], config.backups["lite"]
    assert (portal.name, portal.sources, portal.every) == ("portal", ("db", "up"), timedelta(hours=12))
    assert portal.verify.read_all_within == timedelta(days=7)
    assert (lite.every, lite.verify.read_all_within) == (timedelta(days=3), timedelta(days=30))
    assert config.warnings == ()


def test_a_configuration_cannot_be_changed(place: Path) -> None:
    config = load_config(place)
    with pytest.raises(AttributeError, match="frozen"):
        config.backups["lite"].repository = "away"  # type: ignore[misc]


def test_the_digest_is_of_the_content_and_not_of_its_layout(place: Path, tmp_path: Path) -> None:
    before = load_config(place).digest
    (place / "opsctl.yaml").write_text(
        f"# a comment\n\n{MAIN}".replace("{name: Department, ", "{name:   'Department', ")
    )
    os.rename(place, tmp_path / "elsewhere")
    assert load_config(tmp_path / "elsewhere").digest == before
    (tmp_path / "elsewhere" / "opsctl.yaml").write_text(MAIN.replace("Department", "department"))
    assert load_config(tmp_path / "elsewhere").digest != before
    assert len(before) == 64


def test_examples_hidden_files_and_other_names_are_not_read(place: Path) -> None:
    before = load_config(place)
    for name in ("bad.example.yaml", ".bad.yaml", "bad.yaml.bak", "bad.txt"):
        (place / name).write_text("}{")
    (place / "bad.yml").write_text("}{")
    (place / "more").mkdir()
    (place / "more" / "bad.yaml").write_text("}{")
    config = load_config(place)
    assert (config.files, config.digest) == (before.files, before.digest)
    assert config.warnings == (f"{place / 'bad.yml'} is not read: its name has to end in .yaml",)


def test_a_name_in_two_files_is_refused_naming_both(place: Path) -> None:
    (place / "work.yaml").write_text(
        "state: /elsewhere\nrepositories:\n\n  away: {url: /x, password_file: y}\n"
    )
    assert problems(place) == [
        f"{place}/work.yaml:1: state: is already there, in {place}/opsctl.yaml:2",
        f"{place}/work.yaml:4: repositories.away: is already there, in {place}/portal.yaml:2",
    ]


def test_references_reach_across_files(place: Path) -> None:
    (place / "opsctl.yaml").write_text(MAIN.replace("main:", "mian:"))
    assert problems(place) == [
        f"{place}/portal.yaml:12: backups.lite.repository: there is no repository main; did you mean mian?"
    ]


@pytest.mark.parametrize("content", [None, "", "# nothing yet\n", "---\n"])
def test_a_directory_without_a_configuration_says_how_to_get_one(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "opsctl.yaml").write_text(content)
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path, euid=ORDINARY)
    assert caught.value.hint is not None and "opsctl init" in caught.value.hint


def test_a_file_that_cannot_be_read_is_named_with_the_mistakes_of_the_others(place: Path) -> None:
    (place / "dangling.yaml").symlink_to(place / "nowhere")
    (place / "folder.yaml").mkdir()
    os.mkfifo(place / "pipe.yaml")
    (place / "opsctl.yaml").write_text(MAIN + "stat: x\n")
    assert problems(place) == [
        f"{place}/dangling.yaml:1: cannot be read: No such file or directory",
        f"{place}/folder.yaml:1: is not a file",
        f"{place}/opsctl.yaml:5: stat: unknown key; did you mean state?",
        f"{place}/pipe.yaml:1: is not a file",
    ]


@pytest.mark.as_root("only root can make a file of root's")
@pytest.mark.parametrize("name", ["", "portal.yaml"])
@pytest.mark.parametrize(("mode", "owner"), [(0o775, 0), (0o757, 0), (0o755, ORDINARY)])
def test_root_obeys_no_configuration_that_others_can_write(
    place: Path, name: str, mode: int, owner: int
) -> None:
    path = place / name if name else place
    path.chmod(mode)
    os.chown(path, owner, owner)
    load_config(place, euid=ORDINARY)
    (problem,) = problems(place, euid=0)
    mend = f"chown root {path}" if owner else f"chmod go-w {path}"
    assert problem.startswith(f"{path}: ") and problem.endswith(f": {mend}")
    assert owner or f"mode {mode:04o}" in problem
    subprocess.run(mend.split(), check=True)
    load_config(place, euid=0)


@pytest.mark.as_root("only root can make a file of root's")
def test_root_obeys_no_playbook_that_others_can_write(tmp_path: Path) -> None:
    path = tmp_path / "contain.yaml"
    path.write_text("name: contain\n")
    path.chmod(0o666)
    with pytest.raises(ConfigError) as caught:
        read_documents([path], 0)
    assert f"chmod go-w {path}" in caught.value.problems[0]


def test_the_directory_is_where_it_was_said_to_be(place: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    environ = {"OPSCTL_CONFIG": str(other)}
    assert find_config_dir(place, environ, ORDINARY, system=place) == place
    assert find_config_dir(None, environ, ORDINARY, system=place) == other
    assert find_config_dir(None, {"OPSCTL_CONFIG": ""}, ORDINARY, system=place) == place
    assert find_config_dir(os.path.relpath(place), {}, 0) == place
    for told in (tmp_path / "gone", place / "opsctl.yaml"):
        with pytest.raises(ConfigError, match=str(told)):
            find_config_dir(told, {}, ORDINARY)


def test_the_folder_configs_counts_for_its_owner_and_never_for_root(place: Path, tmp_path: Path) -> None:
    own = tmp_path / "work" / "configs"
    own.parent.mkdir()
    os.rename(place, own)
    nothing = tmp_path / "nothing"
    owner = own.stat().st_uid or ORDINARY
    assert find_config_dir(None, {}, owner, system=nothing, here=own.parent) == own
    with pytest.raises(ConfigError) as caught:
        find_config_dir(None, {}, 0, system=nothing, here=own.parent)
    assert str(own) not in str(caught.value)
    assert "opsctl init" in (caught.value.hint or "")


def test_a_folder_configs_with_examples_only_is_none(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "x.example.yaml").write_text(MAIN)
    with pytest.raises(ConfigError, match="there is no configuration in"):
        find_config_dir(None, {}, ORDINARY, system=tmp_path / "nothing", here=tmp_path)


@pytest.mark.as_root("only root can give a file to somebody else")
def test_the_folder_configs_of_somebody_else_is_refused(place: Path, tmp_path: Path) -> None:
    own = tmp_path / "configs"
    os.rename(place, own)
    os.chown(own, ORDINARY + 1, ORDINARY + 1)
    with pytest.raises(ConfigError, match="belongs to somebody else"):
        find_config_dir(None, {}, ORDINARY, system=tmp_path / "nothing", here=tmp_path)


def test_what_looks_wrong_is_said(place: Path) -> None:
    (place / "portal.yaml").write_text(
        'repositories:\n  plain: {url: "rest:http://backup-1:8000/x", password_env: X}\n'
        '  loop: {url: "rest:http://127.0.0.1:8000/x", password_env: X}\n'
        f"sources:\n  unused: {{kind: sqlite, path: /a}}\n  all: {{kind: paths, paths: [{place}]}}\n"
        "backups:\n  all: {sources: [all], repository: main}\n"
    )
    warnings = load_config(place).warnings
    assert [warning.split(",")[0] for warning in warnings] == [
        "source unused is in no backup",
        "repository plain is reached without TLS: its user's password can be read on the way",
        f"backup all stores into {place}/store",
    ]


@pytest.mark.parametrize("name", ["opsctl.example.yaml", "department.example.yaml"])
def test_an_example_loads_as_it_stands(tmp_path: Path, name: str) -> None:
    content = (PROJECT / "configs" / name).read_text()
    (tmp_path / name.replace(".example", "")).write_text(content)
    config = load_config(tmp_path, euid=ORDINARY)
    assert config.backups and config.warnings == ()
    assert all(backup.every >= timedelta(days=1) for backup in config.backups.values())


def test_the_smallest_example_has_ten_lines_at_most() -> None:
    content = (PROJECT / "configs" / "opsctl.example.yaml").read_text()
    assert len(content.splitlines()) <= 10


def test_the_page_on_every_key_is_what_the_models_say() -> None:
    made = subprocess.run(
        [sys.executable, "-m", "opsctl.model.config_docs"],
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert (PROJECT / "configs" / "README.md").read_text() == made


def test_config_files_are_in_the_order_of_their_names(place: Path) -> None:
    (place / "a.yaml").write_text("")
    assert [path.name for path in config_files(place)] == ["a.yaml", "opsctl.yaml", "portal.yaml"]


def test_four_hundred_bodies_are_one_configuration() -> None:
    lines = ["repositories: {main: {url: /srv/store, password_file: p}}", "sources:"]
    lines += [
        f"  db-{i}: {{kind: postgresql, database: body_{i}, server: 10.0.0.1, user: backup}}"
        for i in range(412)
    ]
    lines += ["backups:"]
    lines += [f"  body-{i}: {{sources: [db-{i}], repository: main, every: 3d}}" for i in range(412)]
    config = validate(Config, [load_document("\n".join(lines), "a.yaml")])
    assert len(config.backups) == 412
    assert config.sources["db-411"].name == "db-411"
