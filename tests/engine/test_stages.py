"""Several playbooks as one plan, and what of it a resume looks at again."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from opsctl.actions.registry import action
from opsctl.engine.bind import bind
from opsctl.engine.runs import _looked_at_again
from opsctl.engine.stages import Part, compose
from opsctl.errors import ConfigError, UsageError
from opsctl.model.config import Config
from opsctl.model.plan import BoundPlan
from opsctl.model.playbook import Playbook

CONFIG = Config.model_validate({
    "repositories": {"main": {"url": "/srv/b", "password_env": "P"}},
    "sources": {"a": {"kind": "paths", "paths": ["/a"]}},
    "backups": {"one": {"sources": ["a"], "repository": "main"}},
})
STAGE = Playbook.model_validate({"name": "p", "title": "p", "inputs": {"service": {"type": "string", "help": "which"}}, "steps": [
    {"id": "look", "uses": "verify", "with": {"repository": "main"}},
    {"id": "odd", "uses": "verify", "with": {"repository": "main"}, "may_fail": True},
    {"id": "bring", "uses": "start", "with": {"services": ["${service}"]}},
    {"id": "agree", "uses": "person", "with": {"say": "${service}"}},
    {"id": "promote", "uses": "promote", "for_each": {"items": ["a"]}, "with": {"backup": "one", "set": "s", "source": "${item}"}},
    {"id": "outside", "uses": "verify", "with": {"repository": "main"}},
]})


def composed() -> BoundPlan:
    """``tax`` needs ``db``; ``water`` needs nothing."""
    parts = [Part("db", STAGE, {"service": "db"}, more={("promote", "a"): {"into": "/new"}}), Part("water", STAGE, {"service": "water"}),
             Part("tax", STAGE, {"service": "tax"}, ("db",))]
    return compose(parts, playbook="p", title="t", inputs={}, config=CONFIG, registry=action, run="20261212-0230-p-7f3a",
                   now=datetime(2026, 12, 12, 2, 30, tzinfo=UTC), started_by="test")


def test_a_stage_waits_for_every_step_of_those_that_it_needs_and_for_no_other() -> None:
    plan = composed()
    assert plan.step("db.look").after == plan.step("water.look").after == ()
    assert plan.step("tax.look").after == tuple(f"db.{name}" for name in ("look", "odd", "bring", "agree", "promote", "outside"))
    assert plan.step("tax.bring").after == ("tax.odd",)
    assert plan.step("water.agree").items[0].params["step"] == "water.agree"
    assert plan.step("db.promote").items[0].params["into"] == "/new"
    assert plan.step("tax.promote").items[0].params["into"] == ""
    assert {step.stage for step in plan.steps} == {"db", "water", "tax"}
    assert BoundPlan.from_json(plan.as_json()) == plan


def test_a_mistake_in_one_stage_binds_none() -> None:
    with pytest.raises(UsageError, match="--set service=… is needed"):
        compose([Part("db", STAGE, {})], playbook="p", title="t", inputs={}, config=CONFIG, registry=action, run="20261212-0230-p-7f3a",
                now=datetime(2026, 12, 12, tzinfo=UTC), started_by="test")


def test_a_parameter_that_no_step_takes_is_refused_and_not_forgotten() -> None:
    with pytest.raises(ConfigError, match="playbook p has no step bring for b, which takes into for db"):
        compose([Part("db", STAGE, {"service": "db"}, more={("bring", "b"): {"into": "/new"}})], playbook="p", title="t", inputs={},
                config=CONFIG, registry=action, run="20261212-0230-p-7f3a", now=datetime(2026, 12, 12, tzinfo=UTC), started_by="test")


def _again(done: list[str], touched: list[str]) -> list[str]:
    """Of the steps that are done, those that are looked at again."""
    keys: set[Any] = {(name, "a" if name.endswith("promote") else None) for name in done}
    return sorted(_looked_at_again(composed(), action, keys, {*done, *touched}) & set(done))


def test_a_resume_looks_at_checks_again_until_something_behind_the_gate_was_begun() -> None:
    asked = ["db.look", "db.odd", "db.bring"]
    assert _again(asked, []) == ["db.bring", "db.look", "db.odd"]
    assert _again([*asked, "db.agree"], []) == ["db.bring", "db.look", "db.odd"]
    assert _again([*asked, "db.agree"], ["db.promote"]) == []
    assert _again([*asked, "db.agree", "db.promote", "db.outside"], ["db.promote"]) == []


def test_a_stage_that_has_ended_well_is_not_looked_at_again_also_where_a_step_failed_that_may() -> None:
    stage = ["db.look", "db.bring", "db.agree", "db.promote", "db.outside"]
    assert _again([*stage, "tax.look"], []) == ["db.outside", "tax.look"]
    assert _again([*stage, "tax.look"], ["db.odd"]) == ["tax.look"]


WEEKS = Playbook.model_validate({"name": "weeks", "title": "weeks", "inputs": {}, "steps": [
    {"id": "agree", "uses": "approve", "with": {"say": "it is opened again", "people": 2}},
    {"id": "open", "uses": "other_run", "with": {"incident": "inc-20261221-0000", "playbook": "reopen", "say": "open it"}},
    {"id": "after", "uses": "person", "with": {"say": "look"}},
]})


@pytest.mark.parametrize(("done", "again"), [(["agree"], ["agree"]), (["agree", "open"], ["open"])])
def test_an_approval_runs_out_until_a_run_of_its_own_shows_that_it_was_used(done: list[str], again: list[str]) -> None:
    plan = bind(WEEKS, {}, config=CONFIG, registry=action, run="20261221-0230-weeks-7f3a", now=datetime(2026, 12, 21, tzinfo=UTC), started_by="test")
    keys: set[Any] = {(name, None) for name in done}
    assert sorted(_looked_at_again(plan, action, keys, set()) & set(done)) == again
