"""What every command that acts has in common: open the configuration, bind a playbook, carry it out, report."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opsctl.cli import break_glass, places, response
from opsctl.cli.report import Mark, Out, Report, Tone
from opsctl.cli.session import Session
from opsctl.errors import OpsError, SafetyRefusal, UsageError, Waiting
from opsctl.model.quantities import parse_duration
from opsctl.model.values import value

if TYPE_CHECKING:
    from opsctl.actions.interface import StepResult
    from opsctl.engine.runs import Tally
    from opsctl.model.plan import BoundPlan, BoundStep
    from opsctl.wiring import Site, World

Told = Callable[["BoundStep", "StepResult"], "Mark | None"]

#: For tests and the demo: the time at which this process believes that it started (RFC 3339).
CLOCK = "OPSCTL_CLOCK"


@value
class Given:
    """A repository named on the command line, for a machine that has no configuration."""

    url: str
    password_file: str | None = None
    user: str | None = None
    secret_file: str | None = None
    cacert: str | None = None
    host_key: str | None = None
    ssh_key_file: str | None = None


def clock(session: Session) -> Callable[[], datetime]:
    """The session's clock, moved where the environment says so."""
    said = session.environ.get(CLOCK)
    if not said:
        return session.clock
    from opsctl.model.snapshots import parse_time

    try:
        start, began = parse_time(said), session.clock()
    except ValueError as error:
        raise UsageError(f"{CLOCK}={said}: no moment with a time zone", hint="2026-12-12T02:30:00+05:30") from error
    return lambda: start + (session.clock() - began)


def open_site(
    session: Session, *, trust: Sequence[str] = (), wait: str | None = None, given: Given | None = None
) -> Site:
    """The configuration made to work, or one made of nothing but the repository given on the command line."""
    from opsctl.wiring import Site

    for fingerprint in trust:
        check_fingerprint(fingerprint)
    session.hooks.session = session
    config = _given_config(given, session) if given else load(session)
    seconds = parse_duration(wait).total_seconds() if wait else 0.0
    site = Site(config, clock=clock(session), trust=trust, wait=seconds, environ=session.environ)
    if session.environ.get(CLOCK):
        site.notes.append(f"the clock is set by {CLOCK}; this is for tests and drills")
    break_glass.enter(session, site)
    site.on_entry = lambda kind, name: _keep(session, site, kind, name)
    session.hooks.site = site
    session.hooks.on_bug = lambda summary, trace: _write_bug(site, summary, trace)
    return site


def _keep(session: Session, site: Site, kind: str, name: str) -> None:
    from opsctl.cli.incident_keep import written

    written(session, site, kind, name)


def check_fingerprint(text: str) -> None:
    """UsageError for what can be no key's fingerprint: it would be kept and never match."""
    if re.fullmatch(r"SHA256:[A-Za-z0-9+/]{43}", text) is None:
        raise UsageError(f"--trust {text}: no fingerprint of a key", hint="SHA256: and 43 characters; `backup init` printed it")


