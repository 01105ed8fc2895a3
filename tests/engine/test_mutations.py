"""Twenty mistakes are told as twenty; ten thousand broken files never break the reader."""



from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opsctl.engine.load import load_document, validate
from opsctl.errors import ConfigError
from opsctl.model.config import Config
from opsctl.model.config_sense import doubts
from opsctl.model.fields import Part
from opsctl.model.fitting import Unfit, fitted
from opsctl.model.judging import judged
from opsctl.model.part import NotValid
from opsctl.model.playbook import Playbook

PROJECT = Path(__file__).resolve().parents[2]
CONFIGURATION = (PROJECT / "configs" / "department.example.yaml").read_text()
PLAYBOOK = """\
name: contain
title: {en: Cut a zone off, hi: एक क्षेत्र को अलग करो}
protocol: cert-in
incident_types: [malicious-code]
inputs:
  backup: {type: backup, help: which one}
  noticed_at: {type: datetime, help: when anyone first noticed}
  wait: {type: duration, help: how long, default: 3d}
steps:
  - {id: declare, phase: declare, uses: incident, with: {noticed_at: "${noticed_at}"}}
  - id: cut-off
    uses: isolate
    after: []
    for_each: {sources: "${backup}", at_once: 512, tolerate: 5%}
    with: {host: "${item}", list: [1, 2.5, true, null, text]}
  - {id: evidence, uses: collect, after: [cut-off], may_fail: true, on_unknown: repeat}
  - {id: report, uses: report, after: [declare, evidence], duty: certin-initial-report, always: true, title: Report}
"""

SAMPLE = settings(max_examples=300, deadline=None, database=None, derandomize=True,
                  suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])  # fmt: skip
ALL = settings(SAMPLE, max_examples=2_500, derandomize=False)


def holds(content: str | bytes, model: type[Part]) -> None:
    """The file is valid, or refused with every mistake in one shape; nothing else ever happens."""
    document = load_document(content, "some/file.yaml")
    given_text = content.decode("utf-8", "replace") if isinstance(content, bytes) else content
    last = given_text.count("\n") + 1
    same_both_ways(model, document.data)
    try:
        made = validate(model, [document], context={"directory": "/etc/opsctl"})
    except ConfigError as error:
        assert error.code == 10
        assert error.problems
        for problem in error.problems:
            found = re.fullmatch(r"some/file\.yaml:([0-9]+): (\S.*)", problem)
            assert found or problem.startswith("… and "), problem
            assert found is None or 1 <= int(found[1]) <= last, problem
            assert problem.isprintable() or "\u200d" in problem or "\u200c" in problem, problem
            for jargon in ("pydantic", "input should", "value error", "validat", "‹"):
                assert jargon not in problem.lower() or jargon in given_text.lower()
    else:
        assert document.complete and not document.problems
        if isinstance(made, Config):
            list(doubts(made))
            for repository in made.repositories.values():
                assert repository.password.label
        elif isinstance(made, Playbook):
            assert set(made.graph) == {step.id for step in made.steps}


def same_both_ways(model: type[Part], data: Any) -> None:
    """What is taken without pydantic is what pydantic makes of it; and what it takes as it is needs no pydantic."""
    context = {"directory": "/etc/opsctl"}
    try:
        quick: Part | None = fitted(model, data, context)
    except Unfit:
        quick = None
    try:
        slow: Part | None = judged(model, data, context)
    except NotValid:
        slow = None
    assert quick == slow


def mutated(text: str) -> st.SearchStrategy[bytes]:
    """The file after a few accidents: bytes flipped, put in, cut out, lines lost, doubled, swapped, words exchanged."""
    lines = text.splitlines(keepends=True)
    words = sorted(set(re.findall(r"[\w./:-]+", text)))
    junk = st.sampled_from(
        ["\t", "&a ", "*a", "!!python/name:os.system ", "<<: ", "---\n", "? ", "[", "}", '"', "'", "|", ">", "%", "@", ": ",
         "null", "~", "022", "on", "1e999", "\x00", "\x1b[2J", "\u2028", "\ufeff", "\r", "${", "${x}", "- ", "99999999999999999999",
         "\U0001f600", "  ", "#"],
    )  # fmt: skip
    step = st.one_of(
        st.tuples(st.just("flip"), st.integers(0, len(text.encode()) - 1), st.integers(0, 255)),
        st.tuples(st.just("put"), st.integers(0, len(text)), junk),
        st.tuples(st.just("cut"), st.integers(0, len(text)), st.integers(1, 60)),
        st.tuples(st.just("lose"), st.integers(0, len(lines) - 1), st.just(0)),
        st.tuples(st.just("double"), st.integers(0, len(lines) - 1), st.just(0)),
        st.tuples(st.just("swap"), st.integers(0, len(lines) - 1), st.integers(0, len(lines) - 1)),
        st.tuples(
            st.just("word"),
            st.integers(0, 10**6),
            st.one_of(junk, st.sampled_from(words), st.text(max_size=8)),
        ),
        st.tuples(st.just("end"), st.integers(0, len(text)), st.just(0)),
    )
    return st.lists(step, min_size=1, max_size=5).map(lambda steps: _apply(text, steps))


