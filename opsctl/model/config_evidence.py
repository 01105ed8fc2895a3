"""What is collected of hosts as evidence: the site's own profiles, how much and how long, and how long personal data is kept."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Literal

from opsctl.model.fields import Command, Duration, Line, Lines, Mistake, Name, Part, Size, entries, shown
from opsctl.model.part import Field

BUILT_IN = ("volatile", "full")
"""Profiles that are always there."""


class EvidenceCommand(Part):
    """A program of the site's own whose output is kept, such as one that writes an image of the memory or of a disk to its standard
    output. It runs on the host, as root with `become: sudo`."""

    argv: Command = Field(description="The program and its arguments; it writes to standard output, and no file.")
    about: Line = Field(description="What it brings, as it stands in the custody record.")
    when: Literal["volatile", "last"] = Field(
        default="last", description="`volatile`: behind processes, sockets and logins, and before everything that lies on disks, for the memory."
    )
    size: Size | None = Field(default=None, description="Most that is kept of it; by default `evidence.item`.")
    limit: Duration = Field(default=timedelta(hours=1), description="It is cut off after this long, and what came until then is kept.")
    personal: bool = Field(default=True, description="It is likely to hold personal data.")


class Profile(Part):
    """What is collected under a name. The key of the entry is its name: `opsctl evidence collect --profile NAME`."""

    extends: Literal["full", "volatile", "nothing"] = Field(default="full", description="What is collected as well.")
    files: Lines = Field(
        default=(), description="Files, folders and patterns of the host (`/srv/portal/config/*.php`), whole and whenever they were written to; absolute."
    )
    logs: Lines = Field(default=(), description="Log files, as patterns, of which those are taken that were written to within the window.")
    commands: dict[Name, EvidenceCommand] = Field(default_factory=dict, description="Programs of your own, by name.")


class Evidence(Part):
    """How evidence is collected. Without the section the profiles `volatile` and `full` are there."""

    profiles: dict[Name, Profile] = Field(default_factory=dict, description="Profiles of your own, by name.")
    window: Duration = Field(default=timedelta(days=7), description="How far back logs are taken, unless `--window` or `--since` says otherwise.")
    item: Size = Field(default=2 << 30, description="Most that is kept of one thing; what is longer is cut, which is recorded.")
    bag: Size = Field(default=50 << 30, description="Most that is kept of one host.")
    limit: Duration = Field(default=timedelta(hours=2), description="Longest that one host may take; what is left then is recorded as failed.")
    free: Size = Field(default=1 << 30, description="So much stays free on the disk that evidence is kept on.")
    personal_data: Duration = Field(
        default=timedelta(days=365),
        description="How long personal data in evidence is kept: the date stands in the custody record and `opsctl evidence list`. Nothing is "
        "deleted by opsctl; what police, CERT-In or a court still need stays.",
    )


def evidence_mistakes(data: Any) -> Iterator[Mistake]:
    """Names that are taken, and patterns that begin nowhere; ``data`` may have any shape."""
    section = data.get("evidence") if isinstance(data, dict) else None
    for name, entry in entries(section, "profiles"):
        place = ("evidence", "profiles", name)
        if name in BUILT_IN:
            yield place, f"{name} is a profile that is always there; take another name, with extends: {name}"
        for key in ("files", "logs"):
            given = entry.get(key)
            for number, pattern in enumerate(given if isinstance(given, list) else []):
                if isinstance(pattern, str) and not pattern.startswith("/"):
                    yield (*place, key, number), f"{shown(pattern)} must begin with /"
