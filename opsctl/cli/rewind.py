"""``opsctl backup rewind``: a repository in a bucket as it was before somebody overwrote or deleted in it."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opsctl.cli.report import Mark, Out, Report, Tone
from opsctl.cli.session import of
from opsctl.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opsctl.actions.interface import Change
    from opsctl.actions.rewind import Seen
    from opsctl.engine.runs import Tally
    from opsctl.model.plan import BoundPlan
    from opsctl.repositories.s3_place import S3Place
    from opsctl.wiring import Site

_SHOWN = 20  # events or objects


def rewind(
    context: typer.Context,
    repository: Annotated[str, typer.Argument(metavar="REPOSITORY", help="name of a repository in an S3 store with versions")],
    to: Annotated[str | None, typer.Option(
        "--to", metavar="TIME", help="the moment, or an age (2h); without it what happened is shown, and when")] = None,
    access_key_file: Annotated[str | None, typer.Option(
        "--access-key-file", metavar="FILE", help="another access key for this run, such as the bucket owner's")] = None,
    secret_key_file: Annotated[str | None, typer.Option(
        "--secret-key-file", metavar="FILE", help="file with the secret of that key")] = None,
    hide: Annotated[list[str] | None, typer.Option(
        "--hide", metavar="OBJECT", help="also hide this object, which verify named as planted (snapshots/ID); may be given again")] = None,
) -> Report:
    """Undo overwriting and deletion in a bucket that keeps versions.

    Without --to it shows what was overwritten or deleted, and when. With it, every object is brought back to how it was
    then, what was planted is hidden, and everything is read to prove it. No version is deleted. --dry-run shows the plan.
    """
    from opsctl.actions.rewind import Rewind, RewindParams, observe, summary
    from opsctl.cli.backup import known
    from opsctl.cli.journal import moment_of
    from opsctl.cli.work import carry_out, local_time, open_site
    from opsctl.repositories.s3_store import S3Store

    session = of(context)
    if bool(access_key_file) != bool(secret_key_file):
        raise UsageError("--access-key-file and --secret-key-file belong together")
    site = open_site(session)
    known([repository], site.config.repositories, "repository")
    store = getattr(site.history(repository).repository, "store", None)
    if not isinstance(store, S3Store):
        raise UsageError(f"{repository} is not in an S3 store", hint="only a bucket that keeps versions can be rewound")
    keys = [os.path.abspath(file) if file else "" for file in (access_key_file, secret_key_file)]
    if to is None:
        return _happened(site, repository, _with_keys(site, store.place, keys))
    moment = moment_of(to, site.clock(), site.config.organisation.tz, "--to")
    if moment > site.clock() + timedelta(minutes=1):
        raise UsageError(f"--to {to}: that is still to come")
    pinned = site.history(repository).pinned()
    seen = observe(_with_keys(site, store.place, keys), moment, repository,
                   config_sha256=pinned.config_sha256 if pinned else None, hide=hide or ())
    params = RewindParams(repository=repository, to=moment.isoformat(), access_key_file=keys[0], secret_key_file=keys[1],
                          hide=tuple(hide or ()))
    changes, doubt = Rewind().plan(params, seen), seen.doubt(site.config.organisation.tz)
    if session.dry_run:  # what is still in ruins cannot be read to prove it
        return Report(result={"rewind": {**summary(seen), "changes": [change.text for change in changes]}},
                      text=lambda out: _write_planned(out, seen, changes), warnings=[*site.said, *([doubt] if doubt else [])])
    planned = "; ".join(change.text for change in changes)
    if planned and not session.confirm(f"{planned}; back to {local_time(site, moment)}?"):
        return Report(result={"rewound": False}, text=lambda out: out.line("nothing was done"))
    inputs = {"repository": repository, "to": params.to, "access_key_file": keys[0], "secret_key_file": keys[1],
              "hide": list(params.hide), "locked": [repository] if site.config.repositories[repository].object_lock else []}

    def result(tally: Tally) -> dict[str, Any]:
        return {one.step: {**one.result, "outcome": one.outcome} for one in tally.results}

    return carry_out(session, site, "rewind", inputs, subject=repository, text=write, result=result)


def write(out: Out, tally: Tally, plan: BoundPlan) -> None:
    """What was done, what is left, and whether everything could be read."""
    for one in tally.results:
        if one.step == "rewind" and one.result:
            left = sum(one.result[deed] for deed in ("uncover", "put_back", "hide"))
            if left:
                out.line(Mark(f"{left} of {one.result['objects']} objects are not as they were at {one.result['to']}", Tone.BAD))
            else:
                out.line(Mark(f"{one.result['repository']}: all objects are as they were at {one.result['to']}", Tone.GOOD))
            out.lines([f"  {change}" for change in one.changes])
            for name in one.result["locks"]:
                out.line(Mark(f"  {name} was left as it is; if nothing is at work there: restic unlock", Tone.WARN))
        elif one.step == "verify":
            read = one.outcome == "ok"
            out.line(Mark("everything was read back and is whole" if read else f"not proven: {one.because}",
                          Tone.GOOD if read else Tone.BAD))


def _with_keys(site: Site, place: S3Place, keys: list[str]) -> S3Place:
    if not keys[0]:
        return place
    from opsctl.model.secrets import SecretRef
    from opsctl.shells.secrets import read_secret

    words = [read_secret(SecretRef(option, file=file), site.shell).reveal()
             for option, file in zip(("--access-key-file", "--secret-key-file"), keys, strict=True)]
    return place.with_keys(lambda: (words[0], words[1]))


def _write_planned(out: Out, seen: Seen, changes: Sequence[Change]) -> None:
    if not changes:
        out.line("nothing would be done")
    for change in changes:
        out.line(f"would {change.text}")
    for step in seen.steps[:_SHOWN]:
        out.line(Mark(f"  {step.deed} {step.name}", Tone.QUIET))
    if len(seen.steps) > _SHOWN:
        out.line(Mark(f"  and {len(seen.steps) - _SHOWN} more; --json names more of them", Tone.QUIET))
    if changes:
        out.line("and then everything would be read to prove it")


def _happened(site: Site, repository: str, place: S3Place) -> Report:
    from opsctl.cli.work import local_time
    from opsctl.repositories import versions

    found = versions.events(versions.read(place))

    def text(out: Out) -> None:
        if not found:
            out.line(Mark(f"{repository}: nothing was overwritten or deleted", Tone.GOOD))
            return
        out.line(Mark(f"{repository}: {len(found)} objects were overwritten or deleted; restic does neither", Tone.BAD))
        for event in found[:_SHOWN]:
            out.line(f"  {local_time(site, event.time)} ({event.time.isoformat()}) {event.what} {event.name}")
        if len(found) > _SHOWN:
            out.line(f"  and {len(found) - _SHOWN} more, until {local_time(site, found[-1].time)}")
        before = (found[0].time - timedelta(seconds=1)).isoformat()
        out.line(f"to go back to before the first of these: opsctl backup rewind {repository} --to {before} --dry-run")

    return Report(result={"events": [{"time": event.time, "what": event.what, "name": event.name} for event in found]},
                  text=text, warnings=site.said)
