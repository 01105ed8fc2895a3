"""``opsctl media register``: which disk it is, by its file system, and what lies on it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opsctl.cli.report import Mark, Out, Report, Tone
from opsctl.errors import DamagedData, OpsError, SafetyRefusal, Unreachable, UsageError
from opsctl.model.media import NAMESPACE, Custody, Medium, Sealed, read_list
from opsctl.model.quantities import counted

if TYPE_CHECKING:
    from opsctl.cli.session import Session
    from opsctl.shells.mounting import Mounted
    from opsctl.wiring import Site


def register(session: Session, name: str, repository: str) -> Report:
    """Look at the disk, and write it down."""
    from opsctl.cli.work import open_site, who
    from opsctl.model import fields
    from opsctl.model.unknown import unknown

    try:
        fields.name(name)
    except ValueError as error:
        raise UsageError(f"{fields.shown(name)}: {error}") from error
    site = open_site(session)
    spec = site.config.repositories.get(repository)
    if spec is None:
        raise unknown("repository", repository, site.config.repositories)
    if not (spec.removable and spec.local):
        raise UsageError(f"{repository} is not on a removable disk", hint="removable: true and a path as its url; see configs/README.md")
    mounted = _mounted(site, repository, spec.url)
    on_it = _on_it(site, mounted)
    known = site.media.find(name)
    if known is not None and known.ident != mounted.uuid:
        raise SafetyRefusal(f"{name} is another disk already: {known.ident}, not {mounted.uuid}", hint="choose another name", where=name)
    others = [one.name for one in site.media.all() if one.ident == mounted.uuid and one.name != name]
    if others:
        raise SafetyRefusal(f"this disk is registered already, as {others[0]}", where=name)
    moment = site.clock().isoformat()
    entry = Medium(name=name, kind="disk", ident=mounted.uuid, repositories=tuple(on_it), registered=moment,
                   custody=Custody("here", since=moment, by=who()), label=mounted.label, filesystem=mounted.filesystem, mount=mounted.target)
    if known is not None:
        entry = replace(known, repositories=tuple(on_it), label=mounted.label, mount=mounted.target)
    content, said = _sealed(site, entry, mounted)
    if content is not None:
        entry = replace(entry, sealed=said)
    if not session.dry_run:
        site.journal.append("media.registered", {**entry.as_json(), "by": who()})
        if content is not None:
            site.media.put_list(name, content)
        site.media.put(entry)

    def text(out: Out) -> None:
        would = "would be " if session.dry_run else ""
        out.line(Mark(f"{name} {would}registered: {mounted.filesystem} {mounted.uuid} (label {mounted.label or 'none'}) at {mounted.target}, with "
                      f"{', '.join(on_it)}", Tone.GOOD))
        if said is not None:
            out.line(f"it carries a list of {counted(said.files, 'file')} that one of our keys sealed: `opsctl media in {name}` holds it against that")
        out.line(f"next: opsctl media out {name} --to WHO --place WHERE --back 9d")

    return Report(result=entry.as_json(), text=text, warnings=[*site.said])


def _mounted(site: Site, repository: str, url: str) -> Mounted:
    from opsctl.shells.mounting import holding

    found = holding(site.shell, url) if Path(url).exists() else None
    if found is None:
        raise Unreachable(f"nothing is at {url}", hint=f"plug the disk in and mount it; `opsctl backup init {repository}` makes the repository",
                          where=repository)
    root = holding(site.shell, "/")
    if not found.uuid or (root is not None and found.target == root.target):
        raise SafetyRefusal(f"{url} lies on {found.target} ({found.filesystem}), which is no disk that could be carried away", where=repository,
                            hint="mount the disk first")
    return found


def _on_it(site: Site, mounted: Mounted) -> Sequence[str]:
    from opsctl.shells.mounting import holding

    found = []
    for name, spec in site.config.repositories.items():
        if spec.removable and spec.local and Path(spec.url).exists():
            there = holding(site.shell, spec.url)
            if there is not None and there.uuid == mounted.uuid:
                found.append(name)
    return found


def _sealed(site: Site, entry: Medium, mounted: Mounted) -> tuple[bytes | None, Sealed | None]:
    """The list that the disk carries, where a key that we trust has signed it and nothing newer is known here."""
    from opsctl.repositories.media import read_beside

    if entry.sealed is not None or (beside := read_beside(Path(mounted.target), entry.name)) is None:
        return None, None
    content, signature = beside
    try:
        signer: Any = site.signatures.check(content, signature, NAMESPACE)
        files = len(read_list(content))
    except (OpsError, ValueError) as error:
        raise DamagedData(f"the list on {entry.name} does not hold: {error}", where=entry.name,
                          hint="somebody changed it; keep the disk as it is, and `opsctl verify --level data` says what is on it") from error
    if signer not in site.trusted:
        site.notes.append(f"the list on {entry.name} was sealed by {signer}, a key that nobody here vouched for; it is left alone")
        return None, None
    return content, Sealed(hashlib.sha256(content).hexdigest(), files, 0, entry.registered, "")
