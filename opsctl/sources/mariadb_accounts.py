"""The SQL that stands behind a dump: users and roles that are missing, and what they may do in the database.

mariadb-dump writes one database, and users and grants belong to the server. With this behind it,
``mariadb NEW < FILE`` is a whole restore. What a user may do elsewhere on the server is not brought, only named in a
comment. A user that exists on the target is never changed beyond what it may do in the new database.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from opsctl.sources.mariadb_session import Client, quote_ident, quote_literal

TRAILER = "-- opsctl: this is the end, the dump is whole"

#: Users of the server's own, which every server has.
_OWN = frozenset({"root", "mariadb.sys", "mysql", "mysql.sys", "mysql.session", "mysql.infoschema"})

_QUOTED = r"`(?:[^`]|``)*`"
#: One line of what SHOW GRANTS says that is about a database, or (``*``) about all of them.
LINE = re.compile(
    rf"GRANT (?P<what>(?:{_QUOTED}|[^`])+?) ON (?P<type>(?:FUNCTION|PROCEDURE|PACKAGE|PACKAGE BODY) )?"
    rf"(?P<database>{_QUOTED}|\*)\.(?P<object>{_QUOTED}|\*) TO (?P<rest>.+)",
    re.DOTALL,
)
_ROLE = re.compile(rf"GRANT (?P<roles>{_QUOTED}(?:@{_QUOTED})?(?:,{_QUOTED}@{_QUOTED})*) TO ", re.DOTALL)
_OPTION = " WITH GRANT OPTION"


@dataclass(frozen=True, order=True)
class Account:
    """A user or, without a host, a role; ``PUBLIC`` is everybody."""

    user: str
    host: str
    role: bool = False

    def __str__(self) -> str:
        if self.role:
            return "PUBLIC" if self.user == "PUBLIC" else quote_ident(self.user)
        return f"{quote_ident(self.user)}@{quote_ident(self.host)}"


@dataclass(frozen=True)
class Grant:
    """What an account may do with the database, or with one thing in it: ``object`` is quoted, or ``*``."""

    account: Account
    what: str
    type: str
    object: str
    option: bool

    def sql(self, word: str = "GRANT") -> list[str]:
        """The statements, with ``{}`` in the place of the database; ``word`` is GRANT or REVOKE."""
        place = f"ON {self.type}{{}}.{self.object}"
        if word == "GRANT":
            return [f"GRANT {self.what} {place} TO {self.account}{_OPTION if self.option else ''}"]
        taken = [self.what, *(["GRANT OPTION"] if self.option else [])]
        return [f"REVOKE {each} {place} FROM {self.account}" for each in taken]


@dataclass(frozen=True)
class Known:
    """All that is needed: accounts with the statement that makes each, what else they are given, and the grants."""

    made: Sequence[tuple[Account, str]]
    memberships: Sequence[tuple[Account, str]]
    grants: Sequence[Grant]
    elsewhere: Sequence[str]


def read(client: Client, *, mariadb: bool, patterns: bool = True) -> Known:
    """Ask the server about its current database. The same server gives the same answer every time.

    ``patterns``: grants on names with wildcards that cover this database count as well.
    """
    roles = _roles(client, mariadb)
    granted = _granted(client, roles, patterns)
    accounts = {*granted, *_definers(client, roles)}
    accounts = _with_members(client, accounts, roles, mariadb)
    made, memberships, grants, elsewhere = [], [], [], []
    for account in sorted(accounts):
        if account.user in _OWN and account not in granted:
            continue
        if account.user != "PUBLIC":
            made.append((account, _make(client, account)))
        for line in _show(client, account):
            found = LINE.fullmatch(line)
            if found is None:
                if _ROLE.match(line) or line.startswith("SET DEFAULT ROLE"):
                    memberships.append((account, line))
            elif found["database"] == "*":
                if found["what"] not in ("USAGE", "PROXY"):
                    elsewhere.append(f"{found['what']} ON *.* TO {account}")
            elif _is_here(client, found["database"], found["object"], patterns):
                option = found["rest"].endswith(_OPTION)
                grants.append(Grant(account, found["what"], found["type"] or "", found["object"], option))
    return Known(made, memberships, grants, elsewhere)


def render(known: Known | None) -> str:
    """The SQL, which is about whatever database it is loaded into; None where accounts are left out."""
    if known is None:
        return f"\n{TRAILER}\n"
    lines = [
        "",
        "--",
        "-- opsctl: users, roles and grants of the database above. Users that exist already stay as they are.",
        *(f"-- Not given here, since it reaches beyond this database: {_one_line(line)}" for line in known.elsewhere),
        "--",
        "",
        "SET @opsctl_mode = @@sql_mode, SESSION sql_mode = '';",
        f"SET @opsctl_name = {_QUOTE.format('DATABASE()')};",
        f"SET @opsctl_here = {_QUOTE.format(_ESCAPE)};",
    ]
    fresh = {}
    for number, (account, statement) in enumerate(known.made):
        fresh[account] = f"@opsctl_{number}"
        where = f"User = {quote_literal(account.user)} AND Host = {quote_literal(account.host)}"
        lines.append(f"SET {fresh[account]} = NOT EXISTS (SELECT 1 FROM mysql.user WHERE {where});")
        lines += _do(f"IF({fresh[account]}, {quote_literal(statement)}, 'DO 0')")
    for account, line in known.memberships:
        lines += _do(f"IF({fresh.get(account, '0')}, {quote_literal(line)}, 'DO 0')")
    lines += statements(known.grants)
    lines += ["SET SESSION sql_mode = @opsctl_mode;", "", TRAILER, ""]
    return "\n".join(lines)


_ESCAPE = "REPLACE(REPLACE(REPLACE(DATABASE(), '\\\\', '\\\\\\\\'), '_', '\\\\_'), '%', '\\\\%')"
_QUOTE = "CONCAT('`', REPLACE({}, '`', '``'), '`')"


def statements(grants: Iterable[Grant], word: str = "GRANT") -> list[str]:
    """Grant or revoke in whatever database is the current one, whose name ``@opsctl_name`` and ``_here`` hold."""
    lines = []
    for grant in grants:
        # Only a name for a whole database is a pattern.
        name = "@opsctl_here" if grant.object == "*" else "@opsctl_name"
        for statement in grant.sql(word):
            before, _, after = statement.partition("{}")
            lines += _do(f"CONCAT({quote_literal(before)}, {name}, {quote_literal(after)})")
    return lines


def names() -> list[str]:
    """What ``statements`` stand on."""
    return [f"SET @opsctl_name = {_QUOTE.format('DATABASE()')};", f"SET @opsctl_here = {_QUOTE.format(_ESCAPE)};"]


def shapes(known: Known) -> dict[str, tuple[str, str]]:
    """For each account what it may do here, as a summary and a detail, to be compared after a restore."""
    found: dict[str, list[str]] = {}
    for grant in known.grants:
        # The same privilege may be given twice, by name and by pattern.
        found.setdefault(str(grant.account), []).extend(
            f"{each} {grant.type}{grant.object}{' *' if grant.option else ''}" for each in split(grant.what)
        )
    return {
        f"grants to {account}": (f"grants={len(set(lines))}", "\n".join(sorted(set(lines))))
        for account, lines in found.items()
    }


def unquoted(name: str) -> str:
    return name[1:-1].replace("``", "`")


def split(what: str) -> list[str]:
    """The privileges of one grant, each with its columns."""
    return [each.strip() for each in re.findall(rf"(?:\([^)]*\)|{_QUOTED}|[^,(`])+", what)]


def _do(expression: str) -> list[str]:
    return [f"SET @opsctl_do = {expression};", "PREPARE opsctl FROM @opsctl_do;", "EXECUTE opsctl;"]


def _one_line(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _roles(client: Client, mariadb: bool) -> frozenset[str]:
    """Names of roles. In MySQL a role is a user like any other."""
    if not mariadb:
        return frozenset()
    found = client.ask("SELECT JSON_ARRAY(User) FROM mysql.user WHERE is_role = 'Y';")
    return frozenset({"PUBLIC", *(name for (name,) in found)})


def _account(user: str, host: str, roles: frozenset[str]) -> Account:
    return Account(user, host, role=not host and user in roles)


def _granted(client: Client, roles: frozenset[str], patterns: bool) -> set[Account]:
    covering = "DATABASE() LIKE Db" if patterns else f"Db IN (DATABASE(), {_ESCAPE})"
    found = client.ask(
        f"SELECT JSON_ARRAY(User, Host) FROM mysql.db WHERE {covering}\n"
        "UNION SELECT JSON_ARRAY(User, Host) FROM mysql.tables_priv WHERE Db = DATABASE()\n"
        "UNION SELECT JSON_ARRAY(User, Host) FROM mysql.procs_priv WHERE Db = DATABASE();"
    )
    return {_account(user, host, roles) for user, host in found}


def _definers(client: Client, roles: frozenset[str]) -> set[Account]:
    places = (("VIEWS", "TABLE"), ("TRIGGERS", "TRIGGER"), ("ROUTINES", "ROUTINE"), ("EVENTS", "EVENT"))
    query = "\nUNION ".join(
        f"SELECT JSON_ARRAY(DEFINER) FROM information_schema.{place} WHERE {prefix}_SCHEMA = DATABASE()"
        for place, prefix in places
    )
    found = [name.rpartition("@") for (name,) in client.ask(f"{query};") if name]
    there = {(user, host) for user, host in client.ask("SELECT JSON_ARRAY(User, Host) FROM mysql.user;")}
    return {_account(user, host, roles) for user, _, host in found if (user, host) in there}


def _with_members(client: Client, first: set[Account], roles: frozenset[str], mariadb: bool) -> set[Account]:
    """People log in as members of a role, so members are needed, and roles that a needed account is in."""
    if mariadb:
        query = "SELECT JSON_ARRAY(User, Host, Role, '') FROM mysql.roles_mapping;"
    else:
        query = "SELECT JSON_ARRAY(TO_USER, TO_HOST, FROM_USER, FROM_HOST) FROM mysql.role_edges;"
    pairs = [
        (_account(user, host, roles), _account(role, role_host, roles))
        for user, host, role, role_host in client.ask(query)
        if user not in _OWN
    ]
    needed, more = set(first), True
    while more:
        reached = {role for member, role in pairs if member in needed} | {
            member for member, role in pairs if role in needed
        }
        more = not reached <= needed
        needed |= reached
    return needed


def _make(client: Client, account: Account) -> str:
    if account.role:
        return f"CREATE ROLE {account}"
    return client.plain(f"SHOW CREATE USER {account};")[0]


def _show(client: Client, account: Account) -> list[str]:
    return client.plain(f"SHOW GRANTS FOR {account};")


def _is_here(client: Client, database: str, thing: str, patterns: bool) -> bool:
    name = unquoted(database)
    here = client.current
    if thing != "*":
        return name == here
    if not patterns:
        return name in (here, here.replace("\\", "\\\\").replace("_", "\\_").replace("%", "\\%"))
    return like(here, name)


def like(name: str, pattern: str) -> bool:
    """Whether the server's LIKE would say so, as it does for the database in a grant."""
    words = re.findall(r"\\.|.", pattern, re.DOTALL)
    known = {"%": ".*", "_": "."}
    return bool(re.fullmatch("".join(known.get(word) or re.escape(word[-1]) for word in words), name, re.DOTALL))
