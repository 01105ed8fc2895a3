"""YAML is read strictly, by libyaml and by its Python twin alike."""



from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from opsctl.engine import load
from opsctl.engine.load import Document, load_document, merge, validate
from opsctl.errors import ConfigError
from opsctl.model.config import Config
from opsctl.model.playbook import Playbook


@pytest.fixture(autouse=True, params=["libyaml", "python"])
def _loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(load, "_Loader", yaml.CLoader if request.param == "libyaml" else yaml.Loader)
    yield


def told(document: Document) -> list[str]:
    return [str(problem) for problem in document.problems]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True), ("false", False), ("null", None), ("~", None), ("", None), ("0", 0), ("-7", -7), ("42", 42),
        ("1.5", 1.5), ("-2e3", -2000.0),
        *((word, word) for word in (
            "on", "off", "yes", "no", "True", "FALSE", "Null", "y", "022", "0x1F", "0o17", "0b1", "1_000", "+5", "1:30",
            "2026-12-01", "2026-12-01T09:30:00Z", ".5", "1.", ".inf", ".nan", "1e999", "9" * 5000, "=", "portal",
            "1.2.3", "-x",
        )),
        ('"true"', "true"), ("'42'", "42"), ('""', ""), ('"a\\tb\\nc"', "a\tb\nc"), ("|-\n  one\n  two", "one\ntwo"),
        ("नगर", "नगर"),
    ],
)  # fmt: skip
def test_a_scalar_is_of_a_core_type_or_text(text: str, value: Any) -> None:
    document = load_document(f"key: {text}\n", "a.yaml")
    assert told(document) == []
    found = document.data["key"]
    assert (type(found), found) == (type(value), value)


def test_every_place_has_its_line() -> None:
    text = "zones:\n  portal:\n    title: x\n    list:\n      - 1\n      - {a: 1,\n         b: 2}\n"
    document = load_document(text, "a.yaml")
    assert document.data == {"zones": {"portal": {"title": "x", "list": [1, {"a": 1, "b": 2}]}}}
    place = ("zones", "portal", "list")
    assert [document.line(p) for p in (place, (*place, 0), (*place, 1), (*place, 1, "b"), (*place, 9))] == [
        4,
        5,
        6,
        7,
        4,
    ]
    assert document.line(("nothing",)) == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\nb: 2\na: 3\n", "a.yaml:3: a: is already there, in line 1"),
        ("x:\n  a: 1\n  a: {b: 1}\n", "a.yaml:3: x.a: is already there, in line 2"),
        ("a: &name 1\n", "a.yaml:1: a: anchors (&name) are not used here"),
        ("a: *name\n", "a.yaml:1: a: aliases (*name) are not used here; write the value again"),
        ("a:\n  <<: {b: 1}\n", "a.yaml:2: a.<<: merge keys (<<) are not used here; write the keys again"),
        ("a: !!python/object:os.system x\n", "a.yaml:1: a: tags (!name) are not used here"),
        ("a: ! x\n", "a.yaml:1: a: tags (!name) are not used here"),
        ("a: !!str 1\n", "a.yaml:1: a: tags (!name) are not used here"),
        ("a: 1\n---\nb: 1\n", "a.yaml:2: a second document starts here (---); one file holds one"),
        ("a: 1\n---\n", "a.yaml:2: a second document starts here (---); one file holds one"),
        ("%YAML 1.1\n---\na: 1\n", "a.yaml:1: lines that start with % are not used here"),
        ("1: x\n", "a.yaml:1: 1: a key must be text; put it in quotes"),
        ("true: x\n", "a.yaml:1: true: a key must be text; put it in quotes"),
        ("a:\n  ~: x\n", "a.yaml:2: a.~: a key must be text; put it in quotes"),
        ("[a, b]: x\n", "a.yaml:1: a key must be one word or a text in quotes"),
        ("? {a: 1}\n: x\n", "a.yaml:1: a key must be one word or a text in quotes"),
        ("a: 1\nb: x\ty\n", "a.yaml:2: the line holds a tab; use spaces"),
        ("a: 1\n\tb: 2\n", "a.yaml:2: the line holds a tab; use spaces"),
        ("a: \x1b[31m\n", "a.yaml:1: the line holds the character U+001B, which nobody sees"),
        ("a: 1\nb: x\u202ey\n", "a.yaml:2: the line holds the character U+202E, which nobody sees"),
        ("a: 1\u2028b: 2\n", "a.yaml:1: the line holds the character U+2028, which nobody sees"),
        ("a: 1\rb: 2\n", "a.yaml:1: the line holds the character U+000D, which nobody sees"),
        ('a: "x\\0y"\n', "a.yaml:1: a: the text holds the character U+0000, which nobody sees"),
        ('a: "x\\u202ey"\n', "a.yaml:1: a: the text holds the character U+202E, which nobody sees"),
        ("\ufeffa: 1\n", "a.yaml:1: the file starts with a byte order mark; save it as UTF-8 without one"),
    ],
)
def test_what_is_not_plain_is_refused_with_its_line(text: str, problem: str) -> None:
    assert problem in told(load_document(text, "a.yaml"))
    with pytest.raises(ConfigError):
        validate(Config, [load_document(text, "a.yaml")])


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"a: 1\nb: \xff\n", "a.yaml:2: byte 0xff is not UTF-8; save the file as UTF-8"),
        ("a: é".encode("latin-1"), "a.yaml:1: byte 0xe9 is not UTF-8; save the file as UTF-8"),
        ("a: 1".encode("utf-16"), "a.yaml:1: byte 0xff is not UTF-8; save the file as UTF-8"),
        (b"a: 1\n" + b"#" * load.LARGEST, "a.yaml:1: the file is larger than 4 MiB"),
    ],
)
def test_bytes_that_are_no_such_file_are_refused(content: bytes, problem: str) -> None:
    document = load_document(content, "a.yaml")
    assert told(document) == [problem]
    assert not document.complete


