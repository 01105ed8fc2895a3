"""``opsctl report list`` and ``fields``: what was drafted and sent, and what can be filled in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from opsctl.cli.report import Column, Mark, Out, Report, Table, Tone
from opsctl.errors import DamagedData, OpsError
from opsctl.model.incident import DRAFTED
from opsctl.plain_file import LARGEST, sha256_of

if TYPE_CHECKING:
    from opsctl.cli.session import Session


def list_reports(session: Session, name: str) -> Report:
    """Every draft that the journal or the folder knows, held against the hashes that were written down with it."""
    from opsctl.cli.report_draft import chosen
    from opsctl.cli.work import local_time, open_site

    site = open_site(session)
    found = chosen(site, name)
    folder = site.reports.folder(found.id)
    errors: list[OpsError] = []
    drafts: list[dict[str, Any]] = []
    for one in found.of(DRAFTED):
        report, number = one.data["report"], one.data["number"]
        state = {file["name"]: _state(folder / file["name"], file["sha256"]) for file in one.data["files"]}
        errors += [DamagedData(f"{folder / each}: {told} since it was drafted", where=str(folder / each)) for each, told in state.items() if told == "changed"]
        drafts.append({"report": report, "number": number, "at": one.at.isoformat(), "by": one.data["by"], "files": state,
                       "sent": [met.at.isoformat() for met in found.met if (met.report, met.draft) == (report, number)]})
    sent = [{"duty": one.duty, "at": one.at.isoformat(), "by": one.by, "channel": one.channel, "reference": one.reference, "report": one.report or None,
             "draft": one.draft or None, "files": [{"name": each, "sha256": digest} for each, digest in one.files]} for one in found.met]

    def text(out: Out) -> None:
        out.table(Table(("report", Column("draft", right=True), "drafted", "by", Column("files", flexible=True), "sent"), [
            (one["report"], str(one["number"]), local_time(site, record.at), one["by"], _files(one["files"]),
             Mark(", ".join(local_time(site, met.at) for met in found.met if (met.report, met.draft) == (one["report"], one["number"])), Tone.GOOD))
            for one, record in zip(drafts, found.of(DRAFTED), strict=True)],
            empty=f"nothing was drafted yet: opsctl report draft cert-in --incident {found.id}"))
        if drafts:
            out.line(Mark(f"in {folder}", Tone.QUIET))
        for met in found.met:
            which = f" ({met.report}, draft {met.draft})" if met.report else ""
            out.line(Mark(f"{met.duty}: sent {local_time(site, met.at)} by {met.by}, {met.channel} {met.reference}".rstrip() + which, Tone.GOOD))

    return Report(result={"incident": found.id, "folder": str(folder), "drafts": drafts, "sent": sent}, text=text, errors=errors,
                  exit_code=22 if errors else 0, warnings=[*site.said])


def list_fields(session: Session, which: str) -> Report:
    """The fields of one report or of all, with the values that a choice allows."""
    from opsctl.protocols.report_fields import report_fields, source_of
    from opsctl.reports.drafting import kind_of

    parts = kind_of(which).parts if which else tuple(report_fields())
    rows = [(field, source_of(part)) for part in parts for field in report_fields()[part]]

    def text(out: Out) -> None:
        out.table(Table(("field", Column("label", flexible=True), Column("allowed", flexible=True), Column("source", flexible=True)),
                        [(field.key, field.label, ", ".join(field.allowed), source) for field, source in rows]))

    return Report(result={"fields": [{"key": field.key, "label": field.label, "allowed": list(field.allowed), "source": source}
                                     for field, source in rows]}, text=text)


def _state(path: Path, digest: str) -> str:
    try:
        return "as drafted" if sha256_of(path, LARGEST) == digest else "changed"
    except FileNotFoundError:
        return "gone"
    except OSError:
        return "changed"


def _files(found: dict[str, str]) -> str:
    """The endings of its files; what is not as it was drafted by name."""
    odd = [f"{name} {state}" for name, state in found.items() if state != "as drafted"]
    return "; ".join([" ".join(sorted(Path(name).suffix[1:] if name.count(".") == 1 else ".".join(name.split(".")[-2:]) for name, state in found.items()
                                      if state == "as drafted")), *odd])