def who() -> str:
    """The name of the user that we run as; the number where the machine knows no name for it."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name  # and not what LOGNAME says: anybody sets that
    except KeyError:
        return f"uid {os.geteuid()}"


def load(session: Session) -> Any:
    """The configuration. ConfigError with every mistake at once."""
    from opsctl.engine.configuration import find_config_dir, load_config

    return load_config(find_config_dir(session.config, session.environ, os.geteuid()))


def _given_config(given: Given, session: Session) -> Any:
    import hashlib

    from opsctl.model.config import Config
    from opsctl.model.part import NotValid

    if given.password_file is None:
        raise SafetyRefusal("the repository's password is needed", hint="--password-file FILE")
    far = given.url.startswith(("rest:", "s3:", "sftp:"))
    url = given.url if far else str(Path(given.url).absolute())
    if not far:
        places.require_repository(given.url, Path(url), lambda: _configured(session))
    name = f"given-{hashlib.sha256(url.encode()).hexdigest()[:8]}"
    spec: dict[str, Any] = {"url": url, "password_file": str(Path(given.password_file).absolute())}
    for key in ("user", "secret_file", "cacert", "host_key", "ssh_key_file"):
        value = getattr(given, key)
        if value is not None:
            spec[key] = value if key in ("user", "host_key") else str(Path(value).absolute())
    if url.startswith("s3:"):  # the names under which everything that speaks S3 looks for them, restic too
        spec |= {"access_key_env": "AWS_ACCESS_KEY_ID", "secret_key_env": "AWS_SECRET_ACCESS_KEY",
                 "region": session.environ.get("AWS_DEFAULT_REGION")}
    if url.startswith("sftp:") and not (given.host_key and given.ssh_key_file):
        raise SafetyRefusal("an SFTP server's host key and the key to log in with are needed",
                            hint="--host-key 'ssh-ed25519 AAAA…' --ssh-key-file FILE")
    home = session.environ.get("XDG_STATE_HOME") or os.path.join(session.environ.get("HOME", "/root"), ".local/state")
    try:
        return Config.model_validate({"state": os.path.join(home, "opsctl"), "repositories": {name: spec}})
    except NotValid as error:
        first = error.errors()[0]
        raise SafetyRefusal(f"--repository: {first['msg'].removeprefix('Value error, ')}") from error


def _configured(session: Session) -> Sequence[str]:
    """The names of the repositories of this machine's configuration, if it has one that can be read."""
    try:
        return list(load(session).repositories)
    except OpsError:
        return ()


def _write_bug(site: Site, summary: str, trace: str) -> str | None:
    try:
        entry = site.journal.append("bug", {"summary": summary, "trace": trace})
    except OpsError:
        return None
    return f"the journal, seq {entry.seq}"


def carry_out(
    session: Session,
    site: Site,
    playbook: str,
    inputs: Mapping[str, Any],
    *,
    subject: str,
    before: Callable[[BoundPlan, World], None] | None = None,
    text: Callable[[Out, Tally, BoundPlan], None] | None = None,
    result: Callable[[Tally], Mapping[str, Any]] | None = None,
    told: Told | None = None,
    by: str | None = None,
    shape: Callable[[BoundPlan], BoundPlan] | None = None,
    brief: bool = False,
    once: bool = False,
    stands: Callable[[], bool] | None = None,
) -> Report:
    """Bind a playbook and carry it out (or say what it would do, with --dry-run). ``once``: not where a run waits that asks for the very same:
    for people to approve it, or with ``stands`` also for its time, where what it did still stands.

    ``shape`` changes the bound plan: how many at once, how many may fail. ``told`` gives a line to be said as each step ends; ``by``: who starts it, where that is not the user that we run as.
    """
    from opsctl.actions.registry import action
    from opsctl.cli.isolate_hosts import person
    from opsctl.engine.bind import bind, run_id
    from opsctl.engine.playbooks import path_of, read
    from opsctl.wiring.playbooks import refuse_unsigned_playbook

    # To the minute: a timer that fires a second early must not put a set off by an hour, and again the next time.
    now = site.clock().replace(second=0, microsecond=0)
    run = run_id(now, subject, site.token())
    path = path_of(playbook, site.config)
    found = read(path)
    refuse_unsigned_playbook(site, path)
    plan = bind(found, inputs, config=site.config, registry=action, run=run, now=now,
                started_by=by or person())
    refuse_hopeless(plan, action, site.config)
    plan = shape(plan) if shape else plan
    if once and (asked := _asked_before(site, plan, subject, stands)) is not None:
        return asked
    return go(session, site, plan, before=before, text=text, result=result, told=told, brief=brief)


