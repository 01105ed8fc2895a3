"""The repository that a run is about, for those who approve it."""

from __future__ import annotations

from opsctl.model.plan import BoundPlan
from opsctl.repositories.history import Ledger
from opsctl.wiring.site import Site


def repository_id(site: Site, plan: BoundPlan) -> str:
    """The pinned id of the repository that a plan is about, by its input ``repository`` or ``backup``; empty without one."""
    name, backup = plan.inputs.get("repository"), plan.inputs.get("backup")
    if not name and backup in site.config.backups:
        name = site.config.backups[backup].repository
    if name not in site.config.repositories:
        return ""
    ledger = Ledger(site.state / "repositories" / f"{name}.json").load()
    return str(ledger["id"]) if ledger else ""
