"""Binding: a playbook and its inputs become a plan in which everything is fixed."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from opsctl.actions.interface import Action
from opsctl.errors import ConfigError, OpsError, UsageError
from opsctl.model.fields import meant
from opsctl.model.part import NotValid, fields
from opsctl.model.plan import BoundItem, BoundPlan, BoundStep
from opsctl.model.playbook import EVERY, NEW, REFERENCE, ForEach, Input, Playbook, Step, wrong_value

#: What ``for_each`` can go through besides ``items``, and where the names stand in the configuration.
COLLECTIONS = ("backups", "hosts", "repositories", "sources")
_ONE = {"backups": "backup", "hosts": "host", "repositories": "repository", "sources": "source", "zones": "zone"}
_EXAMPLE = "YYYY-MM-DDThh:mm+05:30"  # nothing that can be taken as it is: a moment is never guessed

Registry = Callable[[str], Action]


def run_id(now: datetime, subject: str, token: str) -> str:
    """``20261124-0230-portal-7f3a``: when (UTC), about what, and four characters that make it the only one."""
    return f"{now.astimezone(UTC):%Y%m%d-%H%M}-{subject[:24].strip('-')}-{token[:4]}"


def incident_id(run: str) -> str:
    """The id of the incident that a run opens: ``inc-20261221-7f3a``."""
    first, *_, token = run.split("-")
    return f"inc-{first}-{token}"


def set_id(run: str) -> str:
    """The id of the set that a run makes: the run's own without its subject."""
    first, second, *_, token = run.split("-")
    return f"{first}-{second}-{token}"


def bind(
    playbook: Playbook,
    inputs: Mapping[str, Any],
    *,
    config: Any,
    registry: Registry,
    run: str,
    now: datetime,
    started_by: str,
    options: Mapping[str, Any] | None = None,
    prefix: str = "",
) -> BoundPlan:
    """Fix inputs, items and moment. Every mistake at once, and nothing was touched: UsageError (2) for inputs, ConfigError (10)
    for the playbook.

    ``inputs`` may hold texts (from a command line), which are read as the type that the playbook declares. ``prefix`` stands
    before the id of each step, where several playbooks become one plan.
    """
    said: list[str] = []
    problems: list[str] = []
    values = _values(playbook, inputs, config, said)
    values |= {name: incident_id(run) for name, one in playbook.inputs.items() if one.type == "incident" and values.get(name) == NEW}
    steps = []
    graph = playbook.graph
    for step in playbook.steps if not said else ():
        bound = _step(step, graph[step.id], values, playbook.inputs, config, registry, run, problems, said, prefix)
        if bound is not None:
            steps.append(bound)
    what, hint = f"playbook {playbook.name} cannot be run like this", _how(playbook, inputs)
    if problems:
        raise ConfigError(what, problems=[*problems, *said], hint=hint)
    if said:
        raise UsageError(f"{what}: {'; '.join(said)}", hint=hint)
    plan = BoundPlan(
        run=run, playbook=playbook.name, title=str(playbook.title), now=now, started_by=started_by,
        inputs=values, steps=tuple(steps), config_digest=config.digest if config else "", options=dict(options or {}),
    )
    return replace(plan, steps=tuple(_bound_to(config, step, plan) for step in plan.steps)) if config else plan


def _bound_to(config: Any, step: BoundStep, plan: BoundPlan) -> BoundStep:
    """A step that people approve, with what the configuration says of that which it opens."""
    if step.uses != "approve" or not (opened := plan.opened(step.id)):
        return step
    from opsctl.model.config_used import used

    return replace(step, configured=used(opened, config))


