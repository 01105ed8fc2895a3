"""What shows that restored data is right; one file a kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def shows(proof: Mapping[str, Any]) -> str:
    """In words, how much is proven where a restore agrees with this proof."""
    if proof.get("kind") == "rows":
        from opsctl.proofs.rows import what_it_shows

        return what_it_shows(proof)
    return f"{proof.get('files', 0):,} files, {proof.get('bytes', 0):,} bytes, and restic's verification of each"
