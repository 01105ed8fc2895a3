"""``opsctl approve --file``: a request carried to another machine, signed there, and brought back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opsctl.cli import approve_text
from opsctl.cli.report import Cell, Mark, Out, Report, Tone
from opsctl.cli.session import Session
from opsctl.errors import DamagedData, OpsError, UsageError
from opsctl.model.moments import in_zone

if TYPE_CHECKING:
    from opsctl.cli.approve import Gate
    from opsctl.model.plan import BoundPlan
    from opsctl.wiring import Site

_FORMAT = "opsctl-approval-file/1"


def write(session: Session, gate: Gate, out: Path) -> Report:
    """The request with the whole plan, into a new file."""
    from opsctl.cli.signing import write_json

    if out.exists():
        raise UsageError(f"{out} exists", hint="it may hold signatures; name a new file")
    if not session.dry_run:
        write_json(out, {"format": _FORMAT, "request": dict(gate.seen.wanted.asked), "plan": gate.plan.as_json(), "signatures": [],
                         **({"removed": list(gate.seen.removed)} if gate.seen.removed else {}),
                         **({"open": open_now} if (open_now := [one.id for one in gate.site.incidents.open_ones()]) else {})})

    def text(to: Out) -> None:
        to.line(f"the request is in {out}; on another machine: opsctl approve --file {out.name} --by NAME --key FILE")
        to.line("back here: opsctl approve --file FILE records who signed")

    return Report(result={"file": str(out), "request": dict(gate.seen.wanted.asked)}, text=text, run=gate.plan.run,
                  warnings=gate.site.said)


def sign(session: Session, file: Path, by: str, key: Path | None, refuse: bool, note: str) -> Report:
    """Sign in the file what the file shows, without any configuration."""
    from opsctl.cli.signing import sign as signed
    from opsctl.cli.signing import signed_nowhere, write_json
    from opsctl.model.approvals import APPROVE, NAMESPACE, REFUSE, statement
    from opsctl.model.statements import signed_bytes, speakable

    content, plan = read(file)
    site = signed_nowhere(session)
    said = statement(content["request"], by=by, decision=REFUSE if refuse else APPROVE, note=speakable(note), now=site.clock())
    approve_text.ask(session, approve_text.shown(plan, said["step"], said, site.config.organisation.tz, content.get("removed", ()), content.get("open", ())), refuse)
    signature, signer = signed(site, key, signed_bytes(said), NAMESPACE)
    if not session.dry_run:
        write_json(file, {**content, "signatures": [*content["signatures"], {"statement": said, "signature": signature}]})

    def text(to: Out) -> None:
        to.line(f"signed by {by} with {signer}, in {file}; it holds until {in_zone(said['expires'], site.config.organisation.tz)}")
        to.line("carry it back: opsctl approve --file FILE records it there, where it is checked whose key that is")

    return Report(result={"statement": said, "signature": signature, "key": signer, "file": str(file)}, text=text, run=plan.run,
                  warnings=site.said)


def record(session: Session, site: Site, gate: Gate, content: Mapping[str, Any]) -> Report:
    """Write down every signature in a file that counts for this gate, and say of the others why they do not."""
    from opsctl.cli.approve import told

    lines: list[Cell] = []
    errors: list[OpsError] = []
    for one in content["signatures"]:
        by = one["statement"].get("by")
        try:
            new = gate.take(one["statement"], one["signature"], write=not session.dry_run)
        except OpsError as error:
            errors.append(error)
        else:
            lines.append(Mark(f"{by}: recorded", Tone.GOOD) if new else f"{by}: was recorded before")
    if not content["signatures"]:
        lines.append("nobody has signed in this file")
    return told(gate, lines, {"recorded": len(content["signatures"]) - len(errors)}, errors)


def read(file: Path) -> tuple[dict[str, Any], BoundPlan]:
    """A carried request whose plan is the one that is signed. DamagedData (22) where it is anything else."""
    from opsctl.cli.signing import read_json
    from opsctl.model.approvals import well_asked
    from opsctl.model.plan import BoundPlan
    from opsctl.model.statements import plan_digest

    content = read_json(file, "a request for approval")
    problem = DamagedData(f"{file} is no request for approval", where=str(file), hint="opsctl approve RUN STEP --out FILE makes one")
    if (
        not isinstance(content, dict) or set(content) - {"removed", "open"} != {"format", "request", "plan", "signatures"} or content["format"] != _FORMAT
        or any(not isinstance(content.get(key, []), list) or not all(isinstance(one, str) for one in content.get(key, [])) for key in ("removed", "open"))
        or not well_asked(content["request"]) or not isinstance(content["signatures"], list)
        or not all(isinstance(one, dict) and set(one) == {"statement", "signature"} and isinstance(one["statement"], dict)
                   and isinstance(one["signature"], str) for one in content["signatures"])
    ):
        raise problem
    try:
        plan = BoundPlan.from_json(content["plan"])
        digest = plan_digest(plan.as_json())
        gates = {step.id for step in plan.steps if step.uses == "approve"}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise problem from error
    asked = content["request"]
    if digest != asked["plan_sha256"] or plan.run != asked["run"] or asked["step"] not in gates:
        raise DamagedData(f"{file}: the plan in it is not the one that would be signed", where=str(file),
                          hint="it was changed on the way; fetch it again")
    return content, plan