def _asked_before(site: Site, plan: BoundPlan, subject: str, stands: Callable[[], bool] | None) -> Report | None:
    """That a run waits, for people or for its time, which would do the very same; None where none does."""
    from opsctl.engine.runs import Runs
    from opsctl.wiring import load_plan

    runs = Runs(site.place, site.journal, site.locks)
    for path in sorted(runs.directory.glob(f"*-{subject[:24].strip('-')}-*/result.json"), reverse=True):
        try:
            other = load_plan(site, path.parent.name)
        except OpsError:
            continue
        waits = (runs.result(other.run) or {}).get("waiting", ()) if runs.standing(other.run) == "waiting" else ()
        gates = {step.id for step in other.steps if step.uses == "approve"}
        if waits and _matter(other) == _matter(plan) and (gates & {one["step"] for one in waits} or (stands is not None and stands())):
            return _waits_already(site, other, waits)
    return None


def _waits_already(site: Site, other: BoundPlan, waits: Sequence[Mapping[str, Any]]) -> Report:
    why = "; ".join(str(one["for"]) for one in waits)
    return Report(result={"waiting": [dict(one) for one in waits]}, run=other.run, warnings=site.said,
                  text=lambda out: out.line(f"run {other.run} asks for the very same already, and no other was begun"),
                  errors=[Waiting(f"run {other.run} waits already: {why}", where=other.playbook, hint=f"opsctl resume {other.run} goes on with it")])


def _matter(plan: BoundPlan) -> tuple[Any, ...]:
    """What two runs of one playbook have to have in common to be the same request: not how it is told."""
    said = {name: value for name, value in plan.inputs.items() if name not in ("say", "doubt")}
    return plan.playbook, said, [(step.id, step.uses, dict(step.configured)) for step in plan.steps]


def refuse_hopeless(plan: BoundPlan, registry: Callable[[str], Any], config: Any) -> None:
    """SafetyRefusal for a plan that would be refused in the middle, whoever approves it. Nothing was done yet."""
    from opsctl.engine.gates import hopeless

    if found := list(hopeless(plan, registry, config)):
        raise SafetyRefusal(f"this run of {plan.playbook} would be refused in the middle: {'; '.join(f'step {step}: {why}' for step, why in found)}",
                            where=plan.playbook, hint=f"nothing was done; opsctl playbooks show {plan.playbook}")


def go(
    session: Session,
    site: Site,
    plan: BoundPlan,
    *,
    resume: bool = False,
    repeat: Sequence[str] = (),
    before: Callable[[BoundPlan, World], None] | None = None,
    text: Callable[[Out, Tally, BoundPlan], None] | None = None,
    result: Callable[[Tally], Mapping[str, Any]] | None = None,
    told: Told | None = None,
    brief: bool = False,
) -> Report:
    """Carry out a bound plan, or go on with it, and report.

    ``brief``: ``text`` says what is waited for; people are not told it again below it.
    """
    from opsctl.actions.registry import action
    from opsctl.cli.progress import display
    from opsctl.cli.signals import working
    from opsctl.engine.executors.local import LocalExecutor
    from opsctl.engine.runs import Runs
    from opsctl.wiring import World

    if session.break_glass:
        break_glass.refuse(plan, action)
    with working(session) as stopped, display(session) as tell, _place(session, site, plan) as place, contextlib.ExitStack() as stack:
        world = stack.enter_context(contextlib.closing(World(site, plan, on_progress=tell, on_tell=tell.say, directory=place)))
        if before is not None:
            before(plan, world)
        executor = LocalExecutor(stopped=stopped)
        said = _Teller(session, tell, told, brief)
        runs = Runs(site.place, site.journal, site.locks, wait=site.wait)
        if session.dry_run:
            tally = runs.dry(plan, world, executor, action, said, resume=resume, repeat=repeat)
        else:
            session.hooks.run = plan.run
            patient = session.interactive and not session.json
            if resume:
                tally = runs.resume(plan, world, executor, action, said, repeat=repeat, patient=patient)
            else:
                tally = runs.start(plan, world, executor, action, said, patient=patient)
    found: dict[str, Any] = dict(result(tally)) if result else {"steps": [_step(one) for one in tally.results]}
    found["outcomes"] = tally.outcomes
    # Two steps that met the same trouble say it once.
    once = {(error.code, error.message, error.where): error for error in tally.errors}
    order = {step.id: number for number, step in enumerate(plan.steps)}
    waiting = sorted(tally.waiting, key=lambda one: order[one.step])
    waits: list[OpsError] = [Waiting(one.because, where=one.step) for one in waiting]
    if brief and waits and not session.json:
        waits = [Waiting(f"waits for people: {', '.join(dict.fromkeys(one.step for one in waiting))}", hint=f"opsctl resume {plan.run}")]
    errors = [*once.values(), *waits]

    def write(out: Out) -> None:
        if session.dry_run:
            _write_planned(out, tally)
        elif text is not None:
            text(out, tally, plan)
        else:
            write_steps(out, tally.results)

    return Report(result=found, text=write, exit_code=tally.exit_code, run=None if session.dry_run else plan.run,
                  errors=errors, warnings=world.warnings)


