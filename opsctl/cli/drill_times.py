"""How long drills took, held against how long a restoration may take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from opsctl.cli.report import Mark, Tone
from opsctl.model.drill_target import target

if TYPE_CHECKING:
    from opsctl.wiring import Site


def drilled(site: Site, backup: str, what: str, drills: Sequence[Mapping[str, Any]]) -> Mark:
    """A line on the last drill of ``what``, how long the last ones took, oldest first, and how long it may take."""
    from opsctl.cli.work import local_time
    from opsctl.model.snapshots import parse_time

    last, wanted = drills[-1], target(site.config, backup)
    over = last["ok"] and wanted is not None and last["seconds"] > wanted.rto.total_seconds()
    how = "was proven" if last["ok"] else "FAILED"
    took = f"; time to restore and prove: {trend(drills)}" if len(drills) > 1 else f" in {last['seconds']:.0f} s"
    aim = f"; longer than the {wanted}" if over else f" ({wanted})" if wanted else ""
    return Mark(f"{what}: the last drill, {local_time(site, parse_time(last['time']))}, of set {last['set']}, {how}{took}{aim}",
                Tone.BAD if not last["ok"] else Tone.WARN if over else Tone.QUIET)


def trend(drills: Sequence[Mapping[str, Any]]) -> str:
    """``41 s → 44 s → failed → 52 s``."""
    return " → ".join(f"{drill['seconds']:.0f} s" if drill["ok"] else "failed" for drill in drills)
