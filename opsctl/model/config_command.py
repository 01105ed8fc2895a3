"""The configuration of a source that is any dump program, and what has to agree between its keys."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Annotated, Any, ClassVar, Literal

from opsctl.model.config_source import SourcePart, places, secret_keys, secret_ref, unknown_places
from opsctl.model.fields import (
    NOT_A_VALUE,
    WAYS,
    Argument,
    Command,
    Count,
    Duration,
    FilePath,
    Line,
    Mistake,
    Part,
    Shown,
    Size,
    Variable,
    either,
)
from opsctl.model.part import AfterValidator, Field
from opsctl.model.secrets import SecretRef

SPOOL, TARGET = "spool", "target"

#: As much of the end of a dump as is remembered while it passes.
_LONGEST_TRAILER = 1024
_SECRET_NAME = re.compile(r"passw|secret|token|(?:^|_)pwd$", re.IGNORECASE)


def _trailer(value: str) -> str:
    if len(value.encode()) > _LONGEST_TRAILER:
        raise ValueError(f"must have at most {_LONGEST_TRAILER} bytes")
    return value


class Spool(Part):
    """A folder of its own that a dump program writes files into."""

    directory: FilePath = Field(
        description="Where the folder is made, `opsctl-` and the name of the source, for as long as the dump "
        "lasts; it has to be there and to have room for a whole dump."
    )
    owner: Argument | None = Field(
        default=None,
        description="System user that the folder (mode 0700) is given to, such as the database server's; by "
        "default the one that opsctl runs as.",
    )
    free: Size | None = Field(
        default=None,
        description="Bytes that have to be free there; by default as many as the last good dump took, and a tenth.",
    )


class CommandAtLeast(Part):
    """The least that a dump has to be to be kept."""

    bytes: Size | None = Field(default=None, description="Size of what was dumped.")
    files: Count | None = Field(default=None, description="Number of files in the spool folder.")


class CommandSource(SourcePart):
    """What a program of your own dumps: to its standard output, or, with `spool`, into a folder. The bytes of the
    dump are proven, its rows are not."""

    elsewhere: ClassVar[Mapping[str, str]] = {
        **secret_keys("password"),
        "command": "the dump program is given as argv: [program, word, …]",
        "proof": "of a command the bytes are always proven, and rows never",
    }

    kind: Literal["command"] = Field(description="What sort of source this is.")
    argv: Command = Field(
        description="The dump program and its words, run without a shell. `${spool}` is the spool folder."
    )
    spool: Spool | None = Field(
        default=None,
        description="The program writes files into a folder; without this it writes to standard output.",
    )
    restore: Command | None = Field(
        default=None,
        description="The program that brings a dump back (`restore set --database SOURCE=NAME`): `${target}` is "
        "that NAME. It gets the dump on standard input, or with `spool` the files in `${spool}`.",
    )
    trailer: Annotated[Line, AfterValidator(_trailer), Shown("text")] | None = Field(
        default=None,
        description="Text that stands in the last KiB of every whole dump on standard output; one without it failed.",
    )
    at_least: CommandAtLeast | None = Field(default=None, description="A dump below this is refused.")
    environment: dict[Variable, Line] = Field(
        default_factory=dict, description="Environment variables of both programs, beside those that they get anyway."
    )
    password_file: FilePath | None = Field(default=None, description="File with the password for both programs.")
    password_command: Command | None = Field(
        default=None, description="Command, as a list of words, that prints the password for both programs."
    )
    password_env: Variable | None = Field(
        default=None, description="Environment variable of opsctl with the password for both programs."
    )
    password_variable: Variable | None = Field(
        default=None, description="Environment variable in which both programs find the password."
    )
    limit: Duration = Field(
        default=timedelta(days=1), description="A program that takes longer is ended, and has failed."
    )

    @property
    def password(self) -> SecretRef | None:
        """Where the password for the programs is found; None where they need none."""
        return secret_ref(self, "password", f"password of source {self._name}")


def command_mistakes(name: str, entry: Mapping[str, Any]) -> Iterator[Mistake]:
    """What has to agree between the keys of one source of kind ``command``."""
    place = ("sources", name)
    spooled = entry.get("spool") is not None
    missing = {SPOOL: "needs spool: {directory: …}", TARGET: "is for restore only"}
    yield from unknown_places((*place, "argv"), entry.get("argv"), [SPOOL] if spooled else [], otherwise=missing)
    known = [SPOOL, TARGET] if spooled else [TARGET]
    yield from unknown_places((*place, "restore"), entry.get("restore"), known, otherwise={SPOOL: missing[SPOOL]})
    restore = entry.get("restore")
    if restore is not None and all(found != TARGET for _, found in places(restore)):
        yield (
            (*place, "restore"),
            "needs ${target} in one of its words: the new place, named at the restore; nothing is restored over",
        )
    if spooled and entry.get("trailer") is not None:
        yield (*place, "trailer"), "is for a program that writes to standard output; with spool use at_least"
    least = entry.get("at_least")
    if not spooled and isinstance(least, dict) and least.get("files") is not None:
        yield (*place, "at_least", "files"), "is for a program with a spool only"
    yield from _secret_mistakes(place, entry)


def _secret_mistakes(place: tuple[str | int, ...], entry: Mapping[str, Any]) -> Iterator[Mistake]:
    given = [key for way in WAYS if entry.get(key := f"password_{way}") is not None]
    variable = entry.get("password_variable")
    if given and variable is None:
        yield (*place, given[0]), "needs password_variable beside it: where do the programs look for it?"
    if variable is not None and not given and "password" not in entry:
        yield (*place, "password_variable"), f"needs one of {either(f'password_{way}' for way in WAYS)} beside it"
    environment = entry.get("environment")
    for key in environment if isinstance(environment, dict) else ():
        if key == variable:
            yield (*place, "environment", key), "is password_variable already"
        elif isinstance(key, str) and _SECRET_NAME.search(key):
            ways = either(f"password_{way}" for way in WAYS)
            yield (*place, "environment", key), f"{NOT_A_VALUE} {ways} with password_variable: {key}"
