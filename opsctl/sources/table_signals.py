"""Change signals of a database: its proofs tell what became of its rows, a bounded sample of them what became of columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from opsctl.errors import Interrupted, OpsError
from opsctl.model.signals import Signals
from opsctl.model.table_signals import noise, of_tables
from opsctl.sources.interface import Evidence

#: Seconds that the server may take for the values of one table; a table that takes longer is left out.
EACH = 3
Columns = Iterable[tuple[str, Iterable[str]]]
"""``TABLE.COLUMN`` and some of its values, as text."""


def of(evidence: Evidence, sample: Callable[[], Columns]) -> Signals:
    """Judge what changed. Where the source is not as it was captured any more, its columns are left out.

    Values are looked at and forgotten: of a column only two numbers are kept.
    """
    columns: Mapping[str, tuple[int, int]] = {}
    if evidence.live:
        try:
            columns = {name: found for name, values in sample() if (found := noise(values))[0]}
        except Interrupted:
            raise
        except OpsError:  # rows of its proofs tell enough to go on with
            columns = {}
    before = evidence.previous["proof"].get("tables", {}) if evidence.previous is not None else None
    return of_tables(evidence.entry["proof"].get("tables", {}), before, columns, evidence.earlier)
