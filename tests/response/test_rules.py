"""`playbooks check` against the protocol: each rule by a file that breaks just that one, and every shipped playbook."""

from __future__ import annotations

import re
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from opsctl.actions.registry import action
from opsctl.engine.bind import bind
from opsctl.engine.configuration import load_config
from opsctl.engine.playbooks import Checker, packaged, paths, read
from opsctl.engine.playbooks_table import page
from opsctl.protocols import cert_in_rules
from opsctl.protocols.cert_in import protocol
from opsctl.protocols.cert_in_rules import RULES, triggered
from tests.machine import Machine

BROKEN = Path(__file__).parent / "broken"
FILES = sorted(path for path in BROKEN.glob("*.yaml") if path.stem != "sound")
RESPONSES = [path for path in sorted(packaged().glob("*.yaml")) if read(path).protocol]
FORCES = {"binding", "guideline", "practice", "project"}


@pytest.fixture(scope="module")
def checker() -> Checker:
    return Checker(paths(None))


def problems(checker: Checker, path: Path) -> list[str]:
    found = checker(path)
    return [] if found is None else list(found.problems)


def rule_of(path: Path) -> str:
    return max((rule for rule in [*(one.id for one in RULES), "duty"] if path.stem == rule or path.stem.startswith(f"{rule}-")), key=len)


def test_what_breaks_no_rule_passes(checker: Checker) -> None:
    assert problems(checker, BROKEN / "sound.yaml") == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_broken_rule_is_named_with_line_source_and_force_and_no_other(checker: Checker, path: Path) -> None:
    found = problems(checker, path)
    assert len(found) == 1, found
    [line] = [number for number, text in enumerate(path.read_text().splitlines(), 1) if text.endswith("# broken here")]
    named = re.fullmatch(rf"{re.escape(str(path))}:{line}: .* \[([a-z-]+); ([a-z]+): (.+)\]", found[0])
    assert named, f"line {line} expected: {found[0]}"
    assert named[1] == rule_of(path) and named[2] in FORCES
    assert all(source.split()[0] in protocol().sources for source in named[3].split("; "))


def test_every_rule_has_a_file_that_breaks_it() -> None:
    assert {rule_of(path) for path in FILES} == {"duty", *(rule.id for rule in RULES)}


@pytest.mark.parametrize("path", RESPONSES, ids=lambda path: path.stem)
def test_every_shipped_playbook_passes_and_misses_each_step_that_a_duty_needs(checker: Checker, path: Path) -> None:
    assert problems(checker, path) == []
    playbook = read(path)
    for duty in triggered(playbook.incident_types, protocol()) if playbook.incident_types else ():
        without = type(playbook).model_validate({**playbook.model_dump(by_alias=True), "steps": [
            {**step.model_dump(by_alias=True), "duty": None if step.duty == duty.id else step.duty} for step in playbook.steps]})
        assert any(one.rule == "duty" and duty.id in one.message for one in cert_in_rules.check(without, checker.words)), duty.id


@pytest.fixture(scope="module")
def department(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The example configuration."""
    place = tmp_path_factory.mktemp("department")
    shutil.copy(packaged().parent / "configs" / "department.example.yaml", place / "department.yaml")
    (place / "keys").mkdir()
    return load_config(place, euid=65534)


@pytest.mark.parametrize("path", [path for path in RESPONSES if read(path).incident_types] + [packaged() / "three-day-backup.yaml"], ids=lambda path: path.stem)
def test_every_response_binds_against_the_example_configuration(department: Any, path: Path) -> None:
    playbook = read(path)
    given = {"zone": "portal", "hosts": "portal,pc-7", "zones": "portal,office", "noticed_at": "2026-12-21T02:30:00+05:30", "noticed_by": "night operator",
             "signal": "files renamed", "in_charge": "asha"}
    plan = bind(playbook, {name: text for name, text in given.items() if name in playbook.inputs}, config=department, registry=action,
                run="20261220-2130-x-7f3a", now=datetime(2026, 12, 20, 21, 30, tzinfo=UTC), started_by="asha")
    for step in plan.steps:
        for item in step.items:
            if "incident" in item.params:
                assert item.params["incident"] == "inc-20261220-7f3a", (step.id, item)
    if "freeze" in {step.id for step in plan.steps}:
        assert [item.item for item in plan.step("freeze").items] == ["main", "app-1", "office", "vault"], "all but the disk in the safe"
    cut = [step for step in plan.steps if step.uses == "isolate"]
    assert all(step.after == () and step.items for step in cut)


def test_every_type_of_incident_has_a_playbook() -> None:
    answered = {type_ for path in RESPONSES for type_ in read(path).incident_types}
    assert answered == {one.id for one in protocol().types.values() if one.annexure is not None}


def test_the_tables_of_the_page_are_as_they_are_generated() -> None:
    path = packaged() / "README.md"
    assert page(path.read_text()) == path.read_text(), "python -m opsctl.engine.playbooks_table"
    assert path.read_text().count("<!-- generated: ") == 3 and "| xx | `ai-ml` |" in path.read_text()


def test_every_text_for_people_is_there_in_hindi() -> None:
    for path in RESPONSES:
        playbook = read(path)
        if not playbook.incident_types:
            continue
        texts = [playbook.title.model_dump(), *(step.title.model_dump() for step in playbook.steps if step.title)]
        texts += [step.with_["say"] for step in playbook.steps if isinstance(step.with_.get("say"), dict)]
        assert all(step.title for step in playbook.steps)
        assert not [step.id for step in playbook.steps if step.uses in ("person", "met", "document", "other_run", "notify") and "hi" not in step.with_["say"]]
        for text in texts:
            assert re.search("[ऀ-ॿ]", text["hi"]), (path.stem, text)
            assert len(text["en"]) <= 200, "short enough for 3 a.m."
            assert re.findall(r"`[^`]+`|\$\{\w+\}", text["en"]) == re.findall(r"`[^`]+`|\$\{\w+\}", text["hi"]), (path.stem, text["en"])


def test_a_site_is_told_of_its_own_playbook(machine: Machine) -> None:
    own = machine.etc / "playbooks" / "isolate-free.yaml"
    own.write_text((BROKEN / "isolate-free.yaml").read_text().replace("incident_types: [malicious-code]", "incident_types: [malicous-code]").replace(
        "phase: continuity", "phase: continuty"))
    found = machine.json("playbooks", "check", "isolate-free", expect=10).errors[0]["details"]["problems"]
    assert any("CERT-In knows no type malicous-code; did you mean malicious-code?" in one for one in found)
    assert any("the protocol has no phase continuty; did you mean continuity?" in one for one in found)
    assert any("isolation waits for declare" in one for one in found)
