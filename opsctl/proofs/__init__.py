"""What shows that restored data is right; one file a kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opsctl.model.quantities import counted


def shows(proof: Mapping[str, Any]) -> str:
    """In words, how much is proven where a restore agrees with this proof."""
    if proof.get("kind") == "rows":
        from opsctl.proofs.rows import what_it_shows

        return what_it_shows(proof)
    if proof.get("kind") == "content":
        from opsctl.proofs import content

        return content.what_it_shows(proof)
    if proof.get("kind") != "files":
        return f"a proof of kind {proof.get('kind')}, which this version does not know"
    return f"{counted(proof.get('files', 0), 'file')}, {counted(proof.get('bytes', 0), 'byte')}, and restic's verification of each"
