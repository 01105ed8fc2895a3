"""The generated parts of playbooks/README.md: which playbook answers which type of incident, and the rules that they are held against.

``python -m opsctl.engine.playbooks_table`` writes them anew.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from opsctl.engine.playbooks import packaged, read
from opsctl.model.playbook import Playbook
from opsctl.protocols.cert_in import protocol
from opsctl.protocols.cert_in_rules import RULES, force, triggered

_PART = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def page(text: str) -> str:
    """The page with its generated parts as they have to be now."""
    parts = {"types": _types, "rules": _rules, "duties": _duties}
    return _PART.sub(lambda found: found[1] + "\n".join(parts[found[2]]()) + "\n" + found[3], text)


def responses() -> list[Playbook]:
    """The packaged playbooks that answer incidents, by name."""
    return [found for path in sorted(packaged().glob("*.yaml")) if (found := read(path)).incident_types]


def _types() -> Iterator[str]:
    answers = responses()
    yield "| Annexure I | type | what it is | playbook |"
    yield "|---|---|---|---|"
    for one in protocol().types.values():
        if one.annexure is not None:
            named = ", ".join(f"`{found.name}`" for found in answers if one.id in found.incident_types)
            yield f"| {one.annexure} | `{one.id}` | {one.summary} | {named} |"


def _rules() -> Iterator[str]:
    yield "| rule | what it says | force | source |"
    yield "|---|---|---|---|"
    yield "| `duty` | Every duty that the type of incident starts has a step that ends it | that of the duty | that of the duty |"
    for rule in RULES:
        yield f"| `{rule.id}` | {rule.says} | {rule.force} | {'; '.join(rule.sources)} |"


def _duties() -> Iterator[str]:
    known = protocol()
    yield "| duty | started by | force | source |"
    yield "|---|---|---|---|"
    every = {duty.id for duty in triggered((), known)}
    for duty in triggered(known.types, known):
        types = "every type" if duty.id in every else ", ".join(f"`{one}`" for one in known.types if duty in triggered([one], known))
        coming = f", in force from {duty.in_force_from}" if duty.in_force_from else ""
        yield f"| `{duty.id}` | {types} | {force(duty)}{coming} | {'; '.join(duty.sources)} |"


if __name__ == "__main__":
    place = packaged() / "README.md"
    place.write_text(page(place.read_text()))
