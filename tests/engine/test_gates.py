"""A plan that its gates can never let through is refused before anything is done, and named by `playbooks check`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from opsctl.actions.registry import action
from opsctl.engine.gates import mistakes
from opsctl.engine.playbooks import check, packaged, read
from tests.machine import Machine

HEAD = "name: own\ntitle: Own\ninputs: {people: {type: integer, help: h, default: 2}, asked: {type: integer, help: h}}\nsteps:\n"
PROMOTE = "  - {id: act, uses: promote, with: {backup: b, set: s, source: x}}\n"


def found(tmp_path: Path, *lines: str) -> list[str]:
    file = tmp_path / "own.yaml"
    file.write_text(HEAD + "".join(lines))
    return [why for _, why in mistakes(read(file), action)]


def gate(people: Any, more: str = "", name: str = "agree") -> str:
    return f"  - {{id: {name}, uses: approve, with: {{people: {people}}}{more}}}\n"


@pytest.mark.parametrize(("lines", "why"), [
    ((PROMOTE,), "nobody was asked"),
    ((gate(1), PROMOTE), "only 1 is asked"),
    ((gate(1), "  - {id: halt, uses: stop, with: {services: [tax]}}\n", PROMOTE), "only 1 is asked"),
    ((gate(2, ", may_fail: true"), PROMOTE), "nobody was asked"),
    ((gate(2), PROMOTE.replace("act,", "act, after: [],")), "nobody was asked"),
    ((gate(1), "  - {id: act, uses: release, with: {host: h}}\n"), "only 1 is asked"),
    (("  - {id: act, uses: prune, with: {backup: b, repository: r, sets: [s], forget: [f]}}\n",), "nobody was asked"),
    (("  - {id: act, uses: freeze, with: {repository: r, incident: i, state: thawed}}\n",), "nobody was asked"),
    ((gate(2), PROMOTE), None), ((gate("'${people}'"), PROMOTE), None), ((gate("'${asked}'"), PROMOTE), None),
    ((gate(1), gate(2, name="both"), PROMOTE), None),
    (("  - {id: act, uses: release, with: {host: h}}\n",), None),
    (("  - {id: act, uses: freeze, with: {repository: r, incident: i}}\n",), None),
])
def test_a_gate_that_asks_too_few_is_a_mistake(tmp_path: Path, lines: tuple[str, ...], why: str | None) -> None:
    said = found(tmp_path, *lines)
    assert (len(said) == 1 and why in said[0]) if why else said == []


def test_no_packaged_playbook_is_refused_by_its_gates() -> None:
    assert [str(error) for _, _, error in check(None) if error] == [] and len(list(packaged().glob("*.yaml"))) > 50


def test_promise_9_what_promote_would_refuse_stops_no_service(machine: Machine) -> None:
    mark = machine.root / "runs"
    mark.write_text("")
    machine.configure(more=f"services: {{tax: {{restores: [files], running: [test, -e, {mark}], stop: [rm, {mark}], start: [touch, {mark}]}}}}\n")
    (machine.data / "bill.txt").write_text("paid\n")
    machine("backup", "run", expect=0)
    chosen = machine.json("backup", "show", "newest").result["sets"][0]["set"]
    scan = "  - {id: scan, uses: scan, with: {backup: portal, set: SET, sources: [files], room: r}}\n"
    prove = "  - {id: prove, uses: prove, with: {backup: portal, set: SET, sources: [files], room: r}}\n"
    halt = "  - {id: halt, uses: stop, with: {services: [tax]}, after: []}\n"
    act = "  - {id: act, uses: promote, with: {backup: portal, set: SET, source: files}, after: [halt, agree]}\n"
    file = machine.root / "own.yaml"
    for lines, why in (([scan, prove, gate(1), halt, act], "only 1 is asked"), ([prove, gate(2), halt, act], "was not scanned by a step before it"),
                       ([scan.replace("[files]", "[]"), prove, gate(2), halt, act], "was not scanned by a step before it"),
                       ([scan, gate(2), halt, act], "was not proven in the clean room by a step before it")):
        file.write_text("name: own\ntitle: Own\nsteps:\n" + "".join(lines).replace("SET", chosen))
        assert why in machine.json("run", str(file), expect=23).errors[0]["message"]
    assert mark.exists()
    file.write_text("name: own\ntitle: Own\nsteps:\n" + "".join([scan, prove, gate(1), halt, act]).replace("SET", chosen))
    assert "own.yaml:8: step act: promote takes 2 people" in str(machine.json("playbooks", "check", str(file), expect=10).errors)
