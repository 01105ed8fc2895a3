"""Who may approve, and for which repository, as a run sees it."""

from __future__ import annotations

from collections.abc import Mapping

from opsctl.model.approvals import Member
from opsctl.model.plan import BoundPlan
from opsctl.repositories.history import Ledger
from opsctl.wiring.site import Site


def members(site: Site) -> Mapping[str, Member]:
    """The people of the configuration, with the fingerprints of their keys."""
    return {name: Member(person.roles, site.fingerprint(person.ssh_key) if person.ssh_key else None, person.deputy_of)
            for name, person in site.config.people.items()}


def repository_id(site: Site, plan: BoundPlan) -> str:
    """The pinned id of the repository that a plan is about, by its input ``repository`` or ``backup``; empty without one."""
    name, backup = plan.inputs.get("repository"), plan.inputs.get("backup")
    if not name and backup in site.config.backups:
        name = site.config.backups[backup].repository
    if name not in site.config.repositories:
        return ""
    ledger = Ledger(site.state / "repositories" / f"{name}.json").load()
    return str(ledger["id"]) if ledger else ""