@pytest.mark.parametrize(
    "text", ["[" * 5000, "{a: " * 5000, "- " * 5000, "".join(f"{' ' * i}a:\n" for i in range(200))]
)
def test_what_is_nested_without_end_is_refused(text: str) -> None:
    document = load_document(text, "a.yaml")
    assert "nested deeper than 64" in told(document)[-1]
    assert not document.complete


def test_reading_ends_after_a_thousand_mistakes() -> None:
    document = load_document("a: 1\n" * 5000, "a.yaml")
    assert (len(document.problems), document.complete) == (1000, False)
    with pytest.raises(ConfigError) as caught:
        validate(Config, [document])
    assert len(caught.value.problems) == load.MOST_SHOWN + 1
    assert caught.value.problems[-1] == "… and 501 more"


def test_a_file_nested_as_deep_as_allowed_is_read() -> None:
    assert told(load_document("[" * 64 + "]" * 64, "a.yaml")) == []


def test_a_billion_laughs_stay_small() -> None:
    lines = ["a0: &a0 [ha, ha]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10)]
    document = load_document("\n".join(lines), "a.yaml")
    assert len(document.problems) == 10 + 81
    assert document.data["a9"] == [None] * 9


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: 1\nb\nc: 2\n", 3), ("a: b: c\n", 1), ("a: [1, 2\nb: 1\n", 2), ("a: 1\n b: 2\n", 2), ("a: @x\n", 1),
        ('a: "x\n', 2), ("a: 'x\n\n\n", 4), ("a:\n  - 1\n b: 2\n", 3), ("a: %x\n", 1), ("a: {b: 1]\n", 1), ("}\n", 1),
    ],
)  # fmt: skip
def test_a_syntax_error_has_its_line_and_ends_the_reading(text: str, line: int) -> None:
    document = load_document(text, "a.yaml")
    (problem,) = document.problems
    assert "not readable as YAML: " in problem.message
    assert (
        abs(problem.line - line) <= 1
    )  # libyaml and its twin point at the end of one line or the start of the next
    assert not document.complete


def test_mistakes_before_a_syntax_error_are_told_with_it() -> None:
    document = load_document("a: 1\na: 2\nb: &x 3\nc: [\n", "a.yaml")
    assert [problem.line for problem in document.problems][:2] == [2, 3]
    assert "not readable" in document.problems[2].message
    assert document.data["b"] == 3


def test_windows_line_ends_count_as_one_line() -> None:
    document = load_document("a: 1\r\nb: 2\r\na: 3\r\n", "a.yaml")
    assert told(document) == ["a.yaml:3: a: is already there, in line 1"]


def problems(text: str, model: Any = Config) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        validate(model, [load_document(text, "a.yaml")], context={"directory": "/etc/opsctl"})
    assert caught.value.code == 10
    return list(caught.value.problems)


