"""A restoration in stages that is killed at every step's boundaries and taken up again comes to its end exactly once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from opsctl.shells import local
from tests.badluck.faults import lines
from tests.lab.striking import MOMENTS, struck
from tests.machine import Kept, tree
from tests.stages.portal import BAD, GOOD, Portal, free_port, new_keys

STEPS = ("verify", "restore", "scan", "prove", "approve", "stop", "promote", "start", "outside", "clear")
#: Steps that change something say when they begin.
CHANGES = ("restore", "stop", "promote", "start", "clear")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """A portal of uploads and a web server, backed up and then spoilt."""
    found = _portal(tmp_path_factory.mktemp("killed") / "m")
    found.keys.mkdir()
    new_keys(found.keys)
    found.furnish()
    found.spoil()
    return Kept(found, tmp_path_factory.mktemp("kept") / "m")


def _portal(root: Path) -> Portal:
    found = Portal(root)
    found.database, found.keys, found.port = False, root / "people", free_port()
    return found


@pytest.fixture
def portal(made: Kept) -> Iterator[Portal]:
    found = _portal(made.again().root)
    found.write()
    try:
        found("run", "start", "--set", "services=tax", expect=0)
        yield found
    finally:
        found.end()
    local.reset()


def boundaries() -> list[tuple[str, str]]:
    return [(step, moment) for step in STEPS for moment in MOMENTS if moment != "begun" or step in CHANGES]


def _to_its_end(portal: Portal, run: str) -> None:
    """Go on until it has ended, with the approvals that it asks for; then look at everything."""
    if "tax.approve" not in {line["data"]["step"] for line in lines(portal) if line["type"] == "approve.asked"}:
        portal.json("resume", run, expect=4)
    if not [line for line in lines(portal) if line["type"] == "approve.signed"]:
        portal.approve(run, "tax.approve")
    portal.json("resume", run, expect=0)
    assert portal.files() == GOOD and "the portal" in portal.page()
    kept = list(portal.root.glob("data.before-*"))
    assert [tree(place) for place in kept] == [{name: text.encode() for name, text in BAD.items()}]
    assert portal.done == ["start", "stop", "start"]
    assert not list((portal.root / "rooms").iterdir()) and not [one for one in portal.root.iterdir() if one.name.startswith(".")]
    (stage,) = portal.json("restore", "status", run, expect=0).result["stages"]
    assert stage["outcome"] == "done"
    portal("journal", "verify", expect=0)


def _run_of(portal: Portal) -> str:
    return str(next(line["run"] for line in reversed(lines(portal)) if line["type"] == "run.bound"))


def _through(portal: Portal, where: Sequence[tuple[str, str]]) -> None:
    words: list[str] = ["restore", "run"]
    for step, moment in where:
        killed = struck(portal, f"tax.{step}", moment, words)
        run = _run_of(portal)
        words = ["resume", run]
        if not killed and step == "approve":
            portal.approve(run, "tax.approve")
            killed = struck(portal, f"tax.{step}", moment, words)
        assert killed, (step, moment)
    _to_its_end(portal, _run_of(portal))


def test_promise_7_one_restoration_that_is_killed_at_every_boundary_after_another(portal: Portal) -> None:
    _through(portal, boundaries())


@pytest.mark.full
@pytest.mark.parametrize("where", boundaries(), ids="-".join)
def test_promise_7_a_restoration_that_is_killed_once_at_any_boundary(portal: Portal, where: tuple[str, str]) -> None:
    if STEPS.index(where[0]) > STEPS.index("approve"):
        run = str(portal.json("restore", "run", expect=4).document["run"])
        portal.approve(run, "tax.approve")
        assert struck(portal, f"tax.{where[0]}", where[1], ["resume", run])
        _to_its_end(portal, run)
    else:
        _through(portal, [where])
