"""verify: what is wrong in a repository, each damage by name, with the sets and files that it reaches."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import timedelta
from typing import Any, Literal

from opsctl.actions.interface import CheckAction, Params, World
from opsctl.errors import DamagedData, OpsError
from opsctl.model import shares
from opsctl.model.damage import Damage, could_see, open_damage, shares_of, with_damage
from opsctl.model.sets import WHOLE, Judgement, SetView
from opsctl.model.snapshots import Finding, Unreferenced
from opsctl.model.values import value
from opsctl.proofs.content import is_content
from opsctl.repositories.history import Holdings
from opsctl.repositories.whole import write_whole

#: How many files of one finding are named; the number of the rest is said.
MOST_FILES = 200

UNREFERENCED = "pack-unreferenced"


class VerifyParams(Params):
    """``shares``: ``next`` (what is due), ``all``, or ``n/M``; used by level ``data`` only."""

    repository: str
    level: Literal["quick", "data"] = "quick"
    shares: str = "next"


@value
class Seen:
    """What the check found. ``read`` and ``total``: which shares of the packs were read back.

    ``unread``: damage that an earlier reading found and that this look could not have seen, whether mended or not.
    """

    findings: tuple[Finding, ...]
    unread: tuple[Damage, ...]
    unreferenced: tuple[Unreferenced, ...]
    sets: Mapping[str, int]
    read: tuple[int, ...]
    total: int
    only_bytes: tuple[str, ...] = ()


class Verify(CheckAction[VerifyParams, Seen]):
    """Checks a repository: structure, the ledger, the chain of manifests and their signatures; reads data back.

    with:
      repository  the name of a repository in the configuration
      level       `quick`: everything but the packs' content; `data`: also reads packs back
      shares      which share of the packs `data` reads: `next` (as many as keep the term `read_all_within`), `all`, or `n/M`

    Anything wrong is 22. What was read is recorded in the repository by the word `record`, so that any machine goes on
    where this one stopped. opsctl never repairs a repository by itself.
    """

    word = "verify"
    Params = VerifyParams

    def observe(self, params: VerifyParams, world: World) -> Seen:
        history = world.repository(params.repository)
        history.repository.unlock_stale()
        holdings = history.look(world.clock())
        judgement = holdings.judgement
        findings = [*judgement.findings, *holdings.junk]
        read, total = _shares(params, holdings, world)
        for share in read or (None,):
            what = None if share is None else (share, total)
            findings += history.repository.check(what, on_progress=world.progress)
        unreferenced: list[Unreferenced] = []
        if any(finding.kind == UNREFERENCED for finding in findings):
            unreferenced = history.repository.unreferenced([(share, total) for share in read])
        findings = [finding for finding in findings if finding.kind != UNREFERENCED]
        findings += [_rubble(pack) for pack in unreferenced if pack.whole is False]
        findings = _by_set(findings, judgement)
        seen = Seen(
            findings=tuple(findings),
            unread=_unread(params, holdings, findings, read, total),
            unreferenced=tuple(unreferenced),
            sets=_count(holdings, _record(params, findings, read, total, world)),
            read=read,
            total=total,
            only_bytes=_only_bytes(judgement),
        )
        _keep(params, seen, world)
        return seen

    def findings(self, params: VerifyParams, seen: Seen) -> Sequence[OpsError]:
        return [
            DamagedData(
                f"{params.repository}: {finding.message}{_reach(finding)}",
                hint=finding.repair,
                where=params.repository,
                details={"kind": finding.kind, "object": finding.object, "sets": list(finding.sets),
                         "of": list(finding.of), "reaches_all": finding.reaches_all, "files": list(finding.files[:MOST_FILES]),
                         "more_files": max(0, len(finding.files) - MOST_FILES)},
            )
            for finding in seen.findings
        ] + [_reminder(params.repository, damage) for damage in seen.unread]

    def result(self, params: VerifyParams, seen: Seen) -> Mapping[str, Any]:
        return {
            "repository": params.repository, "level": params.level, "sets": dict(seen.sets),
            "shares": [f"{share}/{seen.total}" for share in seen.read], "findings": len(seen.findings),
            "unread": [{**damage.as_json(), "sets": list(damage.sets), "of": list(damage.of)} for damage in seen.unread],
            "unreferenced": {"packs": len(seen.unreferenced), "bytes": sum(pack.bytes for pack in seen.unreferenced),
                             "read": sum(pack.whole is not None for pack in seen.unreferenced)},
            "only_bytes": list(seen.only_bytes),
        }


def _shares(params: VerifyParams, holdings: Any, world: World) -> tuple[tuple[int, ...], int]:
    if params.level == "quick":
        return (), 0
    term = read_term(world.config, params.repository)
    total = shares.count(term)
    if params.shares == "all":
        return (1,), 1
    if params.shares == "next":
        # What was found damaged is read again each time, in whatever share it was found: it may have been mended.
        again = shares_of(holdings.damage, total)
        return tuple(dict.fromkeys([*again, *shares.next_shares(holdings.verifications, term, world.now)])), total
    share, _, of = params.shares.partition("/")
    return (int(share),), int(of)


def read_term(config: Any, repository: str) -> timedelta:
    """The shortest ``read_all_within`` of the backups that live in a repository; 30 days where there is none."""
    terms = [plan.verify.read_all_within for plan in config.backups.values() if plan.repository == repository]
    return min(terms, default=timedelta(days=30))


def _count(holdings: Holdings, record: Mapping[str, Any]) -> dict[str, int]:
    """Sets by state, with the damage that is open after this reading: what it found, and without what it found mended."""
    found: dict[str, int] = {}
    for view in with_damage(holdings.judgement.sets, open_damage([*holdings.verifications, record])):
        found[view.word] = found.get(view.word, 0) + 1
    return found


def _record(
    params: VerifyParams, findings: Sequence[Finding], read: Sequence[int], total: int, world: World
) -> Mapping[str, Any]:
    """This reading in the shape of a record of verification."""
    return {"run": world.run, "time": world.clock().isoformat(), "level": params.level, "shares": list(read), "total": total,
            "findings": [asdict(finding) for finding in findings]}


def _rubble(pack: Unreferenced) -> Finding:
    return Finding(
        "junk-object", f"pack {pack.name[:12]}, which no index names and no snapshot needs, is not what its name says",
        object=f"data/{pack.name}",
        repair=f"who owns the store removes the file data/{pack.name[:2]}/{pack.name} there, after keeping a copy as evidence",
    )


def _unread(
    params: VerifyParams, holdings: Holdings, findings: Sequence[Finding], read: Sequence[int], total: int
) -> tuple[Damage, ...]:
    seen = {finding.object for finding in findings}
    return tuple(damage for damage in holdings.damage
                 if damage.object not in seen and not could_see(damage, params.level, read, total))


def _reminder(repository: str, damage: Damage) -> OpsError:
    reaches = "every set" if damage.reaches_all else _named(damage.sets, damage.of) if damage.sets else "no set"
    share = f", share {', '.join(damage.shares)}" if damage.shares else ""
    return DamagedData(
        f"{repository}: {damage.what}, as level {damage.level} found on {damage.found:%Y-%m-%d}{share}, and nobody has read it "
        f"since; it reaches {reaches}",
        hint=f"if it was mended, this says so and ends it: opsctl verify {repository} --level data --share {damage.share}",
        where=repository,
        details={**damage.as_json(), "sets": list(damage.sets), "of": list(damage.of),
                 "reaches_all": damage.reaches_all, "unread": True},
    )


def _only_bytes(judgement: Judgement) -> tuple[str, ...]:
    """``backup/source`` of what a restore proves by bytes alone."""
    return tuple(sorted({f"{view.backup}/{name}" for view in judgement.sets if view.state in WHOLE
                         for name, entry in view.sources.items() if is_content(entry.get("proof", {}))}))


def _by_set(findings: Sequence[Finding], judgement: Judgement) -> list[Finding]:
    """Say sets where the repository said snapshots. A snapshot that a foreign manifest claims too stays in its own set."""
    views_of: dict[str, list[SetView]] = {}
    for view in judgement.sets:
        for snapshot in (*view.snapshots.values(), *((view.manifest,) if view.manifest else ())):
            views_of.setdefault(snapshot, []).append(view)
    named: list[Finding] = []
    seen: set[tuple[str, str | None]] = set()
    for finding in findings:
        key = (finding.kind, finding.object)
        if finding.object is not None and key in seen:
            continue
        seen.add(key)
        views = [view for name in finding.sets for view in views_of.get(name, ())]
        unknown = [name for name in finding.sets if name not in views_of]
        named.append(replace(finding, sets=tuple(dict.fromkeys([*(view.id for view in views), *unknown])),
                             of=tuple(dict.fromkeys(f"{view.backup}/{view.id}" for view in views))))
    return named


def _reach(finding: Finding) -> str:
    if finding.reaches_all:
        return "; this reaches every set"
    if not finding.sets:
        return ""
    return "" if all(name in finding.message for name in finding.sets) else f"; {_named(finding.sets, finding.of)}"


def _named(sets: Sequence[str], of: Sequence[str]) -> str:
    """``set 20261124-0230-7f3a of portal``: two backups may have one of that id."""
    known = {one.partition("/")[2] for one in of}
    names = [f"{name} of {backup}" for backup, _, name in (one.partition("/") for one in of)]
    names += [name for name in sets if name not in known]
    return f"set{'s' if len(names) > 1 else ''} {', '.join(names[:5])}{' …' if len(names) > 5 else ''}"


def _keep(params: VerifyParams, seen: Seen, world: World) -> None:
    kept = {"level": params.level, "read": list(seen.read), "total": seen.total, "sets": dict(seen.sets),
            "findings": [asdict(replace(finding, files=finding.files[:MOST_FILES])) for finding in seen.findings]}
    write_whole(world.keep("verify") / f"{params.repository}.json", json.dumps(kept).encode())
