"""Whether people vouch for a playbook as its file is now."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from opsctl.engine.playbooks import packaged
from opsctl.errors import DamagedData, SafetyRefusal
from opsctl.model.approvals import Signed
from opsctl.model.signed_playbook import NAMESPACE, read, weigh
from opsctl.model.statements import signed_bytes
from opsctl.wiring.people import members
from opsctl.wiring.site import Site


def refuse_unsigned_playbook(site: Site, path: Path) -> None:
    """SafetyRefusal where fewer people vouch for a playbook than the configuration wants, or it was changed since they did.

    The packaged ones belong to the program.
    """
    if path.parent == packaged():
        return
    people = vouching(site, path)
    wanted = site.config.playbooks.signed_by
    if len(people) < wanted:
        raise SafetyRefusal(f"playbook {path.stem} is signed by {', '.join(people) or 'nobody'}, and {wanted} have to vouch for it "
                            "(playbooks: signed_by:)", where=str(path), hint=f"opsctl playbooks sign {path.stem} --by NAME")


def vouching(site: Site, path: Path) -> list[str]:
    """Those who signed it as it is. Refused and SafetyRefusal where one of the signatures does not hold for it."""
    signed = signatures(path)
    if not signed:
        return []
    found = []
    for one in signed:
        try:
            found.append(Signed(one["statement"], site.signatures.check(signed_bytes(one["statement"]), one["signature"], NAMESPACE)))
        except DamagedData as error:
            found.append(Signed(one["statement"], None, error.message))
    return weigh(found, members(site), playbook=path.stem, sha256=digest(path))


def signatures(path: Path) -> list[dict[str, Any]]:
    """What lies beside a playbook, unchecked. DamagedData where it cannot be read."""
    place = signatures_file(path)
    try:
        return read(json.loads(place.read_bytes()), str(place))
    except FileNotFoundError:
        return []
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedData(f"{place} cannot be read: {error}", where=str(place), hint="remove it, and sign the playbook again") from error


def signatures_file(path: Path) -> Path:
    return path.with_suffix(".signatures.json")


def digest(path: Path) -> str:
    """SHA-256 of a playbook's file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