BACKUP = "repositories:\n  main: {url: /srv/r, password_file: p}\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("organisation: {nam: x}", "a.yaml:1: organisation.nam: unknown key; did you mean name?"),
        ("organisation: {name: x, zzz: 1}", "a.yaml:1: organisation.zzz: unknown key; known here: name, timezone, languages, ntp, protected_system"),
        ("organisation: {name: 5}", "a.yaml:1: organisation.name: must be text; put it in quotes"),
        ("organisation: {name: [x]}", "a.yaml:1: organisation.name: must be text, not a list"),
        ("organisation: {name: x, timezone: Asia/Kolkatta}",
         "a.yaml:1: organisation.timezone: must be a time zone such as Asia/Kolkata or UTC; did you mean Asia/Kolkata?"),
        ("organisation: {name: x, timezone: Asia}",
         "a.yaml:1: organisation.timezone: must be a time zone such as Asia/Kolkata or UTC"),
        ("organisation: {name: x, timezone: /etc/passwd}",
         "a.yaml:1: organisation.timezone: must be a time zone such as Asia/Kolkata or UTC"),
        ("organisation: {name: x, languages: [en, hj]}", "a.yaml:1: organisation.languages[1]: must be en or hi"),
        ("organisation: {name: x, languages: en}", "a.yaml:1: organisation.languages: must be a list ([one, two]), not text"),
        ("organisation:\n", "a.yaml:1: organisation: must be a mapping (key: value), and is empty"),
        ("sources: [a]", "a.yaml:1: sources: must be a mapping (key: value), not a list"),
        ("services: {tax: {unit: tax, proofs: [{kind: rows}]}}",
         "a.yaml:1: services.tax.proofs[0].kind: rows is about what the service restores: it has no restores:"),
        ("services: {tax: {unit: tax, proofs: [{kind: html}]}}",
         "a.yaml:1: services.tax.proofs[0].kind: must be rows, files, http, tcp or command"),
        ("services: {tax: {unit: tax, proofs: [{kind: http, url: tax.local}]}}",
         "a.yaml:1: services.tax.proofs[0].url: must be an address such as https://…"),
        ("services: {tax: {unit: tax, proofs: [{kind: http, url: 'https://a:b@tax.local/'}]}}",
         "a.yaml:1: services.tax.proofs[0].url: must not hold a user or password"),
        ("services: {tax: {unit: tax, proofs: [{kind: http, url: 'http://tax.local/', headers: {Authorization: x}}]}}",
         "a.yaml:1: services.tax.proofs[0].headers.Authorization: a secret is never a value in this file; prove it with a command "
         "that reads it itself"),
        ("services: {tax: {unit: tax, proofs: [{kind: tcp, address: tax.local, port: 70000}]}}",
         "a.yaml:1: services.tax.proofs[0].port: must be at most 65535"),
        ("services: {tax: {unit: tax, proofs: [{kind: command}]}}",
         "a.yaml:1: services.tax.proofs[0].argv: is missing"),
        ("services: {tax: {unit: tax, proofs: [{kind: command, argv: [ask, --password=x]}]}}",
         "a.yaml:1: services.tax.proofs[0].argv[1]: a command line can be seen by others: let the command read its secret itself"),
        ("scan: {largest: 0}", "a.yaml:1: scan.largest: must be at least 1"),
        ("scan: {rules: yara, timeout: fast}", "a.yaml:1: scan.timeout: must be a duration such as 3d, 12h or 45m"),
        ("services: {tax: {running: [a], stop: [b]}}",
         "a.yaml:1: services.tax: needs unit:, or all of running:, stop: and start: (start missing)"),
        ("services: {tax: {unit: tax, needs: [db]}, db: {unit: db, needs: [tax]}}",
         "a.yaml:1: services.tax.needs: tax needs itself, by way of others"),
        ("services: {tax: {unit: tax, needs: [databse]}, database: {unit: db}}",
         "a.yaml:1: services.tax.needs[0]: there is no service databse; did you mean database?"),
        ("services: {tax: {unit: tax, on: db-1}}", "a.yaml:1: services.tax.on: there is no host db-1"),
        *((f"services: {{tax: {{{said}}}}}\nsources:\n  up: {{kind: paths, paths: [/up]}}\n  db: {{kind: postgresql, database: x}}\n"
           "  lost: {kind: paths, paths: [/lost]}\n"
           "repositories: {main: {url: /r, password_file: /p}}\nbackups:\n  all: {sources: [up, db], repository: main, every: 3d}\n"
           "  ups: {sources: [up], repository: main, every: 3d}\n", f"a.yaml:1: services.tax{told}") for said, told in (
              ("restores: [upp]", ".restores[0]: there is no source upp; did you mean up?"),
              ("restores: [up]", ".restores: all, ups hold these: say with backup: which of them it is brought back from"),
              ("restores: [up, db], backup: ups", ".backup: ups does not hold db"),
              ("restores: [lost]", ".restores: lost is in no backup"),
              ("restores: [db], backup: alll", ".backup: there is no backup alll; did you mean all?"),
              ("restores: [db], into: {up: /x}", ".into.up: up is not among what it restores"),
              ("restores: [db], into: {db: /x}", ".into.db: must be the name of a database"),
              ("restores: [up], backup: ups, into: {up: x}", ".into.up: must be an absolute path"),
              ("unit: tax, rpo: 1d", ".rpo: is for a service that restores: something"),
          )),
        *((f"zones: {{z: {{title: Z}}, empty: {{title: E}}}}\nhosts:\n  n: {{address: 10.0.0.1, isolation: nftables, zone: z}}\n  g: {{address: 10.0.0.2}}\n"
           f"reopening:\n  pilot: {{{said}}}\n", f"a.yaml:6: reopening.pilot{told}") for said, told in (
              ("watch: 2h", ": opens nothing: needs hosts: and allow:, or open:, is_open: and close:"),
              ("hosts: [n]", ": opens nothing: needs hosts: and allow:, or open:, is_open: and close:"),
              ("hosts: [n], allow: [x]", ".allow[0]: must be an address, a prefix or an opening, such as 10.1.0.0/16 or in:10.1.0.0/16:443"),
              ("hosts: [m], allow: [10.1.0.0/16]", ".hosts[0]: there is no host and no zone m"),
              ("hosts: [empty], allow: [10.1.0.0/16]", ".hosts[0]: there is no host in zone empty"),
              ("hosts: [g], allow: [10.1.0.0/16]",
               ".hosts[0]: g: only a host with isolation: nftables opens for a time; use open:, is_open: and close:"),
              ("hosts: [n], allow: [10.1.0.0/16], open: [a]", ".open: is for a wave without hosts: and allow:"),
              ("open: [a], close: [b]", ": needs open:, is_open: and close: (is_open missing)"),
              ("open: [a], close: [b], is_open: [c], on: nnn-x", ".on: there is no host nnn-x"),
              ("open: [a], close: [b], is_open: [c], services: [tax]", ".services[0]: there is no service tax"),
          )),
        ("reopening: {later: {}}", "a.yaml:1: reopening.later: unknown key; known here: internal, pilot, all-bodies, public"),
        ("services:\n  one: {restores: [db]}\n  two: {restores: [db]}\nsources: {db: {kind: postgresql, database: x}}\n"
         "repositories: {main: {url: /r, password_file: /p}}\nbackups: {all: {sources: [db], repository: main, every: 3d}}\n",
         "a.yaml:3: services.two.restores[0]: db is restored for one already; what lives on it as well says needs: [one]"),
        ("engine: {database: 'postgresql://u:hunter2@h/d'}",
         "a.yaml:1: engine.database: must be null; nothing else is supported by this version of opsctl"),
        ("sources:\n  db: {kind: postgresql, database: x, host: db-1}", "a.yaml:2: sources.db.host: there is no host db-1"),
        ("sources:\n  db: {kind: postgresql, database: x, run: host}",
         "a.yaml:2: sources.db.run: is for a source with host: (on which machine restic runs)"),
        ("hosts:\n  pc: {address: 10.0.0.1, os: windows}\nsources:\n  db: {kind: postgresql, database: x, host: pc}",
         "a.yaml:4: sources.db.host: is os: windows, which is not logged into"),
        ("hosts:\n  db-1: {address: 10.0.0.1}\nsources:\n  db: {kind: sqlite, path: x.sqlite, host: db-1}",
         "a.yaml:4: sources.db.path: must be absolute: it is a path of another machine"),
        ("hosts:\n  db-1: {address: 10.0.0.1}\nsources:\n  db: {kind: sqlite, path: ~/x.sqlite, host: db-1}",
         "a.yaml:4: sources.db.path: ~ is not expanded here; write the whole path"),
        ("sources:\n  db: {kind: postgres, database: x}",
         "a.yaml:2: sources.db.kind: must be paths, postgresql, mariadb, sqlite or command; did you mean postgresql?"),
        ("sources:\n  db: {database: x}", "a.yaml:2: sources.db.kind: is missing: paths, postgresql, mariadb, sqlite or command"),
        ("sources:\n  db: {kind: 5}", "a.yaml:2: sources.db.kind: must be paths, postgresql, mariadb, sqlite or command"),
        ("sources:\n  db: x", "a.yaml:2: sources.db: must be a mapping (key: value), not text"),
        ("sources:\n  db: {kind: postgresql}", "a.yaml:2: sources.db.database: is missing"),
        ("sources:\n  up: {kind: paths, paths: []}", "a.yaml:2: sources.up.paths: needs at least 1 entry"),
        ("sources:\n  up: {kind: paths, paths: [/a, ~/b]}",
         "a.yaml:2: sources.up.paths[1]: ~ is not expanded here; write the whole path"),
        ("sources:\n  up: {kind: paths, paths: [/a], paths_: 1}", "a.yaml:2: sources.up.paths_: unknown key; did you mean paths?"),
        ("sources:\n  up: {kind: paths, paths: [/a], at_least: {files: -1}}",
         "a.yaml:2: sources.up.at_least.files: must be at least 0"),
        ("sources:\n  up: {kind: paths, paths: [/a], at_least: {bytes: 10GB}}",
         "a.yaml:2: sources.up.at_least.bytes: must be a size such as 10GiB, 500MiB or 1.5TiB (units of 1024: "
         "B, KiB, MiB, GiB, TiB, PiB)"),
        ("sources:\n  up: {kind: paths, paths: [/a], at_least: {files: 022}}",
         "a.yaml:2: sources.up.at_least.files: must be a whole number, without quotes, leading zeros or a plus"),
        ("sources:\n  up: {kind: paths, paths: [/a], at_least: {files: 1.0}}",
         "a.yaml:2: sources.up.at_least.files: must be a whole number, without a point"),
        ("sources:\n  db: {kind: postgresql, database: x, port: 99999}", "a.yaml:2: sources.db.port: must be at most 65535"),
        ("sources:\n  db: {kind: postgresql, database: x, proof: ful}",
         "a.yaml:2: sources.db.proof: must be full, counts or off; did you mean full?"),
        ("sources:\n  db: {kind: postgresql, database: 'host=h dbname=x'}",
         "a.yaml:2: sources.db.database: must be a plain name, without = or :// and not starting with a hyphen"),
        ("sources:\n  db: {kind: postgresql, database: -x}",
         "a.yaml:2: sources.db.database: must be a plain name, without = or :// and not starting with a hyphen"),
        ("sources:\n  Portal_DB: {kind: sqlite, path: /a}",
         "a.yaml:2: sources.Portal_DB: must be a name of small letters, digits and hyphens (a-z 0-9 -), at most 63 of them"),
        (BACKUP + "  two: {url: /srv/r}",
         "a.yaml:3: repositories.two: the password is missing: one of password_file, password_command or password_env"),
        (BACKUP + "  two: {url: /srv/r, password_file: }",
         "a.yaml:3: repositories.two: the password is missing: one of password_file, password_command or password_env"),
        (BACKUP + "  two: {url: /srv/r, password_file: a, password_env: B}",
         "a.yaml:3: repositories.two.password_env: only one of password_file or password_env can be given"),
        (BACKUP + "  two: {url: /srv/r, password_env: B-C}",
         "a.yaml:3: repositories.two.password_env: must be the name of an environment variable (letters, digits, _)"),
        (BACKUP + "  two: {url: /srv/r, password_command: pass show x}",
         "a.yaml:3: repositories.two.password_command: must be a list ([one, two]), not text"),
        (BACKUP + "  two: {url: /srv/r, password_file: a, append_only: yes}",
         "a.yaml:3: repositories.two.append_only: must be true or false; this word is text here"),
        (BACKUP + "  two: {url: 'b2:bucket:x', password_file: a}",
         "a.yaml:3: repositories.two.url: a store of kind b2 is not supported by this version of opsctl; use a path, "
         "rest:https://… or s3:https://…"),
        (BACKUP + "  two: {url: 's3:bucket/x', password_file: a, access_key_file: a, secret_key_file: b}",
         "a.yaml:3: repositories.two.url: must be s3:https://host/bucket/prefix"),
        (BACKUP + "  two: {url: 's3:https://h/B_1', password_file: a, access_key_file: a, secret_key_file: b}",
         "a.yaml:3: repositories.two.url: must be s3:https://host/bucket/prefix; 'B_1' is no name of a bucket "
         "(3 to 63 of a-z 0-9 . -)"),
        (BACKUP + "  two: {url: 's3:https://AKIA:hunter2@h/bucket', password_file: a, access_key_file: a, secret_key_file: b}",
         "a.yaml:3: repositories.two.url: must not hold an access key; use the keys access_key_file and secret_key_file"),
        (BACKUP + "  two: {url: 's3:https://h/bucket', password_file: a, access_key_file: a}",
         "a.yaml:3: repositories.two: the secret of the access key is missing: one of secret_key_file, secret_key_command "
         "or secret_key_env"),
        (BACKUP + "  two: {url: 's3:https://h/bucket', password_file: a, access_key_file: a, access_key_env: B, secret_key_file: b}",
         "a.yaml:3: repositories.two.access_key_env: only one of access_key_file or access_key_env can be given"),
        (BACKUP + "  two: {url: 's3:https://h/bucket', password_file: a, access_key_file: a, secret_key_file: b, user: u}",
         "a.yaml:3: repositories.two.user: is for a REST server (url: rest:https://…) only"),
        (BACKUP + "  two: {url: 's3:https://h/bucket', password_file: a, access_key_file: a, secret_key_file: b, append_only: true}",
         "a.yaml:3: repositories.two.append_only: is what a REST server promises; an S3 store does by object_lock"),
        (BACKUP + "  two: {url: /srv/r, password_file: a, object_lock: {mode: COMPLIANCE, days: 30}}",
         "a.yaml:3: repositories.two.object_lock: is for an S3 store (url: s3:https://host/bucket/prefix) only"),
        (BACKUP + "  two: {url: /srv/r, password_file: a, secret_key_env: S}",
         "a.yaml:3: repositories.two.secret_key_env: is for an S3 store (url: s3:https://host/bucket/prefix) only"),
        (BACKUP + "  two: {url: 'https://h/x', password_file: a}",
         "a.yaml:3: repositories.two.url: must start with rest: for a REST server (rest:https://host:8000/name)"),
        (BACKUP + "  two: {url: 'rest:https://u:hunter2@h/x', password_file: a}",
         "a.yaml:3: repositories.two.url: must not hold a user or password; use the keys user and secret_file"),
        (BACKUP + "  two: {url: 'rest:https://h:port/x', password_file: a}",
         "a.yaml:3: repositories.two.url: must be rest:https://host:port/name; this address cannot be read"),
        ("repositories:\n  two: {url: 'rest:http://[', user: u}\n  other: {user: u}\nbackups: {b: {sources: [f], repository: two}}\n"
         "sources: {f: {kind: paths, paths: [/x], host: h, run: host}}",
         "a.yaml:2: repositories.two.url: must be rest:https://host:port/name; this address cannot be read"),
        (BACKUP + "  two: {url: /srv/r, password_file: a, user: u}",
         "a.yaml:3: repositories.two.user: is for a REST server (url: rest:https://…) only"),
        (BACKUP + "  two: {url: 'rest:https://h/x', password_file: a, user: u}",
         "a.yaml:3: repositories.two.user: needs its password: one of secret_file, secret_command or secret_env"),
        (BACKUP + "  two: {url: 'rest:https://h/x', password_file: a, secret_env: S}",
         "a.yaml:3: repositories.two.secret_env: needs user beside it"),
        (BACKUP + "backups:\n  x: {sources: [], repository: main}", "a.yaml:4: backups.x.sources: needs at least 1 entry"),
        (BACKUP + "backups:\n  x: {sources: [up], repository: mian}", "a.yaml:4: backups.x.sources[0]: there is no source up"),
        (BACKUP + "backups:\n  x: {sources: [up], repository: mian}",
         "a.yaml:4: backups.x.repository: there is no repository mian; did you mean main?"),
        (BACKUP + "backups:\n  x: {sources: [up, up], repository: main}", "a.yaml:4: backups.x.sources[1]: up is listed twice"),
        (BACKUP + "backups:\n  x: {sources: [up], repository: main, every: 3}",
         "a.yaml:4: backups.x.every: must be a duration such as 3d, 12h or 45m"),
        (BACKUP + "backups:\n  x: {sources: [up], repository: main, every: 0d}",
         "a.yaml:4: backups.x.every: must be longer than nothing"),
        (BACKUP + "backups:\n  x: {sources: [up], repository: main, copies: [a]}",
         "a.yaml:4: backups.x.copies[0]: there is no repository a"),
        (BACKUP + "backups:\n  x: {sources: [up], repository: main, copies: [main]}",
         "a.yaml:4: backups.x.copies[0]: main is the backup's own repository: a copy lies in another one"),
        ("people:\n  asha: {name: A, deputy_of: asha}", "a.yaml:2: people.asha.deputy_of: nobody is their own deputy"),
        ("people:\n  asha: {name: A, deputy_of: imran}", "a.yaml:2: people.asha.deputy_of: there is no person imran"),
        ("people:\n  asha: {name: A, phone: 9876543210}", "a.yaml:2: people.asha.phone: must be text; put it in quotes"),
        ("people:\n  asha: {name: A, ssh_key: ssh-ed25519 AAAA}",
         "a.yaml:2: people.asha.ssh_key: is not a whole SSH public key; copy the line of the .pub file again"),
        ("people:\n  asha:\n    name: A\n    ssh_key: |\n      -----BEGIN OPENSSH PRIVATE KEY-----\n      hunter2\n",
         "a.yaml:4: people.asha.ssh_key: is a private key; take it out of this file, make a new pair, and put the public key here"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_in_plain_words_at_its_line(text: str, problem: str) -> None:
    found = problems(text)
    assert problem in found
    assert "hunter2" not in "\n".join(found)
    for word in ("pydantic", "http://", "errors.", "Input ", "Value error", "‹"):
        assert word not in "\n".join(found).replace("rest:https://", "")


@pytest.mark.parametrize("key", ["password", "secret", "passphrase", "api_key", "db_password", "token"])
@pytest.mark.parametrize(
    "place", ["repositories:\n  main: {url: /a, ", "sources:\n  x: {kind: sqlite, path: /a, ", "{"]
)
def test_a_secret_as_a_value_is_refused_and_never_shown(key: str, place: str) -> None:
    text = f"{place}{key}: hunter2{'}'}\n"
    with pytest.raises(ConfigError) as caught:
        validate(Config, [load_document(text, "a.yaml")])
    error = caught.value
    (problem,) = [problem for problem in error.problems if f"{key}: " in problem]
    assert "a secret is never a value in this file" in problem
    assert "hunter2" not in f"{error} {error.as_dict()} {error!r} {error.__cause__} {error.__context__}"


def test_a_mistake_is_told_once() -> None:
    """What reading refused is not told again as a wrong type, a missing key or a broken reference."""
    assert problems(BACKUP + "  two: {url: *x, password_file: !!str p}\n", Config) == [
        "a.yaml:3: repositories.two.url: aliases (*name) are not used here; write the value again",
        "a.yaml:3: repositories.two.password_file: tags (!name) are not used here",
    ]
    found = problems("backups:\n  x: {sources: [up], repository: main}\nsources:\n  up: {kind: paths\n")
    assert len(found) == 1 and "not readable" in found[0]


def test_problems_of_several_files_come_in_their_order() -> None:
    first = load_document("organisation: {name: 1}\n", "a.yaml")
    second = load_document("state: [x]\norganisation: {timezone: x}\nsources: {}\nstate: y\n", "b.yaml")
    with pytest.raises(ConfigError) as caught:
        validate(Config, [first, second])
    assert list(caught.value.problems) == [
        "a.yaml:1: organisation.name: must be text; put it in quotes",
        "b.yaml:1: state: must be text, not a list",
        "b.yaml:2: organisation.timezone: must be a time zone such as Asia/Kolkata or UTC",
        "b.yaml:4: state: is already there, in line 1",
    ]
    assert caught.value.where == "a.yaml:1"
    assert str(caught.value) == "4 mistakes in the configuration"


def test_a_key_in_two_files_names_both() -> None:
    first = load_document("state: /a\nrepositories:\n  main: {}\n", "a.yaml")
    second = load_document("state: /b\nrepositories:\n  main: {}\n  two: {}\n", "b.yaml")
    merged = merge([first, second])
    assert [str(problem) for problem in merged.problems] == [
        "b.yaml:1: state: is already there, in a.yaml:1",
        "b.yaml:3: repositories.main: is already there, in a.yaml:3",
    ]
    assert merged.data == {"state": "/a", "repositories": {"main": {}, "two": {}}}
    assert merged.owner(("repositories", "two", "url")).name == "b.yaml"
    assert first.data["repositories"] == {"main": {}}, "merging changes no document"


PLAYBOOK = "name: x\ntitle: X\ninputs:\n  backup: {type: backup, help: h}\nsteps:\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "a.yaml:1: must be a mapping (key: value), and is empty"),
        ("- 1", "a.yaml:1: must be a mapping (key: value), not a list"),
        ("title: X", "a.yaml:1: name: is missing"),
        (PLAYBOOK, "a.yaml:5: steps: must be a list ([one, two]), and is empty"),
        (PLAYBOOK + "  - {id: a, uses: backup, after: [b]}", "a.yaml:6: steps[0].after[0]: there is no step b"),
        (PLAYBOOK + "  - {id: a, uses: backup, after: [a]}", "a.yaml:6: steps[0].after[0]: a step cannot wait for itself"),
        (PLAYBOOK + "  - {id: a, uses: backup}\n  - {id: a, uses: verify}", "a.yaml:7: steps[1].id: step a is already there"),
        (PLAYBOOK + "  - {id: a, uses: x, after: [c]}\n  - {id: b, uses: x}\n  - {id: c, uses: x}",
         "a.yaml:6: steps[0]: steps wait for each other: a → c → b → a"),
        (PLAYBOOK + "  - {id: a, uses: x, with: {b: '${bakcup}'}}",
         "a.yaml:6: steps[0].with.b: there is no input bakcup; did you mean backup?"),
        (PLAYBOOK + "  - {id: a, uses: x, with: {b: {c: [1, '${item}']}}}",
         "a.yaml:6: steps[0].with.b.c[1]: ${item} is known only in the with of a step that has for_each"),
        (PLAYBOOK + "  - {id: a, uses: x, with: {b: '${Backup}'}}",
         "a.yaml:6: steps[0].with.b: a reference is written ${name}: small letters, digits and _"),
        (PLAYBOOK + "  - {id: a, uses: x, for_each: {at_once: 2}}",
         'a.yaml:6: steps[0].for_each: needs what to go through: items: [a, b], or a collection such as sources: "${backup}"'),
        (PLAYBOOK + "  - {id: a, uses: x, for_each: {items: [1], at_onec: 2}}",
         "a.yaml:6: steps[0].for_each.at_onec: only one thing can be gone through; did you mean at_once?"),
        (PLAYBOOK + "  - {id: a, uses: x, for_each: {items: [[1]]}}",
         "a.yaml:6: steps[0].for_each.items: must be a list of texts or numbers, or a reference such as ${backup}"),
        (PLAYBOOK + "  - {id: a, uses: x, for_each: {items: [1], tolerate: 101%}}",
         "a.yaml:6: steps[0].for_each.tolerate: must be a number of items or a share such as 5%"),
        (PLAYBOOK + "  - {id: a, uses: x, for_each: {items: [1], at_once: 0}}",
         "a.yaml:6: steps[0].for_each.at_once: must be at least 1"),
        (PLAYBOOK + "  - {id: a, uses: x, when: y}",
         "a.yaml:6: steps[0].when: there are no conditions in playbooks: a step that finds nothing to do does nothing"),
        (PLAYBOOK + "  - {id: a, uses: x, on_unknown: repaet}",
         "a.yaml:6: steps[0].on_unknown: must be repeat or ask; did you mean repeat?"),
        (PLAYBOOK + "  - {id: a, uses: x, title: 5}", "a.yaml:6: steps[0].title: must be a mapping (key: value), not a number"),
        (PLAYBOOK + "  - {id: a, uses: x, title: ''}", "a.yaml:6: steps[0].title: must be one line of text"),
        (PLAYBOOK + "  - {id: a, uses: x, title: {hi: x}}", "a.yaml:6: steps[0].title.en: is missing"),
        (PLAYBOOK + "  - {id: a, uses: x, with_: {}}", "a.yaml:6: steps[0].with_: unknown key; did you mean with?"),
        ("name: x\ntitle: X\ninputs:\n  n: {type: integer, help: h, default: '3'}\nsteps: [{id: a, uses: x}]",
         "a.yaml:4: inputs.n.default: must be a whole number"),
        ("name: x\ntitle: X\ninputs:\n  n: {type: datetime, help: h, default: 2026-12-01T09:30:00}\nsteps: [{id: a, uses: x}]",
         "a.yaml:4: inputs.n.default: must say its offset from UTC, as in 2026-12-01T09:30:00+05:30"),
        ("name: x\ntitle: X\ninputs:\n  n: {type: nothing, help: h}\nsteps: [{id: a, uses: x}]",
         "a.yaml:4: inputs.n.type: must be string, datetime, integer, duration, backup, source, repository, set, path, "
         "host, zone, list or incident; did you mean string?"),
        ("name: x\ntitle: X\ninputs:\n  item: {type: string, help: h}\nsteps: [{id: a, uses: x}]",
         "a.yaml:4: inputs.item: must be small letters, digits and _, starting with a letter; not item"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_playbook_is_told_at_its_line(text: str, problem: str) -> None:
    assert problem in problems(text, Playbook)


def test_a_playbook_becomes_steps_and_a_graph() -> None:
    text = (
        "name: contain\ntitle: {en: Cut off, hi: काटो}\nprotocol: cert-in\nincident_types: [malicious-code]\n"
        "inputs:\n  backup: {type: backup, help: which one}\n  wait: {type: duration, help: h, default: 3d}\n"
        "steps:\n"
        "  - {id: one, uses: incident, with: {at: '${wait}', list: [1, true, null]}, phase: declare}\n"
        "  - {id: two, uses: isolate, after: [], for_each: {sources: '${backup}', at_once: 512, tolerate: 5%}, "
        "with: {host: '${item}'}, may_fail: true}\n"
        "  - {id: three, uses: report, on_unknown: repeat}\n"
        "  - {id: four, uses: approve, after: [one, three], always: true}\n"
    )
    playbook = validate(Playbook, [load_document(text, "contain.yaml")], what="playbook contain")
    assert playbook.graph == {"one": (), "two": (), "three": ("two",), "four": ("one", "three")}
    assert (playbook.title.text("hi"), str(playbook.title)) == ("काटो", "Cut off")
    assert [playbook.inputs[name].required for name in ("backup", "wait")] == [True, False]
    assert playbook.steps[0].with_ == {"at": "${wait}", "list": [1, True, None]}
    loop = playbook.steps[1].for_each
    assert loop is not None
    assert (loop.collection, loop.value, loop.at_once, loop.tolerated(412)) == (
        "sources",
        "${backup}",
        512,
        20,
    )


def test_a_long_playbook_is_no_deep_one() -> None:
    """Thousands of steps that wait for the one behind them: a walk that recursed would fall over."""
    steps = "".join(f"  - {{id: s{i}, uses: x, after: [s{i + 1}]}}\n" for i in range(5000))
    found = problems(PLAYBOOK + steps, Playbook)
    assert found == ["a.yaml:5005: steps[4999].after[0]: there is no step s5000"]
