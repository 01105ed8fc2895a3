"""``opsctl report draft``: the draft itself, what it still lacks, and how it is sent."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from opsctl.cli.report import Mark, Out, Report, Tone
from opsctl.errors import UsageError
from opsctl.model.incident import Incident
from opsctl.model.quantities import counted

if TYPE_CHECKING:
    from opsctl.cli.session import Session
    from opsctl.engine.reports import Drafted
    from opsctl.wiring import Site

_ORDER = (".txt", ".pdf", ".html", ".json", ".eml")


def draft(session: Session, which: str, incident: str, person: str, language: str) -> Report:
    """Exit 3 where something of it could not be made or kept; it is shown all the same."""
    from opsctl.cli.work import open_site, who
    from opsctl.reports.drafting import kind_of

    kind_of(which)
    languages = _languages(language)
    site = open_site(session)
    found = chosen(site, incident)
    made = site.reports.draft(which, found.id, by=who(), languages=languages, person=person, dry=session.dry_run)
    paths = sorted(made.paths, key=lambda path: _ORDER.index(path.suffix))

    def write(out: Out) -> None:
        for line in made.draft.text.splitlines():
            out.line(line)
        out.line()
        _write_rest(out, session, found, made, paths)

    return Report(result={**made.draft.json, "files": [str(path) for path in paths], "text": made.draft.text, "changed": list(made.draft.changed),
                          "missing": list(made.draft.missing)},
                  text=write, errors=list(made.problems), exit_code=3 if made.problems else 0, warnings=[*made.draft.doubts, *site.said])


def _write_rest(out: Out, session: Session, found: Incident, made: Drafted, paths: list[Path]) -> None:
    draft = made.draft
    if made.before:
        out.line(Mark(f"since draft {made.before}: {', '.join(draft.changed) or 'nothing'} changed", Tone.QUIET))
    if draft.missing:
        out.line(Mark(f"not yet known, and asked for in a first report: {', '.join(draft.missing)}: opsctl incident fill {found.id} FIELD=VALUE "
                      f"(opsctl report fields {draft.report})", Tone.WARN))
    if paths:
        out.line(Mark(f"draft {draft.number} is in {paths[0].parent}: {', '.join(path.name for path in paths)}", Tone.GOOD))
    for name, text in draft.notes:
        out.line(f"{name}: {text}")
    if not session.dry_run:
        out.line(f"when it was sent: opsctl report sent {draft.report} --incident {found.id} --channel email --by WHO --reference NUMBER")


def chosen(site: Site, name: str) -> Incident:
    """The incident of that name, or the only open one."""
    if name:
        found: Incident = site.incidents.get(name)
        return found
    open_ones: list[Incident] = site.incidents.open_ones()
    if not open_ones:
        raise UsageError("no incident is open", hint="opsctl incident open" + ("; --incident ID for one that was closed" if site.incidents.all() else ""))
    if len(open_ones) > 1:
        raise UsageError(f"{counted(len(open_ones), 'incident')} are open: which one?", hint="--incident ID; opsctl incident list")
    return open_ones[0]


def _languages(said: str) -> tuple[str, ...]:
    from opsctl.model.unknown import unknown

    known = {"": (), "en": ("en",), "hi": ("hi",), "both": ("en", "hi")}
    if said not in known:
        raise unknown("language", said, [one for one in known if one])
    return known[said]
