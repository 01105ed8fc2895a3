"""``opsctl evidence list|verify``: what lies in an incident's vault, and whether it is as it was sealed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from opsctl.cli.report import Column, Mark, Out, Report, Table, Tone
from opsctl.errors import DamagedData, OpsError, Partial
from opsctl.model.incident import COLLECTED, HANDED, SEALED
from opsctl.model.quantities import counted, format_size

if TYPE_CHECKING:
    from opsctl.cli.session import Session
    from opsctl.model.incident import Incident
    from opsctl.vault import Bag
    from opsctl.wiring import Site


def opened(session: Session, name: str) -> tuple[Site, Incident | None, Any]:
    """The site, the incident (None where its journal is lost), and its vault."""
    from opsctl.cli.evidence_collect import incident_of
    from opsctl.cli.work import open_site
    from opsctl.vault import Vault

    site = open_site(session)
    incident = incident_of(session, site, name)
    return site, site.incidents.all().get(incident), Vault(site.incidents.folder(incident) / "evidence")


def listing(session: Session, name: str) -> Report:
    """Every bag with what is known of it."""
    site, found, shelf = opened(session, name)
    rows = [_row(one, found) for one in shelf.bags()]
    there = {one["bag"] for one in rows}
    gone = [bag for bag in _collected(found) if bag not in there]

    def text(out: Out) -> None:
        out.table(Table(("bag", "host", "profile", "items", Column("size", right=True), "collected", "seal", Column("with", flexible=True)),
                        [(one["bag"], one["host"], one["profile"], one["items"], format_size(one["bytes"]), one["begun"],
                          Mark(one["seal"], Tone.GOOD if one["seal"] == "sealed" else Tone.WARN), one["holder"]) for one in rows],
                        empty="nothing was collected yet: opsctl evidence collect HOST"))
        for one in rows:
            if one["half"]:
                out.line(Mark(f"{one['bag']} is half: collecting was cut off; {one['items']} had arrived whole", Tone.WARN))
        for one in rows:
            if one["personal_data_until"] and one["personal_data_until"] < f"{site.clock():%Y-%m-%d}":
                out.line(Mark(f"{one['bag']}: personal data in it was to be kept until {one['personal_data_until']}: somebody has to decide whether police, CERT-In "
                              "or a court still need it", Tone.WARN))
        for bag in gone:
            out.line(Mark(f"{bag} was collected and is NOT THERE any more", Tone.BAD))

    errors = [DamagedData(f"{bag} was collected and is not there any more", where=bag) for bag in gone]
    return Report(result={"incident": found.id if found else name, "bags": rows, "gone": gone, "folder": str(shelf.place)}, text=text,
                  errors=errors, warnings=[*site.said])


def _row(bag: Bag, found: Incident | None) -> dict[str, Any]:
    try:
        about, items, end = bag.custody()
    except DamagedData as error:
        return {"bag": bag.name, "host": "?", "profile": "?", "items": error.message, "bytes": 0, "begun": "?", "seal": "damaged", "half": bag.half,
                "holder": "", "counts": {}, "personal_data_until": None}
    over = [one.data for one in found.of(HANDED) if one.data["bag"] == bag.name] if found else []
    from opsctl.cli.evidence_collect import words
    from opsctl.model.evidence import counts

    tally = counts(items)
    dates = sorted(str(one["retain_until"]) for one in items if one.get("retain_until"))
    return {"bag": bag.name, "personal_data_until": dates[0] if dates else None, "host": str(about.get("host", "?")), "profile": str(about.get("profile", "?")), "items": words(tally), "counts": tally,
            "bytes": sum(int(one.get("size_bytes", 0)) for one in items), "begun": str(about.get("begun", "?"))[:16],
            "half": bag.half, "seal": "half" if bag.half or not end else "sealed" if bag.sealed else "NOT sealed",
            "holder": str(over[-1]["to"]) if over else "here"}


def _collected(found: Incident | None) -> dict[str, str]:
    return {one.data["bag"]: one.data["manifest_sha256"] for one in found.of(COLLECTED)} if found else {}


def verify(session: Session, name: str, bags: Sequence[str]) -> Report:
    """Every bag, or those named, and those that the journal knows and that are gone."""
    from opsctl.model.unknown import unknown
    from opsctl.vault import verify as held

    site, found, shelf = opened(session, name)
    recorded = _collected(found)
    sealed = {one.data["bag"] for one in found.of(SEALED)} if found else set()
    there = {one.name: one for one in shelf.bags()}
    for bag in bags:
        if bag not in there and bag not in recorded:
            raise unknown("bag", bag, {**there, **recorded}, hint="opsctl evidence list")
    wanted = list(bags) or [*there, *(bag for bag in recorded if bag not in there)]
    told: list[tuple[str, list[str]]] = []
    errors: list[OpsError] = []
    for bag in wanted:
        if bag not in there:
            wrong = [f"{bag} was collected and is not there any more"]
        elif there[bag].half:
            told.append((bag, []))
            errors.append(Partial(f"{bag} is a half bag: collecting was cut off, and nothing vouches that it is whole", where=bag))
            continue
        else:
            handed = sum(1 for one in found.of(HANDED) if one.data["bag"] == bag) if found else 0
            wrong = [f"{bag}: {one.text}" for one in held(there[bag], site.signatures.check, sorted(site.trusted),
                                                           recorded=recorded.get(bag, ""), handed=handed)]
            if bag in sealed and not there[bag].sealed:
                wrong.append(f"{bag}: its seal is missing")
        told.append((bag, wrong))
        errors += [DamagedData(one, where=bag) for one in wrong]

    def text(out: Out) -> None:
        for bag, wrong in told:
            if wrong:
                out.line(Mark(f"{bag}: NOT as it was sealed ({counted(len(wrong), 'finding')})", Tone.BAD))
            elif not there[bag].half:
                out.line(Mark(f"{bag}: as it was {'sealed' if there[bag].sealed else 'collected, and NOT sealed'}",
                              Tone.GOOD if there[bag].sealed else Tone.WARN))
        if not told:
            out.line("nothing was collected yet: opsctl evidence collect HOST")

    return Report(result={"incident": found.id if found else name, "bags": [{"bag": bag, "findings": wrong, "half": bag in there and there[bag].half}
                                                                           for bag, wrong in told]},
                  text=text, errors=errors, warnings=[*site.said])