@contextlib.contextmanager
def _place(session: Session, site: Site, plan: BoundPlan) -> Iterator[Path | None]:
    """Where a dry run keeps what it has to keep, beside what its run has kept so far: gone afterwards."""
    if not session.dry_run:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="opsctl-dry-run-") as made:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            shutil.copytree(site.place / "runs" / plan.run / "kept", Path(made) / "kept")
        yield Path(made)


class _Teller:
    """Says each step as it ends, above the progress, where a person wants to follow."""

    def __init__(self, session: Session, tell: Any, told: Told | None, brief: bool = False) -> None:
        self.session = session
        self.tell = tell
        self.told = told
        self.brief = brief
        self.done: dict[str, int] = {}

    def __call__(self, step: BoundStep, result: StepResult) -> None:
        if self.told is not None and not self.session.dry_run:
            if (line := self.told(step, result)) is not None:
                self.tell.say(line)
            self.done[step.id] = self.done.get(step.id, 0) + 1
            self.tell.count(step.title, self.done[step.id], len(step.items), "host")
            return
        waiting = result.outcome == "waiting"
        if self.brief and self.session.dry_run:
            return
        if self.brief and not self.session.verbose:
            for said in response.told(step, result, asks=self.session.interactive):
                self.tell.say(said)
        elif self.session.verbose or waiting:
            item = f" {result.item}" if result.item else ""
            self.tell.say(Mark(f"{step.id}{item}: {result.outcome} ({result.because})", TONES[result.outcome]))


def _step(result: StepResult) -> dict[str, Any]:
    return {"step": result.step, "item": result.item, "outcome": result.outcome, "because": result.because,
            "changes": list(result.changes), "result": dict(result.result)}


TONES = {"ok": Tone.GOOD, "changed": Tone.GOOD, "failed": Tone.BAD, "waiting": Tone.WARN, "unknown": Tone.WARN,
         "skipped": Tone.QUIET, "planned": Tone.STRONG}


def write_steps(out: Out, results: Sequence[StepResult]) -> None:
    """Steps with outcome and reason, for people."""
    from opsctl.cli.report import Column, Table

    out.table(Table(
        ("step", "item", "outcome", Column("because", flexible=True)),
        [(one.step, one.item or "", Mark(one.outcome, TONES[one.outcome]), one.because) for one in results],
        empty="nothing to do",
    ))


def _write_planned(out: Out, tally: Tally) -> None:
    from opsctl.engine.executors.interface import DONE_BEFORE

    planned = [change for one in tally.results for change in one.changes]
    before = [f"{one.step} {one.item}" if one.item else one.step for one in tally.results if one.because == DONE_BEFORE]
    if before:
        out.line(f"done before: {', '.join(before)}")
    if not planned and not tally.errors:
        out.line("nothing would be done")
    for change in planned:
        out.line(f"would {change}")


def days(span: timedelta) -> str:
    """An age in words."""
    from opsctl.model.due import words

    return words(span)


def local_time(site: Site, moment: datetime | None) -> str:
    """A moment in the organisation's time zone, to the minute and with the zone's name: ``2026-11-25 08:05 IST``."""
    from opsctl.model.moments import local

    return "never" if moment is None else local(moment, site.config.organisation.tz)


__all__ = ["Given", "carry_out", "clock", "days", "go", "load", "local_time", "open_site", "write_steps"]
