"""Which signatures count: every way in which one does not, by name and exit code."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from opsctl.errors import SafetyRefusal
from opsctl.model.approvals import (
    Member,
    Signed,
    Standing,
    Wanted,
    able,
    already,
    problem,
    request,
    statement,
    voice_of,
    weigh,
    well_asked,
)

NOW = datetime(2026, 12, 12, 3, 0, tzinfo=UTC)
DAY = timedelta(days=1)
ASKED = request(run="20261212-0230-open-7f3a", step="agree", plan_sha256="aa" * 32, incident="I-1", repository="bb" * 32,
                nonce="00" * 16, now=NOW, term=DAY)
KNOWN = {
    "asha": Member(("officer", "lead"), "SHA256:asha"),
    "imran": Member(("officer",), "SHA256:imran"),
    "ravi": Member((), "SHA256:ravi", "asha"),
    "meena": Member((), "SHA256:meena", "asha"),
    "both": Member(("officer",), "SHA256:both", "asha"),
    "usha": Member(("auditor",), "SHA256:usha"),
    "far": Member((), "SHA256:far", "ravi"),
    "twin": Member(("officer",), "SHA256:imran"),
    "mute": Member(("officer",)),
}
WANTED = Wanted(ASKED, DAY, role="officer")


def said(by: str, decision: str = "approve", *, at: datetime = NOW, signer: str | None = "", why: str = "", **other: Any) -> Signed:
    words = {**statement(ASKED, by=by, decision=decision, note="", now=at), **other}
    known = KNOWN.get(by)
    return Signed(words, signer if signer != "" else known.key if known else "SHA256:x", why)


def names(standing: Standing) -> list[str]:
    return [voice.by for voice in standing.approved]


LATE = NOW + timedelta(hours=25)
FUTURE = NOW + timedelta(hours=1)

DOES_NOT_COUNT = [
    ("unknown person", said("nobody"), 12, "nobody of that name has a key"),
    ("person without a key", said("mute", signer="SHA256:x"), 12, "nobody of that name has a key"),
    ("unknown key", said("asha", signer="SHA256:other"), 12, "signed by SHA256:other, which is not their key"),
    ("another's key", said("asha", signer="SHA256:imran"), 12, "which is not their key"),
    ("broken signature", said("asha", signer=None, why="it does not hold"), 12, "it does not hold"),
    ("another form", said("asha", format="opsctl-approve/2"), 12, "no approval that this version can read"),
    ("more than is known", said("asha", role="officer"), 12, "no approval"),
    ("a time that is none", said("asha", time="yesterday"), 12, "no approval"),
    ("a time without a zone", said("asha", expires="2026-12-13T03:00:00"), 12, "no approval"),
    ("another decision", said("asha", decision="maybe"), 12, "no approval"),
    ("changed plan", said("asha", plan_sha256="cc" * 32), 23, "signed for another plan"),
    ("another run", said("asha", run="20261212-0231-open-7f3b"), 23, "of run 20261212-0231-open-7f3b"),
    ("another step", said("asha", step="later"), 23, "signed for step later"),
    ("another incident", said("asha", incident="I-2"), 23, "signed for incident I-2"),
    ("no incident", said("asha", incident=""), 23, "signed for no incident"),
    ("another repository", said("asha", repository="cc" * 32), 23, "another repository"),
    ("another request of the run", said("asha", nonce="11" * 16), 23, "another request"),
    ("without the role", said("usha"), 23, "has not the role officer"),
    ("deputy of a deputy", said("far"), 23, "has not the role officer"),
    ("old signature", said("asha", at=NOW - timedelta(minutes=5), expires=(NOW - timedelta(minutes=1)).isoformat()), 23, "the signature is old"),
    ("signed before it was asked", said("asha", at=NOW - timedelta(hours=1)), 23, "before it was asked"),
    ("signed in the future", said("asha", at=FUTURE), 23, "not yet"),
    ("refusal without the role", said("usha", "refuse"), 23, "has not the role officer"),
]


@pytest.mark.parametrize(("signed", "code", "why"), [row[1:] for row in DOES_NOT_COUNT], ids=[row[0] for row in DOES_NOT_COUNT])
def test_what_is_wrong_with_a_signature_is_named_and_it_does_not_count(signed: Signed, code: int, why: str) -> None:
    found = problem(signed, WANTED, KNOWN, NOW)
    assert found is not None and found.code == code and why in found.message
    standing = weigh([signed, said("imran")], WANTED, KNOWN, NOW)
    assert names(standing) == ["imran"] and not standing.refused
    assert any(why in one for one in (standing.forged if code == 12 else standing.not_counted))


def test_a_signature_ends_with_its_term_and_with_the_shorter_one_that_is_configured_since() -> None:
    one = said("asha")
    assert problem(one, WANTED, KNOWN, NOW + DAY - timedelta(seconds=1)) is None
    assert problem(one, WANTED, KNOWN, NOW + DAY) is not None
    assert problem(said("asha", expires=(NOW + 30 * DAY).isoformat()), WANTED, KNOWN, NOW + DAY) is not None
    assert problem(one, replace(WANTED, term=timedelta(hours=1)), KNOWN, NOW + timedelta(hours=1)) is not None


@pytest.mark.parametrize(("who", "count"), [
    (["asha", "imran"], 2),
    (["asha", "asha"], 1),
    (["imran", "twin"], 1),            # one key under two names
    (["asha", "ravi"], 1),             # a person and who stands in for them
    (["ravi", "meena"], 1),            # two who stand in for the same
    (["ravi", "imran"], 2),
    (["asha", "both"], 2),             # a deputy who has the role himself counts for himself
    (["asha", "usha"], 1),
    (["asha", "imran", "both"], 3),
])
def test_one_person_never_counts_as_two(who: list[str], count: int) -> None:
    for order in (who, who[::-1]):
        assert len(weigh([said(one) for one in order], WANTED, KNOWN, NOW).approved) == count


def test_without_a_role_everybody_with_a_key_counts_for_themselves() -> None:
    for nothing in (None, ""):
        anyone = replace(WANTED, role=nothing)
        assert names(weigh([said(one) for one in ("asha", "ravi", "usha")], anyone, KNOWN, NOW)) == ["asha", "ravi", "usha"]


def test_who_would_be_counted_twice_is_told_why() -> None:
    there = [voice_of(said("asha"), WANTED, KNOWN, NOW), voice_of(said("imran"), WANTED, KNOWN, NOW)]
    for by, why in (("asha", "has approved already"), ("twin", "with the key of imran"), ("ravi", "count as one")):
        assert why in str(already(voice_of(said(by), WANTED, KNOWN, NOW), there))
    assert already(voice_of(said("both"), WANTED, KNOWN, NOW), there) is None
    with pytest.raises(SafetyRefusal):
        voice_of(said("usha"), WANTED, KNOWN, NOW)


def test_a_refusal_stands_until_the_same_person_approves() -> None:
    at = [NOW + timedelta(minutes=minute) for minute in range(4)]
    refused = weigh([said("asha"), said("imran", at=at[1]), said("asha", "refuse", at=at[2])], WANTED, KNOWN, at[3])
    assert [voice.by for voice in refused.refused] == ["asha"] and names(refused) == ["imran"]
    assert weigh([said("asha", "refuse", at=NOW)], WANTED, KNOWN, LATE).refused, "it does not grow old"
    back = weigh([said("asha", "refuse"), said("asha", at=at[1])], WANTED, KNOWN, at[3])
    assert names(back) == ["asha"] and not back.refused
    # in whatever order the journal has them, and of one time the refusal
    assert weigh([said("asha", at=at[1]), said("asha", "refuse")], WANTED, KNOWN, at[3]).refused == ()
    assert weigh([said("asha", "refuse"), said("asha")], WANTED, KNOWN, at[3]).refused


def test_who_started_the_run_does_not_count_where_the_step_says_so() -> None:
    known = replace(WANTED, not_starter=True, starter="asha")
    assert names(weigh([said("asha"), said("imran")], known, KNOWN, NOW)) == ["imran"] and known.needed == 2
    assert weigh([said("asha", "refuse")], known, KNOWN, NOW).refused, "but may say no"
    assert replace(known, starter=None).needed == 3, "one of three who may have started it leaves two who have not"
    assert replace(known, not_starter=False, starter=None).needed == 2


def test_how_many_could_sign_is_counted_by_role_key_and_seat() -> None:
    assert able(WANTED, KNOWN) == 3                      # asha's seat, imran's key, both
    assert able(replace(WANTED, not_starter=True, starter="imran"), {name: KNOWN[name] for name in ("asha", "imran")}) == 1
    assert able(replace(WANTED, role="lead"), KNOWN) == 1
    assert able(replace(WANTED, role="nothing"), KNOWN) == 0


@pytest.mark.parametrize("changed", [{"term": 0}, {"term": "1"}, {"term": True}, {"time": "now"}, {"nonce": 1}, {"more": ""}, {"format": ""}])
def test_what_is_no_request_is_not_taken_for_one(changed: dict[str, Any]) -> None:
    assert well_asked(ASKED) and not well_asked({**ASKED, **changed}) and not well_asked([])
