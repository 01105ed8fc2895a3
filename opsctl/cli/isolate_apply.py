"""``opsctl isolate apply``: hosts cut off at once, told one by one, summed up, with the way back."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from opsctl.cli import isolate_text
from opsctl.cli.isolate_hosts import Asked, doors, hosts_of, person, site_for
from opsctl.cli.report import Mark, Out, Report
from opsctl.errors import Interrupted, OpsError, UsageError
from opsctl.model.given_host import is_given
from opsctl.model.isolation import PROFILES, opening
from opsctl.model.isolation_guard import out_of_reach
from opsctl.model.quantities import parse_duration

if TYPE_CHECKING:
    from opsctl.actions.interface import StepResult
    from opsctl.cli.session import Session
    from opsctl.engine.runs import Tally
    from opsctl.model.plan import BoundPlan, BoundStep
    from opsctl.wiring import Site, World


def apply(session: Session, asked: Asked, said: Mapping[str, Any]) -> Report:
    """Bind the playbook to the hosts and carry it out; ``said`` are its inputs as they were typed."""
    from opsctl.cli.work import carry_out

    begun = time.monotonic()
    inputs = _inputs(said)
    site = site_for(session, asked)
    hosts = hosts_of(asked, site.config)
    _refuse_unpinned(asked)
    if said["profile"] == "backup-only":
        site.notes += [f"repository {name} is given by a name, which is not looked up in an emergency, so that it is cut off as well: "
                       "--allow out:tcp:ADDRESS:PORT lets its server stay" for name in out_of_reach(site.config)]
    inputs |= {"hosts": hosts, "logins": asked.logins, "named": list(asked.names),
               "doors": doors(site.config, hosts) if said["profile"] != "backup-only" else []}
    touched: set[str] = set()

    def way_back() -> str:
        return isolate_text.way_back(session, asked, said["incident"], hosts, _incidents(site, hosts))

    ended: dict[str, float] = {}

    def told(step: BoundStep, result: StepResult) -> Mark | None:
        if step.uses == "door":
            return isolate_text.door(result)
        ended[str(result.item)] = time.monotonic() - begun
        if result.outcome in ("ok", "changed") or site.isolations.register.get(str(result.item)) is not None or result.result:
            touched.add(str(result.item))
        return isolate_text.line(result, ended[str(result.item)])

    def before(plan: BoundPlan, world: World) -> None:
        session.hooks.interrupted = lambda: _left(site, hosts, inputs["within"], way_back)

    def text(out: Out, tally: Tally, plan: BoundPlan) -> None:
        isolate_text.write(out, tally, plan, ended)
        out.lines(list(isolate_text.offers(tally, site.config, said["incident"])))

    def result(tally: Tally) -> Mapping[str, Any]:
        return {"hosts": {str(one.item): {**one.result, "outcome": one.outcome, "because": one.because,
                                          "seconds": round(ended.get(str(one.item), 0.0), 3)} for one in tally.results if one.step == "isolate"},
                "doors": {str(one.item): {**one.result, "outcome": one.outcome} for one in tally.results if one.step == "door"},
                "release": way_back()}

    try:
        report = carry_out(session, site, "isolate", inputs, subject=asked.zones[0] if asked.zones else "isolate", before=before,
                           text=text, result=result, told=told, by=person(), shape=_shape(said))
    except OpsError as error:
        # A journal that breaks off ends a run half-way as well; of an interruption it is said where that is told.
        if session.hooks.interrupted is not None and not isinstance(error, Interrupted) and _incidents(site, hosts):
            error.message += f"; {session.hooks.interrupted()}"
        raise
    session.hooks.interrupted = None
    return report if session.dry_run or (report.code and not touched) else isolate_text.ending(report, f"release with: {way_back()}")


def _inputs(said: Mapping[str, Any]) -> dict[str, Any]:
    """What was typed as the playbook takes it. UsageError for what is nothing."""
    for one in said["allow"]:
        try:
            opening(one)
        except ValueError as error:
            raise UsageError(f"--allow {one}: {error}", hint="10.0.0.5, in:10.0.0.5:443, out:udp:10.0.0.5:123") from error
    if said["profile"] not in PROFILES:
        raise UsageError(f"--profile {said['profile']}: there is no such profile", hint=f"one of {', '.join(PROFILES)}")
    return {"incident": said["incident"], "allow": list(said["allow"]), "profile": said["profile"],
            "within": seconds("--confirm-within", said["within"], 2), "retry_for": seconds("--retry-for", said["retry_for"], 0),
            "options": [name for name in ("hold", "persist", "keep", "dhcp", "gateway", "probe-first") if said[name]]}


def _shape(said: Mapping[str, Any]) -> Callable[[BoundPlan], BoundPlan]:
    """How many at once, how many may fail, and which come first."""
    text = said["tolerate"]
    if re.fullmatch(r"[0-9]{1,6}|100%|[0-9]{1,2}%", text) is None:
        raise UsageError(f"--tolerate {text}: a number of hosts or a share such as 5%")

    def shape(plan: BoundPlan) -> BoundPlan:
        count = len(plan.step("isolate").items)
        share = count * int(text[:-1]) // 100 if text.endswith("%") else int(text)
        pace = {name: said[name] for name in ("canary", "waves", "stop_after")}
        return replace(plan, steps=tuple(replace(step, at_once=said["at_once"], tolerate=share, **(pace if step.id == "isolate" else {}))
                                         for step in plan.steps))

    return shape


def seconds(option: str, text: str, least: int) -> int:
    """A duration of at most a day. UsageError for any other."""
    try:
        found = round(parse_duration(text).total_seconds())
    except ValueError as error:
        raise UsageError(f"{option} {text}: {error}", hint="60s, 10m") from error
    if not least <= found <= 86400:
        raise UsageError(f"{option} {text}: from {least}s to 24h")
    return found


def _refuse_unpinned(asked: Asked) -> None:
    if any(map(is_given, asked.names)) and not asked.keys:
        raise UsageError("--host-key is needed for user@address: nothing is sent to a host whose key nobody has compared",
                         hint="on its own console: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub; then --host-key SHA256:…")


def _incidents(site: Site, hosts: Sequence[str]) -> dict[str, str]:
    """For which incident each of them is cut off, by what is written down; those of which nothing is are left out."""
    return {name: entry.order.mark.incident or "" for name in hosts if (entry := site.isolations.register.get(name)) is not None}


def _left(site: Site, hosts: Sequence[str], within: float, way_back: Callable[[], str]) -> str:
    """In what state an interruption leaves each host, by what was written down before anything was loaded, and what opens them."""
    known = {name: entry for name in hosts if (entry := site.isolations.register.get(name)) is not None}
    done = [name for name, entry in known.items() if entry.stage == "confirmed"]
    held = [name for name, entry in known.items() if entry.stage == "ordered" and entry.order.seconds is None]
    lifting = [name for name, entry in known.items() if entry.stage == "ordered" and entry.order.seconds is not None]
    rest = [name for name in hosts if name not in known]
    parts = [("isolated and confirmed", done), ("cut off for good without being confirmed", held),
             (f"open, isolated already, or lifting itself within {within:g} s", lifting), ("not touched", rest)]
    said = [f"{what}: {', '.join(names)}" for what, names in parts if names]
    return "; ".join([*said, f"`{way_back()}` releases"] if known else said)