def _apply(text: str, steps: list[tuple[str, int, Any]]) -> bytes:
    flips: list[tuple[int, int]] = []
    for kind, at, what in steps:
        lines = text.splitlines(keepends=True) or [""]
        if kind == "flip":
            flips.append((at, what))
        elif kind == "put":
            text = text[:at] + what + text[at:]
        elif kind == "cut":
            text = text[:at] + text[at + what :]
        elif kind == "end":
            text = text[:at]
        elif kind == "lose":
            del lines[at % len(lines)]
            text = "".join(lines)
        elif kind == "double":
            lines.insert(at % len(lines), lines[at % len(lines)])
            text = "".join(lines)
        elif kind == "swap":
            one, two = at % len(lines), what % len(lines)
            lines[one], lines[two] = lines[two], lines[one]
            text = "".join(lines)
        elif kind == "word":
            found = list(re.finditer(r"[\w./:-]+", text))
            if found:
                chosen = found[at % len(found)]
                text = text[: chosen.start()] + what + text[chosen.end() :]
    content = bytearray(text.encode("utf-8", "replace"))
    for at, what in flips:
        if content:
            content[at % len(content)] ^= what
    return bytes(content)


KEYS = sorted(
    set(re.findall(r"[a-z_]+(?=:)", CONFIGURATION + PLAYBOOK))
    | {"password", "host", "kind", "x", "Bad Key", ""}
)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 10**20), st.floats(allow_nan=False), st.text(max_size=12),
    st.sampled_from(["paths", "postgresql", "sqlite", "3d", "10GiB", "main", "portal", "rest:https://h/x", "rest:http://[", "~/x",
                     "${backup}", "Asia/Kolkata", "/etc/passwd", "ssh-ed25519 AAAA", "-x", "-----BEGIN PRIVATE KEY-----"]),
)  # fmt: skip


def branches(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(KEYS), inner, max_size=5))


TREES = st.recursive(SCALARS, branches, max_leaves=20)
SHRUBS = st.one_of(SCALARS, branches(SCALARS), branches(branches(SCALARS)))


def grafted(text: str) -> st.SearchStrategy[str]:
    """The valid file with one to three of its places holding something else."""
    data = load_document(text, "x").data
    places = list(load_document(text, "x").lines)

    def graft(chosen: list[tuple[Any, Any]]) -> str:
        copy = json.loads(json.dumps(data))
        for place, value in chosen:
            inside = copy
            try:
                for part in place[:-1]:
                    inside = inside[part]
                inside[place[-1]] = value
            except (KeyError, IndexError, TypeError):
                continue
        return dumped(copy)

    return st.lists(st.tuples(st.sampled_from(places), SHRUBS), min_size=1, max_size=3).map(graft)


def dumped(tree: Any) -> str:
    """JSON, which is YAML as well, with a line for each value."""
    return json.dumps(tree, ensure_ascii=False, indent=1)


CASES = [(Config, CONFIGURATION), (Playbook, PLAYBOOK)]
KINDS = {
    "accidents": mutated,
    "grafts": grafted,
    "trees": lambda _: TREES.map(dumped),
    "bytes": lambda _: st.one_of(st.binary(max_size=300), st.text(max_size=300)),
}


@pytest.mark.parametrize(("model", "text"), CASES)
def test_the_files_that_are_mutated_are_valid(model: type[Part], text: str) -> None:
    assert isinstance(validate(model, [load_document(text, "a.yaml")]), model)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("model", "text"), CASES, ids=["configuration", "playbook"])
def test_a_broken_file_is_refused_in_words(model: type[Part], text: str, kind: str) -> None:
    strategy: Any = KINDS[kind](text)

    @SAMPLE
    @given(strategy)
    def check(content: str | bytes) -> None:
        holds(content, model)

    check()


@pytest.mark.full
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("model", "text"), CASES, ids=["configuration", "playbook"])
def test_ten_thousand_broken_files_are_refused_in_words(model: type[Part], text: str, kind: str) -> None:
    """Ten thousand configurations and ten thousand playbooks, of four kinds each, others each time."""
    strategy: Any = KINDS[kind](text)

    @ALL
    @given(strategy)
    def check(content: str | bytes) -> None:
        holds(content, model)

    check()


