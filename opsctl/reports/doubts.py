"""What looks wrong of a value in a report; it is taken all the same, and a person looks at it again."""

from __future__ import annotations

import ipaddress
import re
from datetime import datetime

from opsctl.model.fields import meant, shown
from opsctl.protocols.cert_in import Field, protocol
from opsctl.reports.words import FORM_TIME

_ZONE = re.compile(r"(?:[A-Z]{3,4}|UTC[+-]\d\d:\d\d|[+-]\d\d:?\d\d|Z)\)?$")


def doubt(field: Field, text: str | None) -> str | None:
    """None where nothing looks wrong, or nothing is known."""
    if not text:
        return None
    if field.allowed:
        odd = [one.strip() for one in text.split(",") if one.strip().casefold() not in field.allowed]
        return f"the form does not know {', '.join(shown(one) for one in odd)}{meant(odd[0], field.allowed)}" if odd else None
    if field.type == "datetime":
        return _moment(text.strip())
    if field.type == "email":
        return None if re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", text.strip()) else f"{shown(text)} is no e-mail address"
    if field.type == "ip_list":
        odd = [one for one in re.split(r"[,;\s]+", re.sub(r"\([^)]*\)", "", text)) if one and not _address(one)]
        return f"{', '.join(shown(one) for one in odd)} {'is no address' if len(odd) == 1 else 'are no addresses'}" if odd else None
    return None


def _moment(text: str) -> str | None:
    """As the form asks for it, or RFC 3339; with its time zone, which has to be recorded (S2 Q40)."""
    try:
        datetime.strptime(text[:16], FORM_TIME)
    except ValueError:
        try:
            datetime.fromisoformat(text)
        except ValueError:
            return f"{shown(text)} is no moment; the form asks for {protocol().raw['form']['datetime_format']}"
    return None if _ZONE.search(text) else f"{shown(text)} has no time zone"


def _address(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True
