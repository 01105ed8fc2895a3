"""``opsctl restore looked`` and ``choose``: what people say of a suspect set, and to which one they decide to go back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from opsctl.cli import for_incident, places
from opsctl.cli.report import Mark, Out, Report, Tone
from opsctl.cli.session import of
from opsctl.errors import SafetyRefusal, UsageError
from opsctl.model import points as model

if TYPE_CHECKING:
    from opsctl.engine.runs import Tally
    from opsctl.model.plan import BoundPlan


def looked(
    context: typer.Context,
    backup: Annotated[str, typer.Argument(metavar="BACKUP", help="name of the backup")],
    set_id: Annotated[str, typer.Argument(metavar="SET", help="the id of the suspect set")],
    innocent: Annotated[bool, typer.Option("--innocent", help="what changed was right: it counts as clean, and those after it")] = False,
    attack: Annotated[bool, typer.Option("--attack", help="it is an attack: neither it nor those after it are gone back to")] = False,
    note: Annotated[str, typer.Option("--note", metavar="TEXT", help="how you know; it stands in the journal")] = "",
    by: Annotated[str, typer.Option("--by", metavar="NAME", help="who looked: one of `people`, who signs it; --innocent needs that")] = "",
    key: Annotated[Path | None, typer.Option("--key", metavar="FILE", help="your SSH private key, or the .pub of one that your agent holds")] = None,
) -> Report:
    """Say that you looked at a suspect set, and what it is.

    Until somebody does, `status` exits 5 and notices are repeated. That it is an attack anybody may say; that it is innocent
    is signed by one of `people`, and while an incident is open by two.
    """
    from opsctl.cli.signing import sign_as
    from opsctl.cli.work import open_site, who
    from opsctl.model.statements import signed_bytes, speakable
    from opsctl.model.unknown import unknown
    from opsctl.wiring.looked import NAMESPACE, known_members, said_of, statement, write
    from opsctl.wiring.people import accept_first

    session = of(context)
    if innocent == attack:
        raise UsageError("either --innocent or --attack", hint=f"opsctl backup show {set_id} names the files to look at")
    site = open_site(session)
    if innocent and not by and known_members(site) is not None:
        raise UsageError("who says that it is innocent? that is signed", hint=f"opsctl restore looked {backup} {set_id} --innocent --by NAME, a name under people:")
    judgement = places.look(site, places.home(site, backup)).judgement
    if set_id in places.NEWEST:
        set_id = places.choose(site, judgement, backup, None).id
    view = next((one for one in judgement.of(backup) if one.id == set_id), None)
    if view is None:
        raise unknown("set", set_id, [one.id for one in judgement.of(backup)], hint=f"opsctl backup list {backup}")
    word = model.INNOCENT if innocent else model.ATTACK
    said = {"backup": backup, "set": set_id, "word": word, "by": by or who(), "time": site.clock().isoformat(timespec="seconds"), "note": speakable(note)}
    if innocent and not session.dry_run and not session.confirm(f"count set {set_id} of {backup} as clean, and what was taken after it?"):
        raise SafetyRefusal("nothing was changed")
    if by:
        said["signature"], _ = sign_as(site, by, key, signed_bytes(statement(said)), NAMESPACE)
    if not session.dry_run:
        if by:
            accept_first(site)
        write(site, said)
    needs = said_of(site, backup)[set_id].needs if innocent and not session.dry_run else 0

    def text(out: Out) -> None:
        out.line(f"set {set_id} of {backup}: {word}, says {said['by']}")
        if needs:
            out.line(Mark("an incident is open, so that it counts once another person has signed it as well", Tone.WARN))
        if attack:
            out.line(Mark("now: opsctl incident open; it freezes retention and starts the clocks. `status` stays 5 until then", Tone.WARN))

    return Report(result={**said, "needs": needs}, text=text, warnings=site.said)


def choose(
    context: typer.Context,
    backup: Annotated[str, typer.Argument(metavar="BACKUP", help="name of the backup")],
    set_id: Annotated[str, typer.Argument(metavar="SET", help="the id of the set")],
    before: Annotated[str | None, typer.Option("--before", metavar="TIME", help="when the data first went bad")] = None,
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="the reason; it is signed with the rest")] = "",
    copy_in: places.From = None,
    incident: for_incident.Named = "",
) -> Report:
    """Decide to which set one goes back: two people sign it.

    The decision is written into the repository with their signatures. Exit 4 until both have said so by `opsctl approve`.
    """
    from opsctl.cli.journal import moment_of
    from opsctl.cli.work import carry_out, local_time, open_site
    from opsctl.model.unknown import unknown
    from opsctl.wiring.looked import said_of

    session = of(context)
    site = open_site(session)
    if copy_in is not None and copy_in not in site.config.repositories:
        raise unknown("repository", copy_in, site.config.repositories)
    ours = for_incident.meant(site, incident)
    repository = copy_in or places.home(site, backup)
    view = next((one for one in places.look(site, repository).judgement.of(backup) if one.id == set_id), None)
    if view is None:
        raise unknown("set", set_id, [one.id for one in places.look(site, repository).judgement.of(backup)],
                      hint=f"opsctl restore points {backup}")
    bound = moment_of(before, site.clock(), site.config.organisation.tz, "--before") if before else None
    looked = said_of(site, backup).get(set_id)
    verdict = f"{view.verdict}{f', {looked.word}, {looked.words(site.config.organisation.tz)}' if looked else ''}"
    say = f"{backup} goes back to set {set_id}, {local_time(site, view.time)}, whose changes are {verdict}"
    moment = (view.taken_until if view.record else None) or view.time
    if bound is not None and (moment is None or moment >= bound):
        say += f", and which is NOT from before the first bad time, {local_time(site, bound)}"
    inputs = {"backup": backup, "set": set_id, "repository": repository, "before": bound.isoformat() if bound else "", "why": why, "say": say, "incident": ours}
    return carry_out(session, site, "restore-choose", inputs, subject=backup, text=_write, once=True)


def _write(out: Out, tally: Tally, plan: BoundPlan) -> None:
    for one in tally.results:
        if one.step == "decide" and one.result.get("people"):
            found = one.result
            out.line(Mark(f"{' and '.join(found['people'])} chose set {found['set']} of {found['backup']}", Tone.GOOD))
            out.line(f"next: opsctl restore plan --set {found['backup']}={found['set']}")
