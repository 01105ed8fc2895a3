"""The bound plan of a run, read back."""

from __future__ import annotations

import json

from opsctl.errors import SafetyRefusal
from opsctl.model.plan import BoundPlan
from opsctl.wiring.site import Site


def load_plan(site: Site, run: str) -> BoundPlan:
    """The bound plan of a run. UsageError where there is no such run, SafetyRefusal where it cannot be read."""
    here, there = (place / "runs" / run / "plan.json" for place in (site.place, site.state))
    path = there if there.exists() and not here.exists() else here
    try:
        return BoundPlan.from_json(json.loads(path.read_text()))
    except FileNotFoundError as error:
        from opsctl.model.unknown import unknown

        raise unknown("run", run, (one.name for one in path.parents[1].glob("*")), hint="opsctl runs") from error
    except (ValueError, KeyError, TypeError) as error:
        raise SafetyRefusal(f"the plan of run {run} cannot be read: {error}") from error
    except OSError as error:
        from opsctl.engine.journal_files import unusable

        raise unusable(path.parent, error) from error