def _values(playbook: Playbook, inputs: Mapping[str, Any], config: Any, problems: list[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name in inputs:
        if name not in playbook.inputs:
            problems.append(f"--set {name}: {playbook.name} has no such input{meant(name, playbook.inputs)}")
    for name, declared in playbook.inputs.items():
        if name in inputs:
            value = _read(inputs[name], declared)
            problem = wrong_value(declared.type, value) or _unknown(declared, value, config)
            if problem:
                problems.append(f"--set {name}: {problem}")
            values[name] = value
        elif declared.required:
            problems.append(f"--set {name}=… is needed: {declared.help}")
        else:
            values[name] = declared.default
    return values


def _read(value: Any, declared: Input) -> Any:
    if not isinstance(value, str):
        return list(value) if isinstance(value, tuple) else value
    if declared.type == "list":
        return [part for part in value.split(",") if part]
    if declared.type == "integer":
        try:
            return int(value)
        except ValueError:
            return value
    return value


def _unknown(declared: Input, value: Any, config: Any) -> str | None:
    known = {one: many for many, one in _ONE.items()}.get(declared.type)
    if known is None or config is None:
        return None
    names = getattr(config, known)
    if value in names:
        return None
    return f"there is no {declared.type} {value!r} in the configuration{meant(str(value), names)}"


def _how(playbook: Playbook, inputs: Mapping[str, Any]) -> str:
    """The command line with what was given and what is missing, for whoever has no terminal where it is asked for."""
    missing = [name for name, declared in playbook.inputs.items() if declared.required and name not in inputs]
    if not missing:
        return f"opsctl playbooks show {playbook.name}"
    given = [f"{name}={value}" for name, value in inputs.items() if isinstance(value, str)]
    words = [*given, *(f"{name}={_EXAMPLE if playbook.inputs[name].type == 'datetime' else '…'}" for name in missing)]
    return f"at a terminal it is asked for; else: opsctl run {playbook.name} {' '.join(f'--set {shlex.quote(one)}' for one in words)}"


def _step(
    step: Step, after: Sequence[str], values: Mapping[str, Any], inputs: Mapping[str, Input], config: Any,
    registry: Registry, run: str, problems: list[str], said: list[str], prefix: str,
) -> BoundStep | None:
    """``problems``: the playbook's own mistakes; ``said``: those of its inputs."""
    try:
        action = registry(step.uses)
    except OpsError as error:
        problems.append(f"step {step.id}: {error.message}")
        return None
    items = []
    for name in _items(step, values, inputs, config, problems, said):
        known = {**values, "item": name} if name is not None else values
        params = fill(step.with_, known)
        known_fields = fields(action.Params)
        if "set" in known_fields and not params.get("set"):
            params["set"] = set_id(run)
        if "incident" in known_fields and "incident" in inputs and inputs["incident"].type == "incident":
            params.setdefault("incident", values["incident"])
        if "duty" in known_fields and step.duty:
            params.setdefault("duty", step.duty)
        if "step" in known_fields:
            params["step"] = prefix + step.id
        try:
            params = action.Params.model_validate(params).model_dump(mode="json")
        except NotValid as error:
            problems.extend(f"step {step.id} ({step.uses}): {_plainly(found)}" for found in error.errors())
            break
        items.append(BoundItem(name, params))
    return BoundStep(
        id=prefix + step.id, uses=step.uses, title=str(step.title or step.id), after=tuple(prefix + one for one in after), items=tuple(items),
        may_fail=step.may_fail, always=step.always, on_unknown=step.on_unknown or "ask", phase=step.phase,
        **_pace(step.for_each, len(items)),
    )


def _pace(loop: ForEach | None, items: int) -> dict[str, Any]:
    if loop is None:
        return {}
    return {"at_once": loop.under_way, "tolerate": loop.tolerated(items), "canary": loop.canary or 0,
            "waves": loop.waves or 0, "stop_after": loop.stop_after or 0}


def _items(
    step: Step, values: Mapping[str, Any], inputs: Mapping[str, Input], config: Any, problems: list[str], said: list[str],
) -> Sequence[str | None]:
    if step.for_each is None:
        return (None,)
    kind, value = step.for_each.collection, fill(step.for_each.value, values)
    unknown = said if value != step.for_each.value else problems  # of an input, or written in the playbook
    if kind != "items" and kind not in COLLECTIONS:
        problems.append(f"step {step.id}: for_each cannot go through {kind!r}{meant(kind, ('items', *COLLECTIONS))}")
        return ()
    if kind == "sources" and isinstance(value, str):
        backup = config.backups.get(value)
        if backup is None:
            unknown.append(f"step {step.id}: there is no backup {value!r}{meant(value, config.backups)}")
            return ()
        return list(backup.sources)
    listed = [str(one) for one in (value if isinstance(value, list) else [value])]
    if listed == [EVERY] and kind != "items" and EVERY not in getattr(config, kind):
        listed = _every(kind, config)
    if kind == "hosts":
        whole = REFERENCE.fullmatch(step.for_each.value) if isinstance(step.for_each.value, str) else None
        declared = inputs[whole[1]].type if whole else ""
        return _hosts(listed, declared, config, unknown, f"step {step.id}")
    # On a machine without a configuration the repository alone knows which backups there are.
    if kind != "items" and not (kind == "backups" and config.directory is None and not config.backups):
        for name in listed:
            if name not in getattr(config, kind):
                unknown.append(f"step {step.id}: there is no {_ONE[kind]} {name!r}{meant(name, getattr(config, kind))}")
    return listed


def _every(kind: str, config: Any) -> list[str]:
    """All of them; of repositories those that are not carried away, which are here when they are."""
    return [name for name, spec in getattr(config, kind).items() if not getattr(spec, "removable", False)]


def _hosts(listed: Sequence[str], declared: str, config: Any, problems: list[str], where: str) -> list[str]:
    """The hosts that names stand for, each once: a zone's name for all that stand in it.

    ``declared`` is the type of the input that the names came from; it says what a name is that a zone and a host have.
    """
    found: list[str] = []
    for name in listed:
        zone = name in config.zones and declared != "host"
        host = name in config.hosts and declared != "zone"
        if zone and host:
            problems.append(f"{where}: {name!r} is a host and a zone; an input of type host or zone says which is meant")
        elif host:
            found.append(name)
        elif zone:
            inside = [one for one, spec in config.hosts.items() if spec.zone == name]
            if not inside:
                problems.append(f"{where}: there is no host in zone {name!r}")
            found += inside
        else:
            near = meant(name, (*config.hosts, *config.zones))
            problems.append(f"{where}: there is no host and no zone {name!r}{near}")
    return list(dict.fromkeys(found))


def fill(value: Any, known: Mapping[str, Any]) -> Any:
    """Put values in the place of ``${name}``. A text that is one reference takes the value as it is, a list too."""
    if isinstance(value, str):
        whole = REFERENCE.fullmatch(value)
        if whole:
            return known[whole[1]]
        return REFERENCE.sub(lambda found: _text(known[found[1]]), value)
    if isinstance(value, Mapping):
        return {key: fill(inner, known) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [fill(inner, known) for inner in value]
    return value


def _text(value: Any) -> str:
    return ",".join(str(one) for one in value) if isinstance(value, list | tuple) else str(value)


def _plainly(found: Any) -> str:
    where = ".".join(str(part) for part in found["loc"])
    if found["type"] == "missing":
        return f"with.{where} is needed"
    if found["type"] == "extra_forbidden":
        return f"with.{where}: there is no such parameter"
    return f"with.{where}: {found['msg'].removeprefix('Value error, ').lower()}"
