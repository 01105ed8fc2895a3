"""Sources of kind command in a configuration: the examples load, and every mistake is told at once."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest

from opsctl.engine.configuration import load_config
from opsctl.errors import ConfigError
from opsctl.model.config import CommandSource
from opsctl.model.limits import Limits
from opsctl.model.secrets import SecretRef

PAGE = (Path(__file__).parents[2] / "configs" / "README.md").read_text()
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE.partition("## Databases that opsctl does not know")[2], re.DOTALL)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder = tmp_path / "etc"
    folder.mkdir(mode=0o755)
    return folder


def write(place: Path, text: str) -> None:
    (place / "opsctl.yaml").write_text(text)
    (place / "opsctl.yaml").chmod(0o644)


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_worked_examples_load_as_they_stand(place: Path, example: str) -> None:
    write(place, example)
    config = load_config(place)
    (source,) = config.sources.values()
    assert isinstance(source, CommandSource) and source.restore is not None
    assert any("${target}" in word for word in source.restore)
    assert (source.spool is None) == all("${spool}" not in word for word in source.argv) or "directory=OPSCTL" in source.argv


def test_there_is_an_example_for_each_of_the_three_and_for_a_stream() -> None:
    assert [name for name in ("expdp", "sqlcmd", "hdbsql", "slapcat") for one in EXAMPLES if name in one] == [
        "expdp", "sqlcmd", "hdbsql", "slapcat"]


def test_keys_arrive_where_they_are_used(place: Path) -> None:
    write(place, """\
repositories: {main: {url: /store, password_file: p}}
sources:
  db: {kind: command, argv: [dump], password_file: s, password_variable: DB_PASSWORD, environment: {SID: P}, limit: 90m,
       before: [stop, it], after: [start, it], hook_limit: 1m, trailer: "-- done", at_least: {bytes: 1KiB}}
backups:
  b: {sources: [db], repository: main, bandwidth: 10MiB, nice: 10, ionice: best-effort, retries: 3}
""")
    config = load_config(place)
    source, backup = config.sources["db"], config.backups["b"]
    assert isinstance(source, CommandSource)
    assert source.password == SecretRef("password of source db", file=str(place / "s"))
    assert (source.before, source.after, source.hook_limit) == (("stop", "it"), ("start", "it"), timedelta(minutes=1))
    assert (source.limit, dict(source.environment)) == (timedelta(minutes=90), {"SID": "P"})
    assert backup.limits == Limits(10 << 20, 10, "best-effort") and backup.retries == 3
    assert backup.limits.prefix == ("nice", "-n", "10", "ionice", "-c", "2", "-n", "7")
    assert backup.limits.options == ("--limit-upload", "10240")
    assert Limits().prefix == () and Limits().options == ()


def test_twenty_mistakes_are_told_at_once(place: Path) -> None:
    write(place, """\
repositories: {main: {url: /store, password_file: p}}
sources:
  one: {kind: command, argv: dump --all}
  two: {kind: command, argv: []}
  three: {kind: command, argv: [dump, "${spool}", "${spol}"], restore: [load]}
  four: {kind: command, argv: [dump, "${target}"], spool: {directory: /s}, trailer: x, restore: [load, "${targt}"]}
  five: {kind: command, argv: [dump], at_least: {files: 1}, password_file: s}
  six: {kind: command, argv: [dump], password_variable: X, environment: {DB_PASSWORD: hunter2, 1X: y}}
  seven: {kind: command, argv: [dump], password: hunter2, limit: 0s, proof: full}
  eight: {kind: command, argv: [dump], password_file: s, password_env: E, password_variable: P, command: dump}
  nine: {kind: command, argv: [dump], spool: /s, before: "stop", after: [start, "${source}"]}
  ten: {kind: paths, paths: [/d], hook_limit: 5m, argv: [x]}
  eleven: {kind: command, argv: [dump], spool: {owner: -x, free: many}}
backups:
  b: {sources: [one], repository: main, bandwidth: 1B, nice: 20, ionice: realtime, retries: -1}
""")
    with pytest.raises(ConfigError) as caught:
        load_config(place)
    told = "\n".join(caught.value.problems)
    assert "hunter2" not in told
    expected = (
        ":3: sources.one.argv", ":4: sources.two.argv", ":5: sources.three.argv[1]: ${spool} needs spool",
        ":5: sources.three.argv[2]: ${spol} is not filled in", ":5: sources.three.restore: needs ${target}",
        ":6: sources.four.argv[1]: ${target} is for restore only", ":6: sources.four.trailer: is for a program that writes",
        ":6: sources.four.restore[1]: ${targt} is not filled in here; did you mean target?",
        ":7: sources.five.at_least.files: is for a program with a spool", ":7: sources.five.password_file: needs password_variable",
        ":8: sources.six.password_variable: needs one of", ":8: sources.six.environment.DB_PASSWORD: a secret is never",
        ":8: sources.six.environment.1X", ":9: sources.seven.password: a secret is never", ":9: sources.seven.limit",
        ":9: sources.seven.proof: of a command the bytes", ":10: sources.eight.password_env: only one of",
        ":10: sources.eight.command: the dump program is given as argv", ":11: sources.nine.spool", ":11: sources.nine.before",
        ":11: sources.nine.after[1]: ${source} is not filled in", ":12: sources.ten.hook_limit: is for before and after",
        ":12: sources.ten.argv", ":13: sources.eleven.spool.directory", ":13: sources.eleven.spool.owner",
        ":13: sources.eleven.spool.free", ":15: backups.b.bandwidth", ":15: backups.b.nice", ":15: backups.b.ionice",
        ":15: backups.b.retries",
    )
    assert [one for one in expected if one not in told] == [], told
    assert len(caught.value.problems) >= len(expected)
