"""``opsctl restore controller``: which set carries the configuration, and what a person has to do with it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opsctl.cli import places
from opsctl.cli.report import Mark, Out, Report, Tone
from opsctl.cli.session import Session
from opsctl.errors import ConfigError, SafetyRefusal
from opsctl.model.quantities import counted

if TYPE_CHECKING:
    from opsctl.cli.work import Given
    from opsctl.engine.runs import Tally
    from opsctl.model.plan import BoundPlan
    from opsctl.model.sets import SetView
    from opsctl.wiring import Site


def restore(
    session: Session, into: str, backup: str | None, set_id: str | None, copy_in: str | None, given: Given | None,
    trust: Sequence[str],
) -> Report:
    """Choose the set, restore what it carries, and say what else the machine needs."""
    from opsctl.cli.work import carry_out, open_site
    from opsctl.model.unknown import unknown

    site = open_site(session, trust=trust, given=given)
    if copy_in is not None and copy_in not in site.config.repositories:
        raise unknown("repository", copy_in, site.config.repositories)
    view = _choose(site, backup, set_id, copy_in)
    target = os.path.abspath(into)
    inputs = {"backup": view.backup, "set": view.id, "into": target, "copy_in": copy_in or ""}
    return carry_out(session, site, "restore-controller", inputs, subject="controller", text=write,
                     result=lambda tally: _result(tally, target))


def _choose(site: Site, backup: str | None, set_id: str | None, copy_in: str | None) -> SetView:
    if backup is not None:
        judgement = places.look(site, copy_in or places.home(site, backup)).judgement
        return places.choose(site, judgement, backup, set_id)
    repository = copy_in or _only(site)
    judgement = places.look(site, repository).judgement
    if set_id is not None and set_id not in places.NEWEST:
        named = next((view for view in judgement.sets if view.id == set_id), None)
        return places.choose(site, judgement, named.backup if named else "", set_id)
    whole = [places.choose(site, judgement, name, None) for name in sorted({view.backup for view in judgement.sets
             if view.state in ("good", "copy")})]
    carrying = [view for view in whole if view.record.get("carried", {}).get("files")]
    if not carrying:
        if not whole and judgement.sets:
            return places.choose(site, judgement, judgement.sets[-1].backup, None)
        raise SafetyRefusal(f"no set in {repository} carries a configuration",
                            hint="those of other repositories may, and the kit does" if whole else "the repository holds no set")
    return max(carrying, key=lambda view: view.record["journal"]["seq"])


def _only(site: Site) -> str:
    if len(site.config.repositories) == 1:
        return next(iter(site.config.repositories))
    raise SafetyRefusal("which repository?", hint=f"--from NAME, one of {', '.join(site.config.repositories)}, or name a backup")


def _result(tally: Tally, target: str) -> Mapping[str, Any]:
    found = dict(tally.results[0].result) if tally.results else {}
    return {**found, "to_bring": list(_to_bring(Path(target) / "configuration")) if found.get("into") else []}


def write(out: Out, tally: Tally, plan: BoundPlan) -> None:
    """What came back, what vouches for it, what has to be brought, and the next steps."""
    for one in tally.results:
        found = one.result
        if not found.get("into"):
            continue
        journal, into = found["journal"], Path(found["into"])
        out.line(Mark(f"configuration of {found['host']}: {counted(len(found['files']), 'file')}, as signed by "
                      f"{found['signed_by']}", Tone.GOOD))
        out.line(Mark(f"journal: {counted(journal['lines'], 'line')}, whole; lines {journal['vouched_from']} to "
                      f"{journal['vouched_to']} are vouched for by {journal['vouched_by']}", Tone.GOOD))
        out.lines([Mark(f"{name} was not in it: {why}", Tone.WARN) for name, why in found["left_out"].items()])
        out.line(f"in view: {into}")
        for secret in _to_bring(into / "configuration"):
            out.line(Mark(f"to be brought: {secret}", Tone.WARN))
        out.lines(_next_steps(into))


def _next_steps(into: Path) -> list[str]:
    place = shlex.quote(str(into))
    try:
        state = _load(into / "configuration").state
    except ConfigError as error:
        return [f"its configuration cannot be used as it is: {error.message}"]
    return ["next, as root on the new controller:",
            f"  cp -r {place}/configuration/. /etc/opsctl/",
            f"  install -d -m 0700 {shlex.quote(state)} && cp -r {place}/journal {place}/repositories {shlex.quote(state)}/",
            "  bring the secrets, then `opsctl doctor --offline` and `opsctl journal verify`",
            "  and if an incident was open: `opsctl incident take-over`, with --trust where the signing key is a new one"]


def _load(directory: Path) -> Any:
    from opsctl.engine.configuration import load_config

    return load_config(directory)


def _to_bring(directory: Path) -> Iterator[str]:
    """The secrets that the configuration names, as ``place: file``; a file beside the configuration by its name there."""
    try:
        config = _load(directory)
    except ConfigError:
        return
    for where, path in _secret_files(config.model_dump(), ()):
        inside = Path(path).is_relative_to(directory)
        if inside or not os.path.exists(path):
            shown = f"/etc/opsctl/{Path(path).relative_to(directory)}" if inside else path
            yield f"{shown} ({where})"


def _secret_files(value: Any, place: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if str(key).endswith("_file") and isinstance(inner, str):
                yield ".".join((*place, str(key))), inner
            else:
                yield from _secret_files(inner, (*place, str(key)))
