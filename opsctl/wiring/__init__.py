"""From a configuration to a world: the only part that names concrete drivers."""

from __future__ import annotations

from opsctl.wiring.keys import login_keys_in
from opsctl.wiring.plans import load_plan
from opsctl.wiring.site import Site, refuse_unsigned
from opsctl.wiring.sources import mariadb_at, postgresql_at, this_machine
from opsctl.wiring.world import World

__all__ = ["Site", "World", "load_plan", "login_keys_in", "mariadb_at", "postgresql_at", "refuse_unsigned", "this_machine"]
