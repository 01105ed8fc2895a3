"""How a relay ends where not the command of the host is the trouble, but the way to it."""

from __future__ import annotations

from collections.abc import Mapping

from opsctl.errors import OpsError, Refused, Unreachable

REFUSED, UNREACHABLE = 112, 113
"""Exit codes of the relay itself, which no dump program has: 12 and 13 of opsctl, and a hundred."""

RELAYS_OWN: Mapping[int, type[OpsError]] = {REFUSED: Refused, UNREACHABLE: Unreachable}
