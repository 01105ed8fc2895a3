"""Every key of a source of kind ``mariadb``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from opsctl.model.config_source import SourcePart, secret_keys, secret_ref
from opsctl.model.fields import Argument, Command, FilePath, Shown, Variable
from opsctl.model.part import Field
from opsctl.model.secrets import SecretRef


class MariadbSource(SourcePart):
    """One MariaDB or MySQL database, with the users and grants that belong to it."""

    elsewhere: ClassVar[Mapping[str, str]] = {
        **secret_keys("password"),
        "socket": "give the path of the socket as server",
    }

    kind: Literal["mariadb"] = Field(description="What sort of source this is.")
    database: Argument = Field(description="Name of the database.")
    server: Argument | None = Field(
        default=None,
        description="Address of the server, or the path of its socket; by default this machine's socket.",
    )
    port: Annotated[int, Field(ge=1, le=65535), Shown("number")] | None = Field(
        default=None, description="Port of the server; 3306 where only an address is given."
    )
    user: Argument | None = Field(
        default=None,
        description="User to connect as; by default the name of the system user. It needs `SELECT, SHOW VIEW, "
        "TRIGGER, EVENT` on the database, `RELOAD` for the lock that dump and proof begin under, and `SELECT` on "
        "`mysql.*` for users and grants.",
    )
    password_file: FilePath | None = Field(default=None, description="File with the password of the user.")
    password_command: Command | None = Field(
        default=None, description="Command, as a list of words, that prints the password of the user."
    )
    password_env: Variable | None = Field(
        default=None, description="Environment variable with the password of the user."
    )
    cacert: FilePath | None = Field(
        default=None,
        description="PEM file that the server's TLS certificate is checked against, which has to name `server`. Without it "
        "nothing tells whether it is the right server.",
    )
    proof: Literal["full", "counts", "off"] = Field(
        default="full",
        description="What a restore is compared with: checksums of all tables, row counts, or nothing.",
    )
    accounts: bool = Field(
        default=True,
        description="Users with rights in the database, and those rights, are in the dump. `false`: neither they nor "
        "`SELECT` on `mysql.*`.",
    )

    @property
    def password(self) -> SecretRef | None:
        """Where the password of ``user`` is found; None where the server asks for none."""
        return secret_ref(self, "password", f"password of source {self._name}")
