"""Binding: everything is fixed, and every mistake is said at once."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from opsctl.actions.registry import action
from opsctl.engine.bind import bind, fill, run_id, set_id
from opsctl.engine.playbooks import check, find
from opsctl.errors import ConfigError, UsageError
from opsctl.model.config import Config
from opsctl.model.plan import BoundPlan
from opsctl.model.playbook import Playbook

NOW = datetime(2026, 12, 12, 2, 30, tzinfo=UTC)
CONFIG = Config.model_validate({
    "repositories": {"main": {"url": "/srv/b", "password_env": "P"}},
    "sources": {"a": {"kind": "paths", "paths": ["/a"]}, "b": {"kind": "sqlite", "path": "/b"}},
    "zones": {"portal": {"title": "the portal"}, "empty": {"title": "nothing yet"}, "db-1": {"title": "as a host"}},
    "hosts": {"db-1": {"address": "10.0.0.1", "zone": "portal"}, "app-1": {"address": "10.0.0.2", "zone": "portal"},
              "lone": {"address": "10.0.0.3"}, "other": {"address": "10.0.0.4", "zone": "db-1"}},
    "backups": {"one": {"sources": ["a", "b"], "repository": "main"}, "two": {"sources": ["a"], "repository": "main"}},
})


def bound(playbook: dict[str, Any], **inputs: Any) -> BoundPlan:
    return bind(Playbook.model_validate({"name": "p", "title": "p", **playbook}), inputs, config=CONFIG,
                registry=action, run="20261212-0230-p-7f3a", now=NOW, started_by="test")


def test_ids_tell_when_and_about_what() -> None:
    run = run_id(NOW, "portal", "7f3a99")
    assert run == "20261212-0230-portal-7f3a"
    assert set_id(run) == "20261212-0230-7f3a"
    assert set_id(run_id(NOW, "portal-db-2", "7f3a")) == "20261212-0230-7f3a"


def test_a_set_gets_its_id_when_the_run_is_bound_and_items_are_fixed() -> None:
    plan = bind(find("backup", None), {"backups": ["one", "two"], "when": "due"}, config=CONFIG, registry=action,
                run="20261212-0230-p-7f3a", now=NOW, started_by="test")
    assert [item.item for item in plan.steps[0].items] == ["one", "two"]
    assert plan.steps[0].items[0].params == {"backup": "one", "set": "20261212-0230-7f3a", "when": "due", "accept": []}


def test_a_plan_is_json_and_comes_back_the_same() -> None:
    plan = bound({"steps": [{"id": "s", "uses": "backup", "for_each": {"items": ["one"]}, "with": {"backup": "${item}"}},
                            {"id": "t", "uses": "person", "with": {"say": "go"}, "after": ["s"]}]})
    import json

    assert BoundPlan.from_json(json.loads(json.dumps(plan.as_json()))) == plan
    assert plan.steps[1].items[0].params["step"] == "t"


def test_for_each_goes_through_the_sources_of_a_backup() -> None:
    plan = bound({"inputs": {"backup": {"type": "backup", "help": "which"}},
                  "steps": [{"id": "s", "uses": "command", "for_each": {"sources": "${backup}"},
                             "with": {"argv": ["echo", "${item} of ${backup}"]}}]}, backup="one")
    assert [item.params["argv"] for item in plan.steps[0].items] == [["echo", "a of one"], ["echo", "b of one"]]


def test_a_reference_alone_keeps_its_type() -> None:
    assert fill("${x}", {"x": [1, 2]}) == [1, 2]
    assert fill("${x}!", {"x": [1, 2]}) == "1,2!"
    assert fill({"a": ["${x}"]}, {"x": 3}) == {"a": [3]}


def test_every_mistake_is_said_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        bound({"steps": [{"id": "s", "uses": "bakup", "with": {}}, {"id": "t", "uses": "backup", "with": {"bakup": "x"}},
                         {"id": "u", "uses": "verify", "for_each": {"backups": ["three"]}, "with": {"repository": "main"}}]})
    text = "\n".join(caught.value.problems)
    assert "did you mean backup" in text
    assert "step t (backup): with.backup is needed" in text and "with.bakup: there is no such parameter" in text
    assert "no backup 'three'" in text


@pytest.mark.parametrize(("inputs", "words"), [
    ({}, "is needed"), ({"backup": "thre"}, "no backup"), ({"backup": "one", "bakup": "x"}, "no such input"),
])
def test_inputs_are_checked(inputs: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        bound({"inputs": {"backup": {"type": "backup", "help": "which"}},
               "steps": [{"id": "s", "uses": "backup", "with": {"backup": "${backup}"}}]}, **inputs)
    assert words in caught.value.message


def test_every_packaged_playbook_is_right() -> None:
    found = list(check(None))
    assert {name for name, _, _ in found} >= {"backup", "backup-init", "verify", "restore-files", "restore-set"}
    assert [error for _, _, error in found if error] == []


# Hosts and zones


def cut_off(hosts: Any, inputs: dict[str, str] | None = None, *, more: dict[str, Any] | None = None,
            **values: Any) -> BoundPlan:
    return bound({"inputs": {name: {"type": type_, "help": name} for name, type_ in (inputs or {}).items()},
                  "steps": [{"id": "s", "uses": "command", "for_each": {"hosts": hosts, **(more or {})},
                             "with": {"argv": ["echo", "${item}"]}}]}, **values)


def names(plan: BoundPlan) -> list[str | None]:
    return [item.item for item in plan.steps[0].items]


def test_a_zone_stands_for_all_hosts_in_it() -> None:
    assert names(cut_off("${zone}", {"zone": "zone"}, zone="portal")) == ["db-1", "app-1"]
    assert names(cut_off("${host}", {"host": "host"}, host="lone")) == ["lone"]
    assert names(cut_off(["lone", "portal", "app-1"])) == ["lone", "db-1", "app-1"], "each of them once"
    assert names(cut_off("${some}", {"some": "list"}, some="other,portal")) == ["other", "db-1", "app-1"]


def test_the_type_of_an_input_says_what_a_name_is_that_a_zone_and_a_host_have() -> None:
    assert names(cut_off("${zone}", {"zone": "zone"}, zone="db-1")) == ["other"]
    assert names(cut_off("${host}", {"host": "host"}, host="db-1")) == ["db-1"]
    with pytest.raises(ConfigError) as caught:
        cut_off(["db-1"])
    assert "'db-1' is a host and a zone" in caught.value.problems[0]


@pytest.mark.parametrize(("type_", "value", "words"), [
    ("zone", "prtal", "there is no zone 'prtal' in the configuration; did you mean portal?"),
    ("host", "portal", "there is no host 'portal' in the configuration"),
    ("list", "lone,lnoe", "there is no host and no zone 'lnoe'; did you mean lone?"),
    ("zone", "empty", "there is no host in zone 'empty'"),
])
def test_names_of_hosts_and_zones_are_checked(type_: str, value: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        cut_off("${given}", {"given": type_}, given=value)
    assert words in caught.value.message


@pytest.mark.parametrize(("more", "pace"), [
    ({}, (1, 0, 0, 0, 0)),
    ({"at_once": 512, "tolerate": "50%"}, (512, 1, 0, 0, 0)),
    ({"tolerate": 7, "canary": 1, "waves": 20, "stop_after": 3}, (20, 7, 1, 20, 3)),
    ({"waves": 600}, (512, 0, 0, 600, 0)),
    ({"at_once": 4, "waves": 20}, (4, 0, 0, 20, 0)),
])
def test_the_pace_is_fixed_when_the_run_is_bound(more: dict[str, Any], pace: tuple[int, ...]) -> None:
    plan = cut_off("portal", more=more)
    step = plan.steps[0]
    assert (step.at_once, step.tolerate, step.canary, step.waves, step.stop_after) == pace
    assert BoundPlan.from_json(plan.as_json()) == plan


def test_a_plan_without_a_pace_is_written_as_before() -> None:
    assert set(cut_off("portal").as_json()["steps"][0]) == {
        "id", "uses", "title", "after", "items", "may_fail", "always", "on_unknown", "at_once", "phase"}
