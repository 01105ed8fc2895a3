"""``opsctl people``: who may sign for what, accepted once, and changed by two who are in it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opsctl.cli.report import Cell, Column, Mark, Out, Report, Table, Tone
from opsctl.cli.session import Session, of
from opsctl.errors import OpsError, Refused, SafetyRefusal, UsageError, Waiting, concerning
from opsctl.model.moments import in_zone
from opsctl.model.quantities import counted

if TYPE_CHECKING:
    from opsctl.model.people import Roll
    from opsctl.model.two_people import Signed
    from opsctl.wiring import Site

app = typer.Typer(help="Who may sign for what: list them, accept them, change them with two signatures.", no_args_is_help=True)


@app.command("list")
def list_(context: typer.Context) -> Report:
    """The people, their keys, and the fingerprint of them all.

    Exit 23 where they are not the ones that were accepted.
    """
    from opsctl.cli.work import open_site
    from opsctl.model.people import differ, fingerprint, roll_of
    from opsctl.wiring.people import HINT, standing

    site = open_site(of(context))
    roll, found = roll_of(site.config.people), standing(site)
    known = found.people
    why = differ(known, roll) if known is not None else None
    how = f"accepted on the word of {found.alone} alone, as nobody else could sign: whose keys are these?" if found.alone else "accepted"
    said = "not accepted yet" if known is None else f"NOT the accepted ones ({fingerprint(known)})" if why else how
    errors = [SafetyRefusal(f"these are not the people that were accepted: {why}", where="people", hint=HINT)] if why else []

    def text(out: Out) -> None:
        out.table(Table(("person", "roles", "deputy of", Column("key", flexible=True)), [
            (name, ", ".join(one["roles"]), one["deputy_of"] or "", _key(site, one) or Mark("none: cannot sign", Tone.QUIET))
            for name, one in roll.items()], empty="there is nobody under people:"))
        out.line(f"all of them: {fingerprint(roll)}, {said}")

    return Report(result={"fingerprint": fingerprint(roll), "accepted": fingerprint(known) if known is not None else None, "alone": found.alone,
                          "people": {name: {**one, "key": _key(site, one)} for name, one in roll.items()}},
                  text=text, errors=errors, warnings=site.said)


def _key(site: Site, one: Mapping[str, Any]) -> str | None:
    return site.fingerprint(one["ssh_key"]) if one["ssh_key"] else None


@app.command("accept")
def accept(
    context: typer.Context,
    fingerprint: Annotated[str, typer.Argument(metavar="SHA256:…", help="the fingerprint of them all, as the emergency kit has it")],
) -> Report:
    """Accept them by the fingerprint in the emergency kit.

    For a machine that has lost its state directory. Where others are accepted, only their signatures change that.
    """
    from opsctl.cli.work import open_site
    from opsctl.model.people import differ, roll_of
    from opsctl.model.people import fingerprint as of_all
    from opsctl.wiring.people import BY_FINGERPRINT, HINT, accepted
    from opsctl.wiring.people import accept as pin

    session = of(context)
    site = open_site(session)
    roll, known = roll_of(site.config.people), accepted(site)
    if known is not None and (why := differ(known, roll)):
        raise SafetyRefusal(f"others were accepted: {why}", where="people", hint=HINT)
    if of_all(roll) != fingerprint:
        raise Refused(f"the people in the configuration have the fingerprint {of_all(roll)}, not {fingerprint}", where="people",
                      hint="nothing was accepted. Bring the configuration back as the kit has it, and find out who changed it")
    if known is None and not session.dry_run:
        pin(site, BY_FINGERPRINT, {})

    def text(out: Out) -> None:
        out.line("they were accepted before" if known is not None else Mark(f"accepted: {', '.join(roll)}", Tone.GOOD))

    return Report(result={"fingerprint": fingerprint, "accepted": known is None}, text=text, warnings=site.said)


@app.command("change")
def change(
    context: typer.Context,
    by: Annotated[str | None, typer.Option("--by", metavar="NAME", help="sign, as one of those who are accepted")] = None,
    key: Annotated[Path | None, typer.Option(
        "--key", metavar="FILE", help="your SSH private key, or the .pub of one that your agent holds")] = None,
    file: Annotated[Path | None, typer.Option(
        "--file", metavar="FILE", help="the request, to be carried to another machine and back; in the state directory if not given")] = None,
) -> Report:
    """Let the configured people be accepted, with two signatures.

    First the configuration is changed. Then the first call writes a request; two of those who were accepted so far sign it
    with `--by`, here or on another machine; the same call without `--by` checks all of it and accepts. It holds for a day.
    """
    session = of(context)
    if file is not None and by is not None and file.exists():
        return _sign_elsewhere(session, file, by, key)
    from opsctl.cli.work import open_site
    from opsctl.model.people import refuse_fewer, roll_of
    from opsctl.wiring.people import standing

    site = open_site(session)
    found = standing(site)
    known = found.people
    if known is None:
        raise UsageError("nobody was accepted yet, so there is nothing to change",
                         hint="opsctl people accept SHA256:…, or they are at the first approval")
    roll = roll_of(site.config.people)
    place = file or site.state / "people-change.json"
    if known == roll:
        if file is None and not session.dry_run:
            place.unlink(missing_ok=True)  # of a call that was killed when it had accepted them
        return Report(result={"applied": False, "changes": []}, text=lambda out: out.line("they are accepted as they are"), warnings=site.said)
    refuse_fewer(known, roll, found.ever)
    return _Change(session, site, place, known, roll, found.ever).go(by, key)


def _sign_elsewhere(session: Session, file: Path, by: str, key: Path | None) -> Report:
    """Sign what the file shows, on any machine; whose key that is, is checked where it is applied."""
    from opsctl.cli.signing import read_json, sign_request, signed_nowhere, write_request
    from opsctl.model.people import NAMESPACE, changes, read
    from opsctl.wiring.people import checked

    with concerning(str(file)):
        asked, signed = read(read_json(file, "a request"))
    site = signed_nowhere(session)
    checked(site, asked, signed, NAMESPACE, str(file))
    until = in_zone(asked["expires"], site.config.organisation.tz)
    lines: list[Cell] = [*(f"  {one}" for one in changes(asked["old"], asked["new"])), f"it holds until {until}"]
    _ask(session, lines)
    new = sign_request(site, asked, by, key, _keys(site, asked["old"]), NAMESPACE)
    if not session.dry_run:
        write_request(file, asked, [*signed, new])
    return Report(result={"signed_by": [*(one.by for one in signed), by], "applied": False, "file": str(file)},
                  text=lambda out: out.line(f"signed by {by}; next: opsctl people change --file {file.name}"), warnings=site.said)


def _ask(session: Session, lines: Sequence[Cell]) -> None:
    import sys

    from opsctl.cli import render

    render.make_out(sys.stderr, session.environ).lines(lines)
    if not session.dry_run and not session.confirm("sign this change of the people?"):
        raise SafetyRefusal("nothing was signed")


def _keys(site: Site, roll: Roll) -> dict[str, str]:
    return {name: found for name, one in roll.items() if (found := _key(site, one))}


class _Change:
    """One call about the change from the accepted people to the configured ones."""

    def __init__(self, session: Session, site: Site, place: Path, known: Roll, roll: Roll, ever: int) -> None:
        self.session = session
        self.site = site
        self.place = place
        self.known = known
        self.roll = roll
        self.ever = ever

    def go(self, by: str | None, key: Path | None) -> Report:
        from opsctl.cli.signing import sign_request, write_request
        from opsctl.model.people import NAMESPACE, changes, needed, request
        from opsctl.model.two_people import weigh

        made = not self.place.exists()
        if made:
            asked = request(old=self.known, new=self.roll, nonce=secrets.token_hex(16), now=self.site.clock())
            signed: list[Signed] = []
        else:
            asked, signed = self._read()
        lines: list[Cell] = [f"  {one}" for one in changes(self.known, self.roll)]
        if by is not None:
            _ask(self.session, [*lines, f"it holds until {in_zone(asked['expires'], self.site.config.organisation.tz)}"])
            signed = [*signed, sign_request(self.site, asked, by, key, _keys(self.site, self.known), NAMESPACE)]
        enough = needed(self.known, self.ever)
        people = weigh(signed, _keys(self.site, self.known), "this change of the people", "people", needed=enough)
        if (made or by is not None) and not self.session.dry_run:
            write_request(self.place, asked, signed)
        if by is None and len(people) >= enough:
            return self._apply(asked, signed, people, lines)
        return self._waiting(asked, people, enough - len(people), lines, waits=by is None)

    def _read(self) -> tuple[dict[str, Any], list[Signed]]:
        from opsctl.cli.signing import read_json
        from opsctl.model.people import NAMESPACE, read, refuse_stale
        from opsctl.wiring.people import checked

        with concerning(str(self.place)):
            asked, signed = read(read_json(self.place, "a request"))
        try:
            refuse_stale(asked, accepted=self.known, configured=self.roll, now=self.site.clock())
        except SafetyRefusal as error:
            error.where, error.hint = str(self.place), f"remove {self.place} and begin anew: opsctl people change"
            raise
        return asked, checked(self.site, asked, signed, NAMESPACE, str(self.place))

    def _apply(self, asked: Mapping[str, Any], signed: Sequence[Signed], people: Sequence[str], lines: Sequence[Cell]) -> Report:
        from opsctl.model.people import fingerprint
        from opsctl.wiring.people import SIGNED
        from opsctl.wiring.people import accept as pin

        if self.session.dry_run:
            return self._report(lines, people, f"would be accepted, signed by {' and '.join(people)}", applied=False)
        pin(self.site, SIGNED, {"request": dict(asked), "signatures": [
            {"by": one.by, "key": one.signer, "signature": one.signature} for one in signed]})
        self.place.unlink(missing_ok=True)
        if len(people) == 1:
            self.site.notes.append(f"ACCEPTED ON ONE PERSON'S WORD: nobody but {people[0]} could sign. From now on it takes two; show the new fingerprint to "
                                   "each of them, or whoever holds that key is two people")
        return self._report(lines, people, f"accepted, signed by {' and '.join(people) or 'nobody, for nobody could'}; the fingerprint "
                            f"is now {fingerprint(self.roll)}: build the emergency kit anew", applied=True)

    def _waiting(self, asked: Mapping[str, Any], people: Sequence[str], missing: int, lines: Sequence[Cell], *, waits: bool) -> Report:
        sign = f"opsctl people change --file {os.path.abspath(self.place)} --by NAME --key FILE"
        said = f"signed by {', '.join(people) or 'nobody yet'}; it holds until {in_zone(asked['expires'], self.site.config.organisation.tz)}, in {self.place}"
        errors: list[OpsError] = []
        if missing > 0 and waits:
            errors = [Waiting(f"{counted(missing, 'person', 'people')} of those who were accepted still "
                              f"{'has' if missing == 1 else 'have'} to sign this change of the people", hint=sign, where="people")]
        following = "opsctl people change" if missing <= 0 else f"another person: {sign}"
        return self._report(lines, people, said, applied=False, errors=errors, following="" if waits else following)

    def _report(self, lines: Sequence[Cell], people: Sequence[str], said: str, *, applied: bool, errors: Sequence[OpsError] = (),
                following: str = "") -> Report:
        from opsctl.model.people import changes

        def text(out: Out) -> None:
            out.lines([*lines, Mark(said, Tone.GOOD) if applied else said, *([f"next, {following}"] if following else [])])

        return Report(result={"applied": applied, "signed_by": list(people), "changes": changes(self.known, self.roll),
                              "file": None if applied else str(self.place)}, text=text, errors=errors, warnings=self.site.said)
