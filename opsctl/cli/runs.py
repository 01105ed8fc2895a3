"""``opsctl plan run runs show resume done``: playbooks carried out, and what became of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opsctl.cli import break_glass, places, response
from opsctl.cli.report import Column, Mark, Out, Report, Table, Tone
from opsctl.cli.session import of
from opsctl.errors import UsageError

if TYPE_CHECKING:
    from opsctl.cli.work import Given

Set = Annotated[list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="an input of the playbook")]
Playbook = Annotated[str, typer.Argument(metavar="PLAYBOOK", help="name of a playbook, or its file")]
Run = Annotated[str, typer.Argument(metavar="RUN", help="id of a run")]

_TONES = {"ended": Tone.GOOD, "waiting": Tone.WARN, "interrupted": Tone.BAD, "running": Tone.STRONG}


def plan(context: typer.Context, playbook: Playbook, set_: Set = None) -> Report:
    """Say what a playbook would change, and change nothing (the same as `run --dry-run`)."""
    from dataclasses import replace

    context.obj = replace(of(context), dry_run=True)
    return run(context, playbook, set_)


def run(context: typer.Context, playbook: Playbook, set_: Set = None) -> Report:
    """Bind a playbook to its inputs and carry it out."""
    from opsctl.cli.run_inputs import ask
    from opsctl.cli.work import carry_out, open_site
    from opsctl.engine.playbooks import find

    session = of(context)
    site = open_site(session)
    found = find(playbook, site.config)
    inputs = ask(session, site, found, _inputs(set_ or ()))
    answers = response.answers(step.uses for step in found.steps)
    return carry_out(session, site, playbook, inputs, subject=found.name, brief=answers, text=response.writer(site) if answers else None)


def _inputs(pairs: Sequence[str]) -> dict[str, Any]:
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise UsageError(f"--set {pair}: not NAME=VALUE")
        found[name] = value
    return found


def runs(
    context: typer.Context,
    limit: Annotated[int, typer.Option("--limit", metavar="N", help="how many, newest first; 0 for all")] = 20,
) -> Report:
    """The runs there were, newest first, and how they stand."""
    from itertools import islice

    from opsctl.cli.work import local_time, open_site

    session = of(context)
    site = open_site(session)
    found = list(islice(_runs(site).all(), limit or None))

    def text(out: Out) -> None:
        out.table(Table(
            ("run", "playbook", "started", "by", "state", Column("exit", right=True)),
            [(one.run, one.playbook, local_time(site, one.now), one.started_by, Mark(word, _TONES[word]),
              str(result["exit_code"]) if result else "") for one, result, word in found],
            empty="no runs yet",
        ))

    return Report(result={"runs": [
        {"run": one.run, "playbook": one.playbook, "started": one.now, "by": one.started_by, "state": word,
         "exit_code": result["exit_code"] if result else None} for one, result, word in found
    ]}, text=text)


def _runs(site: Any) -> Any:
    from opsctl.engine.runs import Runs

    return Runs(site.place, site.journal, site.locks)


def show(context: typer.Context, run: Run) -> Report:
    """One run, step by step, as the journal has it."""
    from opsctl.cli.work import TONES, local_time, open_site
    from opsctl.wiring import load_plan

    session = of(context)
    site = open_site(session)
    break_glass.follow(session, site, run, only_look=True)
    bound = load_plan(site, run)
    runs_ = _runs(site)
    word = runs_.standing(run)
    rows: dict[tuple[str, str | None], dict[str, Any]] = {
        (step.id, item.item): {"step": step.id, "item": item.item, "outcome": "", "because": ""}
        for step in bound.steps for item in step.items}
    for entry in site.journal.read(run=run):
        key = (entry.data.get("step"), entry.data.get("item"))
        if entry.type == "step.begin":
            rows[key].update(outcome="begun", because=f"at {local_time(site, entry.time)}")
        elif entry.type == "step.end":
            rows[key].update(outcome=entry.data["outcome"], because=entry.data["because"],
                             errors=entry.data.get("errors", []), result=entry.data.get("result", {}))
    result = runs_.result(run)

    def text(out: Out) -> None:
        out.facts({"run": run, "playbook": f"{bound.playbook}: {bound.title}", "started": local_time(site, bound.now),
                   "by": bound.started_by, "state": Mark(word, _TONES[word]),
                   "inputs": ", ".join(f"{name}={_plainly(value)}" for name, value in bound.inputs.items() if value)})
        out.table(Table(("step", "item", "outcome", Column("because", flexible=True)), [
            (row["step"], row["item"] or "", Mark(row["outcome"], TONES.get(row["outcome"], Tone.QUIET)), row["because"])
            for row in rows.values()]))
        if word in ("interrupted", "waiting"):
            out.line(f"go on with: opsctl resume {run}")

    return Report(result={"run": run, "playbook": bound.playbook, "state": word, "inputs": dict(bound.inputs),
                          "steps": list(rows.values()), "outcome": result}, text=text, run=run)


def _plainly(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


@places.from_anywhere
def resume(
    context: typer.Context,
    run: Run,
    repeat: Annotated[list[str] | None, typer.Option(
        "--repeat", metavar="STEP", help="do this event again although nobody knows whether it happened")] = None,
    wait: places.Wait = None,
    given: Given | None = None,
    trust: Sequence[str] = (),
) -> Report:
    """Go on with a run that was interrupted, failed or waits: what was done is not done again.

    A restore on a machine without a configuration is given its --repository, --password-file and --trust again.
    """
    from opsctl.cli.restore_stages import in_stages, stages_writer
    from opsctl.cli.telling import write_resumed
    from opsctl.cli.work import go, open_site
    from opsctl.wiring import load_plan

    session = of(context)
    site = open_site(session, trust=trust, wait=wait, given=given)
    break_glass.follow(session, site, run)
    bound = load_plan(site, run)
    if bound.config_digest and bound.config_digest != site.config.digest:
        site.notes.append(f"the configuration is not the one that {run} was bound with; what is left is done by the new one")
    for step in repeat or ():
        _step(bound, step)
    answers = response.answers(step.uses for step in bound.steps)
    text = stages_writer(site) if in_stages(bound) else response.writer(site) if answers else write_resumed
    report = go(session, site, bound, resume=True, repeat=repeat or (), text=text, brief=answers)
    if bound.playbook == "backup" and not session.dry_run:
        from opsctl.cli import ticks
        from opsctl.cli.backup import remember

        names = [name for name in bound.inputs.get("backups", ()) if name in site.config.backups]
        remember(site, names)
        if report.code == 0:
            ticks.is_over(site, names)
    return report


def _step(bound: Any, step: str) -> Any:
    from opsctl.model.unknown import unknown

    try:
        return bound.step(step)
    except KeyError as error:
        raise unknown("step", step, [one.id for one in bound.steps]) from error


def done(
    context: typer.Context,
    run: Run,
    step: Annotated[str, typer.Argument(metavar="STEP", help="id of the step")],
    by: Annotated[str, typer.Option("--by", metavar="NAME", help="who says so: a name under `people`")],
    note: Annotated[str, typer.Option("--note", metavar="TEXT", help="what was done")] = "",
    file: Annotated[Path | None, typer.Option(
        "--file", metavar="FILE", help="a document that shows it; kept in the incident, and its hash is signed with the rest")] = None,
    key: Annotated[Path | None, typer.Option("--key", metavar="FILE", help="your SSH private key, or the .pub of one that your agent holds")] = None,
) -> Report:
    """Say, signed with your SSH key, that a step which a person does is done."""
    from opsctl.cli.incident_papers import keep_shown
    from opsctl.cli.signing import sign_as
    from opsctl.cli.work import open_site
    from opsctl.model.statements import NAMESPACE, signed_bytes, statement
    from opsctl.wiring import load_plan

    session = of(context)
    site = open_site(session)
    break_glass.follow(session, site, run)
    bound = load_plan(site, run)
    if _step(bound, step).uses == "approve":
        raise UsageError(f"{step} takes the approval of several people", hint=f"opsctl approve {run} {step} --by {by}")
    papers = [] if file is None else keep_shown(session, site, bound, step, file, note, by)
    said = statement(run=run, step=step, by=by, note=note, plan=bound.as_json(), time=site.clock().isoformat(), papers=papers)
    signature, _ = sign_as(site, by, key, signed_bytes(said), NAMESPACE)
    if not session.dry_run:
        site.journal.append("person.done", {"step": step, "item": None, "statement": said, "signature": signature}, run=run)

    def text(out: Out) -> None:
        out.line(f"{by} says that {step} is done; go on with: opsctl resume {run}")

    return Report(result={"statement": said, "signature": signature}, text=text, run=run)
