"""Is everything there that is to be backed up, and may its role read all of it; do the hosts answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from opsctl.cli.doctor import OK, WARNING, WRONG, Check
from opsctl.cli.doctor_jobs import AS_A_BACKUP

if TYPE_CHECKING:
    from opsctl.engine.hosts_check import Checked
    from opsctl.wiring import Site

_GOOD = {
    "paths": "there", "sqlite": "can be read", "command": "its program is there; it is not run",
    "postgresql": "answers, and its role may read all of it", "mariadb": "answers, and its user may read all of it",
}
_HERE = ("localhost", "127.0.0.1", "::1")


def asks_outside(spec: Any) -> bool:
    """Whether a source is beyond this machine: on a host, or a database server at an address."""
    server = getattr(spec, "server", None)
    return getattr(spec, "host", None) is not None or (
        server is not None and not server.startswith("/") and server not in _HERE)


def source(site: Site, name: str) -> list[Check]:
    """What a backup of this source would miss now; for a database with the statement that gives what is lacking."""
    kind = site.config.sources[name].kind
    problems = site.source(name).check(None)
    if problems:
        return [Check(f"source {name}", WRONG, problem.message, problem.hint or AS_A_BACKUP) for problem in problems]
    return [Check(f"source {name}", OK, f"{kind}: {_GOOD.get(kind, 'there')}")]


def host(site: Site, name: str) -> list[Check]:
    """One host, tried as ``hosts check`` does it."""
    from opsctl.engine.hosts_check import check_host

    return _row(check_host(name, site.config.hosts[name], lambda one: site.on_host(one).plain(), site.entered), _runs_restic(site, name))


def _runs_restic(site: Site, name: str) -> bool:
    return any(one.kind == "paths" and one.host == name for one in site.config.sources.values())


def _row(seen: Checked, restic: bool) -> list[Check]:
    wrong = [one for one in seen.checks if one.ok is False]
    if not wrong:
        return [Check(f"host {seen.host}", OK, ", ".join(f"{one.name} {one.seen}" for one in seen.checks))]
    # restic is needed only where files of the host are backed up.
    grave = [one for one in wrong if restic or one.name != "restic"]
    first = (grave or wrong)[0]
    return [Check(f"host {seen.host}", WRONG if grave else WARNING, "; ".join(one.seen for one in wrong),
                  first.hint or AS_A_BACKUP)]


def together(found: Sequence[Check], most: int = 8) -> list[Check]:
    """Rows of hosts, those that are as they have to be in one row where there are many."""
    good = [one for one in found if one.state == OK]
    if len(good) <= most:
        return list(found)
    rest = [one for one in found if one.state != OK]
    return [Check("hosts", OK, f"{len(good)} of {len(found)} answer and are as they have to be"), *rest]
