"""A response taken to its end: every step that waits is answered by the command that it names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.machine import Machine


def uses(machine: Machine, run: str) -> dict[str, str]:
    """The word of each step."""
    import json

    plan = json.loads((machine.state / "runs" / run / "plan.json").read_text())
    return {step["id"]: step["uses"] for step in plan["steps"]}


def answer(machine: Machine, run: str, incident: str, step: str, word: str, duty: str = "") -> None:
    """Say of one step that it is done."""
    keys = {name: ("--by", name, "--key", str(machine.root / name)) for name in ("asha", "imran")}
    if word == "approve":
        for name in keys:
            machine("--yes", "approve", run, step, *keys[name], expect=0)
    elif word == "document":
        paper = machine.root / "paper.pdf"
        paper.write_bytes(b"%PDF")
        machine("incident", "paper", incident, duty, str(paper), expect=0)
    elif word == "met":
        machine("incident", "decide", incident, duty, "--reason", "exercise", *keys["asha"], expect=0)
    else:
        machine("done", run, step, *keys["imran"], "--note", "exercise", expect=0)


def to_the_end(machine: Machine, run: str, incident: str) -> list[str]:
    """Take a run up again until nothing waits; the steps in the order in which they were waited for. The last closes the incident."""
    words = uses(machine, run)
    order: list[str] = []
    while True:
        said = machine.json("resume", run)
        waiting: list[dict[str, Any]] = [one for one in said.result["steps"] if one["outcome"] == "waiting"]
        if not waiting:
            assert said.code == 0, said.out
            return order
        for one in waiting:
            assert one["step"] not in order, f"{one['step']} was answered and waits still: {one['because']}"
            order.append(one["step"])
            found = one["result"]
            if one["step"] == "close":
                machine("incident", "close", incident, "--note", "all is back", expect=0)  # nobody has to say so a second time
                continue
            answer(machine, run, incident, one["step"], words[one["step"]], str(found.get("duty") or found.get("kind") or ""))


def folder(machine: Machine, incident: str) -> Path:
    return machine.state / "incidents" / incident
