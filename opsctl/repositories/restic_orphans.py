"""Packs that no index names: restic neither reads nor names them in its verdict, so they are looked up and hashed here."""

from __future__ import annotations

import re
from collections.abc import Sequence

from opsctl.model.snapshots import Unreferenced
from opsctl.repositories import restic_failures
from opsctl.repositories.restic_failures import Caller

_NAMED = re.compile(r"^pack (?P<pack>[0-9a-f]{64}): not referenced in any index$", re.MULTILINE)


def find(caller: Caller, shares: Sequence[tuple[int, int]]) -> list[Unreferenced]:
    """By name. Raises what the calls to restic and the store raise; what is wrong with other packs is not told here."""
    # Only the plain words of -v name them. Under check's own lock nobody is just about to write their index.
    words = ["check", "-v"]
    result = caller.call("list the packs", words, accept=None, timeout=0)
    if result.code and restic_failures.cannot_lock(result):
        result = caller.call("list the packs", [*words, "--no-lock"], accept=None, timeout=0)
    names = sorted(set(_NAMED.findall(result.text)))
    store = caller.place.store
    sizes = store.list("data") if store is not None and names else {}
    found = []
    for name in names:
        whole = None
        # As restic picks packs for a share: by the first byte of their names.
        if store is not None and any(int(name[:2], 16) % total == share - 1 for share, total in shares):
            digest = store.digest("data", name)
            if digest is None:
                continue  # gone in the meantime
            whole = digest == name
        found.append(Unreferenced(name, sizes.get(name, 0), whole))
    return found
