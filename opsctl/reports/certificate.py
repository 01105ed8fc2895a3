"""The certificate for electronic records before a court, pre-filled: facts of the device and hashes, and never a statement, a tick or a signature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, tzinfo
from typing import Any

from opsctl import __version__
from opsctl.model.quantities import counted
from opsctl.model.safe_text import shown
from opsctl.model.snapshots import parse_time
from opsctl.model.values import value
from opsctl.protocols.cert_in import protocol

_FEW = 8  # hashes that stand in the form itself; more are in the report that is enclosed
_BOXES = ("choice", "multichoice")
_PARTS = {"part_a": "Part A", "part_b": "Part B"}


@value
class Cell:
    """One field of the form. ``text``: what is filled in, empty where a person has to; ``boxes``: what they tick, all empty here."""

    order: int
    key: str
    label: str
    text: str = ""
    boxes: tuple[str, ...] = ()


@value
class Certificate:
    """The form of one bag. ``parts``: title, who signs it, and the fields. ``report``: the hash report that is enclosed."""

    bag: str
    incident: str
    host: str
    drill: bool
    title: str
    source: str
    given: str
    parts: tuple[tuple[str, str, tuple[Cell, ...]], ...]
    report: str


def fill(incident: str, bag: str, custody: tuple[Mapping[str, Any], Sequence[Mapping[str, Any]], Mapping[str, Any]], lists: Mapping[str, str], *,
         overs: Sequence[Mapping[str, Any]], zone: tzinfo, now: datetime, sealed_by: str) -> Certificate:
    """The form of a bag that was just verified. ``lists``: SHA-256 of its two manifests by name; ``overs``: hand-overs."""
    begun, items, end = custody
    raw = protocol().raw["bsa63_certificate"]
    kept = [one for one in items if one.get("file")]
    report = hash_report(incident, bag, begun, items, lists, overs=overs, zone=zone, now=now, sealed_by=sealed_by)
    facts = _facts(begun, end, kept, lists, incident, bag, zone)
    parts = tuple((_PARTS[part], signer.removesuffix(f" ({_PARTS[part]})"), tuple(_cell(one, facts) for one in raw[part]))
                  for part, signer in zip(_PARTS, raw["signed_by"], strict=True))
    return Certificate(bag, incident, str(begun.get("host", "?")), bool(begun.get("drill")), "Certificate for electronic records, BSA section 63",
                       f"{raw['source']}: {protocol().sources['S13'].title}", raw["given"], parts, report)


def _cell(one: Mapping[str, Any], facts: Mapping[str, str]) -> Cell:
    boxes = tuple(str(each).replace("_", " ") for each in one.get("allowed", ())) if one["type"] in _BOXES else ()
    return Cell(one["order"], one["key"], one["label"], facts.get(one["key"], ""), boxes)


def _facts(begun: Mapping[str, Any], end: Mapping[str, Any], kept: Sequence[Mapping[str, Any]], lists: Mapping[str, str], incident: str, bag: str,
           zone: tzinfo) -> dict[str, str]:
    """What the machine knows, by the key of the field. Nothing that a person has to state."""
    device = begun.get("device") or {}
    ids = [f"MAC {device['mac']}" if device.get("mac") else "", f"machine-id {device['machine_id']}" if device.get("machine_id") else "",
           f"UUID {device['product_uuid']}" if device.get("product_uuid") else ""]
    off = begun.get("clock_off_seconds")
    other = [f"host {begun.get('host')}, which calls itself {device.get('hostname', '?')}", device.get("system", ""), device.get("kernel", ""),
             f"collected from {_at(begun.get('begun'), zone)} to {_at(end.get('ended'), zone)} by {begun.get('by')} with opsctl {__version__}",
             f"its clock was {off:+,.0f} seconds off" if isinstance(off, int | float) else "", f"incident {incident}, bag {bag}, run {begun.get('run')}"]
    hashes = [f"SHA256 {one['sha256']}  data/{one['file']}" for one in kept] if len(kept) <= _FEW else []
    hashes += [f"SHA256 {digest}  {name}" for name, digest in lists.items()]
    return {
        "make_model": shown(" ".join(filter(None, (device.get("sys_vendor"), device.get("product_name"))))),
        "serial_number": shown(str(device.get("product_serial", ""))), "device_id": shown("; ".join(filter(None, ids))),
        "other_info": shown("; ".join(filter(None, other))),
        "hash_values": "\n".join(hashes + ([] if len(kept) <= _FEW else [f"of {counted(len(kept), 'file')}: the hash report that is enclosed"])),
        "hash_algorithm": "SHA256 was used", "hash_report": "hash report of this bag, with the tool and its version",
    }


def hash_report(incident: str, bag: str, begun: Mapping[str, Any], items: Sequence[Mapping[str, Any]], lists: Mapping[str, str], *,
                overs: Sequence[Mapping[str, Any]], zone: tzinfo, now: datetime, sealed_by: str) -> str:
    """The enclosure: every item with its hash, as plain text, and how to check it."""
    lines = [*(["DRILL: this is an exercise"] if begun.get("drill") else []),
             f"Hash report of {bag}, incident {incident}", f"Host: {shown(str(begun.get('host')))}", f"Made: {_at(now.isoformat(), zone)} with opsctl {__version__}",
             "Algorithm: SHA256, on arrival and, for files, at the source as well (sha256sum); every file was read and hashed again for this report",
             *(f"SHA256 of {name}: {digest}" for name, digest in lists.items()), f"Sealed with the SSH key {sealed_by}" if sealed_by else "NOT sealed",
             "Check: sha256sum -c manifest-sha256.txt; sha256sum -c tagmanifest-sha256.txt", ""]
    for one in items:
        lines += [f"{one['evidence_id']}  {shown(str(one['description']))}",
                  f"    {one['outcome']}{': ' if one['because'] else ''}{shown(str(one['because']))}; {_at(one['collected_at'], zone)} by {shown(str(one['collected_by']))}"]
        if one.get("file"):
            there = one.get("other_hashes", {}).get("sha256_at_source")
            same = "" if not there else ", the same at the source" if there == one["sha256"] else f", at the source {there}"
            lines += [f"    SHA256 {one['sha256']}{same}; {one['size_bytes']:,} bytes; data/{one['file']}",
                      *([f"    path on the host, percent-encoded: {one['path']}"] if one.get("path") else []), f"    by: {shown(str(one['method_and_tool']))}"]
    if overs:
        lines += ["", "Custody:", *(f"    {_at(one.get('time'), zone)}: from {shown(str(one.get('from')))} to {shown(str(one.get('to')))}: "
                                    f"{shown(str(one.get('reason')))}; hashes checked again: {'yes' if one.get('hash_rechecked') else 'no'}" for one in overs)]
    return "\n".join(lines) + "\n"


def _at(text: Any, zone: tzinfo) -> str:
    """A moment in the organisation's zone, to the second, with how far that is from UTC."""
    try:
        moment = parse_time(str(text))
    except ValueError:
        return "?"
    there = moment.astimezone(zone)
    return f"{there:%d/%m/%Y %H:%M:%S %Z} (UTC{there.isoformat()[-6:]})"


