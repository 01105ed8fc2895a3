"""What the protocol wants to stand before an incident (its phase *prepare*), each with its source and force."""

from __future__ import annotations

from opsctl.model.readiness import Item
from opsctl.protocols.cert_in import protocol

POINT_OF_CONTACT, CISO, CLOCKS, LOGS, RESTORE, OFFLINE, CONTACTS, FORMS, KIT = (
    "point-of-contact", "ciso", "clocks", "logs", "restore-test", "offline-copy", "contact-sheets", "paper-forms", "kit")


def items() -> tuple[Item, ...]:
    """In the order in which they are shown. What no source asks for is called a design default, and is ours."""
    known = protocol()
    contact, logs = known.duties["certin-poc-update"], known.duties["log-retention-180d"]
    raw = known.raw
    days = logs.due.days if logs.due is not None else 0
    return (
        Item(POINT_OF_CONTACT, "The Point of Contact is filed with CERT-In, and as it was filed", contact.force, contact.sources, True,
             f"send its {len(raw['poc_fields']['fields'])} details to {raw['poc_fields']['send_to']} (`opsctl readiness contacts` prints them; people: {{NAME: {{roles: [point-of-contact]}}}} "
             "lets a change show)"),
        Item(CISO, "A CISO is named", "guideline", ("S5",), False, "people: {NAME: {roles: [ciso]}}, and give CERT-In the details"),
        Item(CLOCKS, "All clocks follow NIC or NPL, or what is traceable to them", "binding", ("S1 Direction (i)", "S2 Q43"), False,
             f"let chrony or systemd-timesyncd follow {', '.join(one['host'] for one in raw['ntp_servers']['servers'])}, or servers that are traceable to them"),
        Item(LOGS, f"Logs of {days} days are kept in India, off the hosts that make them", logs.force, logs.sources, True,
             f"look at those of {', '.join(str(one).replace('-', ' ') for one in raw['log_types']['list'])}"),
        Item(RESTORE, "Restoring was tried within its term", "design_default", ("S17", "S20"), False, "opsctl verify NAME --level drill"),
        Item(OFFLINE, "Each backup has a copy offline, as new as asked for", "practice", ("S17",), False, "copies: [REPOSITORY] of a backup, one with removable: true"),
        Item(CONTACTS, "Contact sheets are printed", "design_default", (), True, "print what `opsctl readiness contacts --into DIR` writes, and lay it where people sit"),
        Item(FORMS, "Paper forms and receipt books are held for work on paper", "design_default", (), True, "count them at the counters"),
        Item(KIT, "The emergency kit was built within 90 days", "design_default", (), False, "opsctl kit build DIR, then opsctl kit check DIR"),
    )


def time_servers() -> dict[str, str]:
    """The operators of the time servers that CERT-In names, by their names."""
    return {one["host"]: one["operator"] for one in protocol().raw["ntp_servers"]["servers"]}
