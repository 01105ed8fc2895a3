"""Binding: everything is fixed, and every mistake is said at once."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from opsctl.actions.registry import action
from opsctl.engine.bind import bind, fill, run_id, set_id
from opsctl.engine.playbooks import check, find
from opsctl.errors import ConfigError
from opsctl.model.config import Config
from opsctl.model.plan import BoundPlan
from opsctl.model.playbook import Playbook

NOW = datetime(2026, 12, 12, 2, 30, tzinfo=UTC)
CONFIG = Config.model_validate({
    "repositories": {"main": {"url": "/srv/b", "password_env": "P"}},
    "sources": {"a": {"kind": "paths", "paths": ["/a"]}, "b": {"kind": "sqlite", "path": "/b"}},
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
    with pytest.raises(ConfigError) as caught:
        bound({"inputs": {"backup": {"type": "backup", "help": "which"}},
               "steps": [{"id": "s", "uses": "backup", "with": {"backup": "${backup}"}}]}, **inputs)
    assert words in caught.value.problems[0]


def test_every_packaged_playbook_is_right() -> None:
    found = list(check(None))
    assert {name for name, _, _ in found} >= {"backup", "backup-init", "verify", "restore-files", "restore-set"}
    assert [error for _, _, error in found if error] == []