def as_text(found: Certificate) -> str:
    """The form as plain text."""
    lines = [*(["DRILL: this is an exercise"] if found.drill else []), found.title, found.source, f"Given {found.given}.",
             "Filled in: facts of the device, and hashes. Left to those who sign: every statement, tick, signature, date and place.", ""]
    for title, signer, cells in found.parts:
        lines += [f"{title}: {signer}", ""]
        for one in cells:
            lines.append(f"{one.order:2}. {one.label}: {' '.join(f'[ ] {box}' for box in one.boxes)}".rstrip())
            lines += [f"      {line}" for line in (one.text or ("" if one.boxes else "________")).split("\n") if line]
        lines.append("")
    return "\n".join(lines)


def as_json(found: Certificate) -> dict[str, Any]:
    """The same for programs."""
    return {"bag": found.bag, "incident": found.incident, "host": found.host, "drill": found.drill, "source": found.source,
            "parts": {title: {"signed_by": signer, "fields": [{"order": one.order, "key": one.key, "label": one.label, "value": one.text or None,
                                                                "boxes": list(one.boxes)} for one in cells]} for title, signer, cells in found.parts}}


def files(found: Certificate, now: datetime) -> tuple[dict[str, bytes], list[Any]]:
    """The certificate as files by their ending, and what could not be made of them (a PDF without typst, Partial)."""
    import json

    from opsctl.errors import Partial
    from opsctl.reports.page import page

    data: dict[str, Any] = {"source": found.source, "given": found.given, "bag": found.bag, "report": found.report,
            "parts": [{"title": title, "signer": signer, "cells": [{"order": one.order, "label": one.label, "text": one.text, "boxes": list(one.boxes)} for one in cells]}
                      for title, signer, cells in found.parts]}
    made = {"txt": as_text(found).encode(), "hashes.txt": found.report.encode(),
            "json": json.dumps(as_json(found), indent=1, ensure_ascii=False).encode() + b"\n",
            "html": page("certificate.html", title=found.title, language="en", drill=found.drill, **data)}
    try:
        from opsctl.reports.typeset import pdf

        made["pdf"] = pdf("certificate.typ", data, title=found.title, language="en", drill=found.drill, at=now)
    except Partial as error:
        return made, [error]
    return made, []
