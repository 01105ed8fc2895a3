"""How long the restoration of a backup may take: the shortest RTO of the services that it brings back."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from opsctl.model.config_restores import home_of
from opsctl.model.quantities import rough_duration
from opsctl.model.values import value


@value
class Target:
    """``rto`` of ``service``: its data, and all that it needs, is to be back within that time."""

    service: str
    rto: timedelta

    def __str__(self) -> str:
        return f"RTO of {self.service}: {rough_duration(self.rto)}"


def target(config: Any, backup: str) -> Target | None:
    """None where no service that is restored from the backup has an ``rto:``."""
    held = {name: plan.sources for name, plan in config.backups.items()}
    found = [Target(name, spec.rto) for name, spec in config.services.items()
             if spec.rto is not None and backup in ([spec.backup] if spec.backup else home_of(spec.restores, held))]
    return min(found, key=lambda one: one.rto, default=None)
