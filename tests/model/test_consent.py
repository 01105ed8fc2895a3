"""What people signed, as anybody may have written it: refused with a sentence, never believed and never a crash."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsctl.errors import SafetyRefusal
from opsctl.model.approvals import Member, Signed, request, statement
from opsctl.model.consent import Consent, agreed, before
from opsctl.model.statements import plan_digest

NOW = datetime(2026, 12, 12, 3, tzinfo=UTC)
KNOWN = {"asha": Member((), "SHA256:a"), "imran": Member((), "SHA256:i"), "ravi": Member((), "SHA256:r", "asha")}
GATE = {"id": "agree", "uses": "approve", "after": [], "items": [{"item": None, "params": {"people": 1, "role": None, "not_starter": False}}]}
ACT = {"id": "prune", "uses": "prune", "after": ["agree"], "items": [{"item": None, "params": {"backup": "portal"}}]}


def plan(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"run": "r", "started_by": "root", "steps": list(steps or (GATE, ACT))}


def consent(found: dict[str, Any], *people: str, **changes: Any) -> Consent:
    asked = {**request(run="r", step="agree", plan_sha256=plan_digest(found), incident="", repository="repo", nonce="n", now=NOW,
                       term=NOW - NOW.replace(day=11)), **changes}
    signed = tuple(Signed(statement(asked, by=name, decision="approve", note="", now=NOW), KNOWN[name].key) for name in people)
    return Consent(found, asked, signed)


def judged(found: Consent, word: str = "prune") -> tuple[str, ...]:
    return agreed(found, word, lambda params: params["backup"] == "portal", KNOWN, repository_id="repo", at=NOW)


def test_two_people_before_it_are_believed_and_named() -> None:
    assert judged(consent(plan(), "asha", "imran")) == ("asha", "imran")


@pytest.mark.parametrize(("found", "said"), [
    (consent(plan(), "asha"), "it takes the approval of 2 people, and asha approved"),
    (consent(plan(), "asha", "asha"), "it takes the approval of 2 people"),
    (consent(plan()), "and nobody approved"),
    (consent(plan(), "asha", "imran", plan_sha256="0" * 64), "people signed another plan"),
    (consent(plan(), "asha", "imran", run="s"), "people signed another plan"),
    (consent(plan(), "asha", "imran", repository="other"), "people signed for another repository"),
    (consent(plan(), "asha", "imran", step="prune"), "asks for no approval"),
    (consent(plan(GATE, {**ACT, "after": []}), "asha", "imran"), "does not prune this behind their approval"),
    (consent(plan(GATE, {**ACT, "uses": "copy"}), "asha", "imran"), "does not prune this behind their approval"),
    (consent(plan(GATE, {**ACT, "items": [{"item": None, "params": {"backup": "other"}}]}), "asha", "imran"), "does not prune this"),
    (consent(plan(GATE, {**ACT, "items": [{"item": None, "params": {}}]}), "asha", "imran"), "no plan that this version can read"),
    (consent({"run": "r"}, "asha", "imran"), "no plan that this version can read"),
])
def test_promise_3_what_is_not_believed_and_why(found: Consent, said: str) -> None:
    with pytest.raises(SafetyRefusal, match=said):
        judged(found)


def test_the_steps_before_one_also_by_way_of_others() -> None:
    steps = [{"id": "a", "after": []}, {"id": "b", "after": ["a"]}, {"id": "c", "after": ["b"]}, {"id": "d", "after": []}]
    assert before(steps, "c") == {"a", "b"} and before(steps, "d") == set()


JSON = st.recursive(st.none() | st.booleans() | st.integers(-9, 9) | st.floats() | st.text(max_size=5),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
                        ["run", "steps", "id", "uses", "after", "items", "params", "step", "people", "started_by"]), inner, max_size=4), max_leaves=12)


@given(found=st.dictionaries(st.sampled_from(["run", "steps", "started_by"]), JSON), step=JSON, said=st.lists(JSON, max_size=3))
def test_anything_at_all_is_refused(found: dict[str, Any], step: Any, said: list[Any]) -> None:
    try:
        digest = plan_digest(found)
    except ValueError:
        digest = "0" * 64
    asked = request(run="r", step="agree", plan_sha256=digest, incident="", repository="repo", nonce="n", now=NOW, term=NOW - NOW.replace(day=11))
    for changed in (asked, {**asked, "step": step}, step):
        with pytest.raises(SafetyRefusal):
            judged(Consent(found, changed, tuple(Signed(one, "SHA256:a") for one in said)))
