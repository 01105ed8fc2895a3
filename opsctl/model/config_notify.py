"""Who is told when something is wrong, and what is pinged while nothing is."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal

from opsctl.model.fields import WAYS, Command, Duration, FilePath, Line, Mistake, Part, Shown, Variable, either
from opsctl.model.part import AfterValidator, Field, Strict
from opsctl.model.secrets import SecretRef

Kind = Literal["failed", "overdue", "waiting", "suspect", "incident", "recovered"]
KINDS: tuple[Kind, ...] = ("failed", "overdue", "waiting", "suspect", "incident", "recovered")


def _url(value: str) -> str:
    if re.match(r"[a-z][a-z0-9+.-]*://", value) is None:
        raise ValueError("must be an address such as mailto://… or https://…")
    return value


def _web(value: str) -> str:
    if re.match(r"https?://[^\s/]", value) is None:
        raise ValueError("must be an address such as https://…")
    return value


Address = Annotated[Line, AfterValidator(_url), Shown("address")]
WebAddress = Annotated[Line, AfterValidator(_web), Shown("address")]


class Notify(Part):
    """Who is told when a backup failed or is late, of an incident, and of its duties; and what is pinged when all is well."""

    urls: Annotated[tuple[Address, ...], Strict(False)] = Field(
        default=(),
        description="Where notices go, as Apprise writes them (`mailto://…`); addresses without a password in them.",
    )
    urls_file: FilePath | None = Field(
        default=None, description="File with more of them, one a line: those that hold a password or token."
    )
    urls_command: Command | None = Field(
        default=None, description="Command, as a list of words, that prints such addresses."
    )
    urls_env: Variable | None = Field(default=None, description="Environment variable with such addresses.")
    on: Annotated[tuple[Kind, ...], Strict(False)] = Field(
        default=KINDS, description="What is told."
    )
    remind: Duration = Field(
        default=timedelta(days=1), description="How long a trouble lasts before it is told again."
    )
    dead_man: WebAddress | None = Field(
        default=None,
        description="Address that is called after each `backup run --due` that went well with nothing overdue; a "
        "service there raises the alarm when no call comes.",
    )
    dead_man_file: FilePath | None = Field(default=None, description="File with that address, where it is a secret.")

    @property
    def secret(self) -> SecretRef | None:
        """Where the addresses with passwords in them are found."""
        if self.urls_file is None and self.urls_command is None and self.urls_env is None:
            return None
        return SecretRef(label="addresses of notices", file=self.urls_file, command=self.urls_command, env=self.urls_env)

    @property
    def pulse(self) -> SecretRef | None:
        """Where the secret address of the dead man's switch is found."""
        return None if self.dead_man_file is None else SecretRef(label="address of dead_man", file=self.dead_man_file)


def notify_mistakes(data: Any) -> Iterator[Mistake]:
    """Passwords in plain sight, and ways given twice; ``data`` may have any shape."""
    found = data.get("notify") if isinstance(data, dict) else None
    if not isinstance(found, Mapping):
        return
    listed = found.get("urls")
    for position, url in enumerate(listed if isinstance(listed, list) else []):
        if isinstance(url, str) and re.match(r"[^:]+://[^/@]*:[^/@]+@", url):
            yield ("notify", "urls", position), "holds a password: put the address into a file and name it in urls_file"
    given = [f"urls_{way}" for way in WAYS if found.get(f"urls_{way}") is not None]
    if len(given) > 1:
        yield ("notify", given[1]), f"only one of {either(given)} can be given"
    if found.get("dead_man") is not None and found.get("dead_man_file") is not None:
        yield ("notify", "dead_man_file"), "only one of dead_man and dead_man_file can be given"
