"""What still has to end before an incident may be closed, beside its duties: papers that were asked for, work on paper not reconciled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from opsctl.model.incident import ASKED, ENTERED, ISSUED, LAST, OFFLINE, PAPERED, RECONCILED, Incident
from opsctl.model.values import value

_NAMED = 5
"""Bodies that are named one by one; there are states with hundreds."""


@value
class End:
    """Something open, in a line, and the command that ends it."""

    what: str
    how: str


def open_ends(found: Incident) -> tuple[End, ...]:
    """Everything that is open, papers first."""
    came = {one.data["kind"] for one in found.of(PAPERED)}
    done = reconciled(found)
    papers = [End(f"{one.data['kind']} is not there ({one.data['text']})", f"opsctl incident paper {found.id} {one.data['kind']} FILE")
              for one in found.of(ASKED) if one.data["kind"] not in came]
    left = [one for order, bodies in on_paper(found).items() for one in _left(order, [body for body in bodies if (order, body) not in done])]
    return tuple(dict.fromkeys([*papers, *left]))


def _left(order: str, bodies: Sequence[str]) -> list[End]:
    if len(bodies) > _NAMED:
        listed = f"{', '.join(bodies[:_NAMED])} and {len(bodies) - _NAMED} more"
        return [End(f"{len(bodies)} bodies are not reconciled (order {order}): {listed}", "opsctl paper reconcile")]
    return [End(f"{body} is not reconciled (order {order})", f"opsctl paper reconcile {body}") for body in bodies]


def on_paper(found: Incident) -> dict[str, list[str]]:
    """The bodies that were ever told to work on paper, by order, with those that were given receipts without one."""
    by_order: dict[str, dict[str, None]] = {}
    for one in found.of(OFFLINE):
        by_order.setdefault(one.data["order"], {}).update(dict.fromkeys(one.data["bodies"]))
    for one in found.of(ISSUED):
        by_order.setdefault(one.data["order"], {}).update({each["body"]: None for each in one.data["ranges"]})
    for one in found.of(ENTERED):
        by_order.setdefault(one.data["order"], {}).update(dict.fromkeys(one.data["bodies"]))
    return {order: list(bodies) for order, bodies in by_order.items()}


def concerning(found: Incident) -> Counter[tuple[str, str]]:
    """How many records concern each body of each order. What was reconciled before another one came is to be looked at again."""
    numbers: Counter[tuple[str, str]] = Counter()
    for one in found.of(ISSUED):
        numbers.update({(one.data["order"], each["body"]) for each in one.data["ranges"]})
    for one in found.of(LAST):
        numbers.update({(one.data["order"], each["body"]) for each in one.data["rows"]})
    for one in found.of(ENTERED):
        numbers.update((one.data["order"], body) for body in one.data["bodies"])
    return numbers


def reconciled(found: Incident) -> frozenset[tuple[str, str]]:
    """Order and body of what was reconciled, with nothing that came since."""
    now = concerning(found)
    return frozenset((one.data["order"], each["body"]) for one in found.of(RECONCILED) for each in one.data["bodies"]
                     if each["seen"] == now[one.data["order"], each["body"]])