TWENTY_CONFIGURATION = [
    ("  name: Urban", "  nam: Urban", "organisation.nam: unknown key; did you mean name?"),
    ("timezone: Asia/Kolkata", "timezone: Asia/Calcuta", "organisation.timezone: must be a time zone"),
    ("[en, hi]", "[en, fr]", "organisation.languages[1]: must be en or hi"),
    ("state: /var/lib/opsctl", "state: ~/opsctl", "state: ~ is not expanded here"),
    ('phone: "+91 00000 00001"', "phone: 9100000", "people.asha.phone: must be text; put it in quotes"),
    ("asha.verma@department.invalid", "asha.verma", "people.asha.email: must be an e-mail address"),
    ("deputy_of: asha", "deputy_of: usha", "people.imran.deputy_of: there is no person usha; did you mean asha?"),
    ("roles: [data-centre]", "roles: [Data Centre]", "people.meena.roles[0]: must be a name"),
    ("rest:https://backup-1.department.invalid:8000/portal", "https://backup-1:8000/portal", "repositories.main.url: must start with rest:"),
    ("    secret_file: keys/backup-1-password", "    secret: hunter2", "repositories.main.secret: a secret is never a value"),
    ("append_only: true  ", "append_only: yes  ", "repositories.main.append_only: must be true or false"),
    ("[pass, show, opsctl/office]", "pass show", "repositories.office.password_command: must be a list"),
    ("    database: enagar", "    databse: enagar", "sources.portal-db.databse: unknown key; did you mean database?"),
    ("proof: full", "proof: fuller", "sources.portal-db.proof: must be full, counts or off; did you mean full?"),
    ("port: 3307", "port: 054", "sources.licence-db.port: must be a whole number"),
    ("paths: [/srv/portal/uploads]", "paths: &x /srv", "sources.uploads.paths: anchors (&name) are not used here"),
    ("bytes: 1GiB", "bytes: 1GB", "sources.uploads.at_least.bytes: must be a size"),
    ("kind: sqlite", "kind: sqllite", "sources.register.kind: must be paths, postgresql, mariadb, sqlite or command; did you mean sqlite?"),
    ("[portal-db, licence-db]", "[portal-db, licence]", "backups.portal.sources[1]: there is no source licence; did you mean "
     "licence-db?"),
    ("every: 1d", "every: 1day", "backups.office.every: must be a duration"),
]  # fmt: skip

TWENTY_PLAYBOOK = [
    ("name: contain", "name: Contain", "name: must be a name"),
    ("hi: एक", "hindi: एक", "title.hindi: unknown key; known here: en, hi"),
    ("protocol: cert-in", "protocl: cert-in", "protocl: unknown key; did you mean protocol?"),
    ("[malicious-code]", "malicious-code", "incident_types: must be a list"),
    ("type: backup,", "type: backups,", "inputs.backup.type: must be string,"),
    ("help: when anyone first noticed", "halp: when", "inputs.noticed_at.halp: unknown key; did you mean help?"),
    ("default: 3d", "default: 3 days", "inputs.wait.default: must be a duration"),
    ("phase: declare", "phase: 1", "steps[0].phase: must be text; put it in quotes"),
    ("uses: incident", "uses: Incident", "steps[0].uses: must be the word of an action"),
    ('"${noticed_at}"', '"${notice_at}"', "steps[0].with.noticed_at: there is no input notice_at; did you mean noticed_at?"),
    ("id: cut-off", "id: cut_off", "steps[1].id: must be a name"),
    ("after: []", "after: nothing", "steps[1].after: must be a list"),
    ("at_once: 512", "at_once: many", "steps[1].for_each.at_once: must be a whole number"),
    ("tolerate: 5%", "tolerate: 5 %", "steps[1].for_each.tolerate: must be a number of items or a share"),
    ("[1, 2.5, true, null, text]", "*x", "steps[1].with.list: aliases (*name) are not used here"),
    ("after: [cut-off]", "after: [cut-of]", "steps[2].after[0]: there is no step cut-of"),
    ("may_fail: true", "may_fail: on", "steps[2].may_fail: must be true or false"),
    ("on_unknown: repeat", "on_unknown: retry", "steps[2].on_unknown: must be repeat or ask"),
    ("uses: report, after", "use: report, after", "steps[3].use: unknown key; did you mean uses?"),
    ("title: Report", "title: [Report]", "steps[3].title: must be a mapping"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("model", "text", "changes"),
    [(Config, CONFIGURATION, TWENTY_CONFIGURATION), (Playbook, PLAYBOOK, TWENTY_PLAYBOOK)],
    ids=["configuration", "playbook"],
)
def test_twenty_mistakes_are_told_as_twenty(
    model: type[Part], text: str, changes: list[tuple[str, str, str]]
) -> None:
    assert len(changes) == 20
    wanted = []
    for old, new, message in changes:
        assert text.count(old) == 1, old
        wanted.append((text[: text.index(old)].count("\n") + 1, message))
        text = text.replace(old, new)
    with pytest.raises(ConfigError) as caught:
        validate(model, [load_document(text, "a.yaml")])
    found = list(caught.value.problems)
    for line, message in wanted:
        assert [one for one in found if one.startswith(f"a.yaml:{line}: {message}")], (line, message, found)
    assert "hunter2" not in str(caught.value.as_dict())


@pytest.mark.parametrize(
    ("model", "text", "changes"),
    [(Config, CONFIGURATION, TWENTY_CONFIGURATION), (Playbook, PLAYBOOK, TWENTY_PLAYBOOK)],
    ids=["configuration", "playbook"],
)
def test_each_mistake_alone_is_told_and_little_else(
    model: type[Part], text: str, changes: list[tuple[str, str, str]]
) -> None:
    for old, new, message in changes:
        with pytest.raises(ConfigError) as caught:
            validate(model, [load_document(text.replace(old, new), "a.yaml")])
        found = caught.value.problems
        assert [one for one in found if message in one]
        assert len(found) <= 2, found
