"""Some values of each column of a MariaDB or MySQL database that can hold text."""

from __future__ import annotations

from opsctl.errors import OpsError
from opsctl.model.table_signals import MOST_TABLES, VALUES, WIDTH
from opsctl.sources.mariadb_proof import tables
from opsctl.sources.mariadb_session import Client, quote_ident
from opsctl.sources.table_signals import EACH, Columns

_TEXT = frozenset({"char", "varchar", "tinytext", "text", "mediumtext", "longtext", "json"})
_BYTES = frozenset({"binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"})

_ROWS = "SELECT JSON_ARRAY(TABLE_NAME, CAST(COALESCE(TABLE_ROWS, 0) AS CHAR)) FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE();"


def columns(client: Client, *, mariadb: bool) -> Columns:
    """The columns with up to ``VALUES`` values each, by chance. A table that takes too long, or cannot be read, is left out."""
    sizes = {str(name): int(rows) for name, rows in client.ask(_ROWS)}
    limit = f"SET STATEMENT max_statement_time={EACH} FOR " if mariadb else ""
    hint = "" if mariadb else f" /*+ MAX_EXECUTION_TIME({EACH * 1000}) */"
    for table in sorted(tables(client), key=lambda one: -sizes.get(one.name, 0))[:MOST_TABLES]:
        names = [(name, kind) for name, kind, _, expression in table.columns if kind in _TEXT | _BYTES and not expression]
        if not names or table.sequence:
            continue
        wanted = ", ".join(_value(name, kind) for name, kind in names)
        chance = min(1.0, 4 * VALUES / max(1, sizes.get(table.name, 0)))
        by_chance = f" WHERE RAND() < {chance}" if chance < 1 else ""
        try:
            found = client.ask(f"{limit}SELECT{hint} JSON_ARRAY({wanted}) FROM {quote_ident(table.name)}{by_chance} LIMIT {VALUES};")
        except OpsError:
            return  # the conversation has ended with it
        for number, (name, _) in enumerate(names):
            yield f"{table.name}.{name}", [row[number] for row in found if row[number] is not None]


def _value(name: str, kind: str) -> str:
    """As text; bytes in hexadecimal."""
    column = quote_ident(name)
    if kind in _BYTES:
        return f"CONCAT('0x', HEX(LEFT({column}, {WIDTH // 2})))"
    return f"LEFT({column}, {WIDTH})"
