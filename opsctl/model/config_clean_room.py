"""Where restored data is looked at and proven before anything of it comes near production."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from opsctl.model.fields import FilePath, Mistake, Name, Part, entries, mapping
from opsctl.model.hosts import unknown_host
from opsctl.model.part import Field, Strict


class CleanRoom(Part):
    """Where clean rooms are made: places without a way out, in which restored data is loaded, searched and proven."""

    place: FilePath = Field(
        default="/var/tmp",
        description="Folder below which they are made, with room for what is restored, up to three times for a database. Where a folder is "
        "promoted by a rename, it has to be on the file system of its new place.",
    )
    host: Name | None = Field(
        default=None,
        description="A host under `hosts`, set aside for it, on which what is restored runs instead of in namespaces of this machine: its own database "
        "servers are started there. It has to be cut off by opsctl (`isolation:`, `opsctl isolate apply`), which is probed before anything is loaded.",
    )
    on_host: FilePath = Field(default="/var/tmp", description="Folder on that host, with room for two copies of each database.")
    shown: Annotated[tuple[FilePath, ...], Strict(False)] = Field(
        default=(),
        description="Paths of this machine that can be read in it, beside the system's programs: a database server or an application in `/opt`.",
    )


def room_mistakes(data: Any) -> Iterator[Mistake]:
    """A host that is not there, cannot be cut off and probed, or is in use for something else; ``data`` may have any shape."""
    name, place = mapping(data, "clean_room").get("host"), ("clean_room", "host")
    if unknown := unknown_host(data, name):
        yield place, unknown
    elif isinstance(name, str):
        host = mapping(mapping(data, "hosts"), name)
        if host.get("isolation") is None or host.get("os", "linux") != "linux":
            yield place, f"{name} has to be a Linux host that opsctl can cut off: isolation:"
        used = [source for source, entry in entries(data, "sources") if entry.get("host") == name]
        if used:
            yield place, f"{name} is where {', '.join(used)} is in production: a clean room is a host of its own"
