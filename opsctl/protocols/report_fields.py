"""The fields of every report: those of forms and lists, and those that the content of a duty names, each with its source."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from opsctl.protocols.cert_in import Field, protocol

_PARTS = {
    "certin-supplementary-report": ("blank_earlier", "root_cause", "indicators", "further_logs", "measures"),
    "police-complaint": ("complainant", "chronology", "affected_systems", "losses", "evidence", "certin_reference"),
    "police-helpline-1930": ("transaction_reference", "transaction_accounts", "transaction_amount", "transaction_time"),
    "nic-cert-and-ciso": ("seen", "cut_off", "in_charge", "next_update"),
    "lessons-learned": ("timeline", "cause", "data_loss_window", "cost", "actions"),
}
"""Keys for what a duty's ``content`` names, in its order, between commas."""


@functools.cache
def report_fields() -> Mapping[str, tuple[Field, ...]]:
    """Fields by where they stand: ``form``, ``supplementary``, ``board_initial``, ``board_detailed``, ``person``, or a duty's id."""
    known = protocol()
    lists = known.raw["dpdp_contents"]
    return {
        "form": known.fields,
        "supplementary": _fields("supplementary", known.raw["supplementary_fields"]["fields"]),
        "board_initial": _fields("initial", lists["board_initial"], "board."),
        "board_detailed": _fields("detailed", lists["board_detailed"], "board."),
        "person": _fields("notice", lists["data_principal"], "person."),
        **{duty: _parts(duty, keys) for duty, keys in _PARTS.items()},
    }


@functools.cache
def fillable() -> Mapping[str, Field]:
    """Every field of every report by its key: what ``incident fill`` takes."""
    return {field.key: field for part in report_fields().values() for field in part}


def source_of(part: str) -> str:
    """Where the labels of a part stand, such as ``S10 rule 7``."""
    known = protocol()
    if part == "form":
        return str(known.raw["form"]["source"])
    if part == "supplementary":
        return str(known.raw["supplementary_fields"]["source"])
    if part in ("board_initial", "board_detailed", "person"):
        return str(known.raw["dpdp_contents"]["source"])
    return "; ".join(known.duties[part].sources)


def _fields(section: str, found: Sequence[Mapping[str, Any]], prefix: str = "") -> tuple[Field, ...]:
    return tuple(Field(order, section, prefix + one["key"], one.get("label") or one["text"], one.get("type", "multiline"), False,
                       tuple(one.get("allowed") or ())) for order, one in enumerate(found, 1))


def _parts(duty: str, keys: Sequence[str]) -> tuple[Field, ...]:
    labels = [one[:1].upper() + one[1:] for one in protocol().duties[duty].content.split(", ")]
    return tuple(Field(order, duty, key, label, "multiline", False) for order, (key, label) in enumerate(zip(keys, labels, strict=True), 1))
