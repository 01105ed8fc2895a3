"""What the last look at each repository found wrong, kept for ``status`` until a later one finds it as it should be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from opsctl.errors import DamagedData, Interrupted, OpsError, Unreachable
from opsctl.model.values import value

if TYPE_CHECKING:
    from opsctl.repositories.history import Holdings
    from opsctl.repositories.standing import Verdict
    from opsctl.wiring import Site


@value
class Wrong:
    """What was wrong with a repository at ``time`` (RFC 3339), as the error said it; ``code``: its exit code."""

    repository: str
    time: str
    code: int
    message: str
    hint: str | None = None

    @property
    def late(self) -> bool:
        """Whether ``status`` exits 5. A store that did not answer once may answer the next time; what is late says itself."""
        return self.code != Unreachable.code

    def words(self, site: Site) -> str:
        """The message, and when that was."""
        from opsctl.cli.work import local_time
        from opsctl.model.snapshots import parse_time

        return f"{self.message} (found {local_time(site, parse_time(self.time))})"

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {"time": self.time, "code": self.code, "message": self.message, "hint": self.hint}


def look(site: Site, repository: str, *, ask: bool = False) -> Holdings:
    """What stands in a repository now; keep whether anything is wrong with it. Raises what the look raises.

    ``ask``: have restic open it in any case. Where a store's listing holds nothing new, a look needs no password.
    """
    history = site.history(repository)
    try:
        found = history.look(site.clock())
        if ask:
            history.find()
    except OpsError as error:
        keep(site, repository, error)
        raise
    keep(site, repository, None)
    return found


def keep(site: Site, repository: str, error: OpsError | None) -> None:
    """Keep how a look ended. That a disk is away on purpose, or a repository was never made, is nothing wrong."""
    if isinstance(error, Interrupted) or (error is not None and error.details.get("kind") in ("not-made", "away")):
        return
    site.catalogue.put_wrong(repository, None if error is None else {
        "time": site.clock().isoformat(timespec="seconds"), "code": error.code, "message": error.message, "hint": error.hint})


def wrong(site: Site) -> Mapping[str, Wrong]:
    """What is kept of the repositories of the configuration, by name."""
    found = {}
    for name, raw in site.catalogue.wrong().items():
        if name in site.config.repositories:
            try:
                found[name] = Wrong(name, raw["time"], raw["code"], raw["message"], raw["hint"])
            except KeyError:  # another version's
                continue
    return found


def judged(site: Site, verdict: Verdict, found: Wrong | None) -> Verdict:
    """A verdict by the catalogue, once what was wrong with the repository at the last look is known."""
    from opsctl.repositories.standing import Verdict

    if found is None or not found.late:
        return verdict
    if found.code == DamagedData.code:
        return Verdict("damaged", found.words(site), True, wrong=True)
    return verdict if verdict.late else Verdict("unknown", found.words(site), True, wrong=True)
