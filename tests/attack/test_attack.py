"""The change signals against a few cases in every test, and against all of them with --full; `python3 -m tests.attack` tells more."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.attack.cases import CASES, Case, attempt
from tests.machine import Machine

#: What these signals cannot tell, and what they tell wrongly: both stand in the README.
MISSED = {"packs all into archives with a password"}
ACCUSED = {"letters encrypted with GnuPG on purpose"}


def case(name: str, **more: int) -> Case:
    return replace(next(one for one in CASES if one.name == name), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("tried", [case("renames all, encrypts nothing", files=60, sets=1),
                                   case("import of as many photographs as there were files", files=60, sets=1),
                                   case("encrypts all text of one table", sets=1), case("year-end: next year's bills, an archive of the old", sets=1)], ids=lambda one: one.name)
def test_a_quick_sample(machine: Machine, tried: Case) -> None:
    found = attempt(tried, machine, 1, quiet=2)
    assert found.quiet == ["unknown", "clean"] and found.verdicts == ["suspect" if tried.attack else "clean"], found.why


@pytest.mark.full
@pytest.mark.parametrize("tried", CASES, ids=lambda one: one.name)
def test_every_attacker_is_noticed_and_nobody_is_accused_but_for_what_the_readme_says(machine: Machine, tried: Case) -> None:
    found = attempt(tried, machine, 1)
    assert found.quiet == ["unknown", "clean", "clean"], found.why
    wanted = tried.name not in MISSED if tried.attack else tried.name in ACCUSED
    assert (found.noticed is not None) == wanted, (found.verdicts, found.why)


@pytest.mark.full
@pytest.mark.parametrize("tried", [one for one in CASES if one.attack and one.sets == 2 and one.kind == "files"], ids=lambda one: one.name)
def test_canaries_notice_what_touches_everything(machine: Machine, tried: Case) -> None:
    assert attempt(tried, machine, 1, canaries=True).noticed == 1
