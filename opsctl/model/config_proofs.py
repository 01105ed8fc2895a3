"""What shows that a service is right again: its proofs, one after another."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal

from opsctl.model.config_isolation import SECRET_WORD, Port
from opsctl.model.config_notify import WebAddress
from opsctl.model.fields import Argument, Command, Duration, FilePath, Line, Mistake, Part, Shown, mapping
from opsctl.model.part import AfterValidator, Field, Kinds, Strict

#: Words of headers that hold a secret, which is never a value in a file.
_SECRET = re.compile(r"authorization|cookie|token|secret|api-?key|password", re.IGNORECASE)


def _header(value: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9-]{1,100}", value) is None:
        raise ValueError("must be the name of a header, such as Host")
    return value


Header = Annotated[str, AfterValidator(_header), Shown("name of a header")]
Status = Annotated[int, Field(ge=100, le=599), Shown("number")]
ExitCode = Annotated[int, Field(ge=0, le=255), Shown("number")]


class RowsProof(Part):
    """The databases that the service restores: every table's rows and checksums, as its set recorded them."""

    kind: Literal["rows"] = Field(description="What sort of proof this is.")
    limit: Duration = Field(default=timedelta(hours=6), description="What takes longer is not proven.")


class FilesProof(Part):
    """The files that the service restores: each one's content, hashed again against its set."""

    kind: Literal["files"] = Field(description="What sort of proof this is.")
    limit: Duration = Field(default=timedelta(hours=6), description="What takes longer is not proven.")


class HttpProof(Part):
    """A page that the service answers with."""

    kind: Literal["http"] = Field(description="What sort of proof this is.")
    url: WebAddress = Field(description="Its address, such as `https://portal.example.in/tax/health`.")
    status: Status = Field(default=200, description="The status that it answers with.")
    contains: Line | None = Field(default=None, description="Text in the first MiB of the page.")
    headers: dict[Header, Line] = Field(
        default_factory=dict, description="Headers of the request, such as `{Host: portal.example.in}`; none with a secret."
    )
    cacert: FilePath | None = Field(
        default=None, description="PEM file with the certificate that its TLS is checked against; the system's own without it."
    )
    redirects: Literal["here", "anywhere"] = Field(
        default="here", description="Whether a redirect may lead to another server."
    )
    timeout: Duration = Field(default=timedelta(seconds=10), description="For the whole answer.")
    within: Duration | None = Field(
        default=None, description="How long it is tried again where it is not as expected, for a service that is just starting."
    )


class TcpProof(Part):
    """A port that takes a call."""

    kind: Literal["tcp"] = Field(description="What sort of proof this is.")
    address: Argument = Field(description="Address or name of the machine.")
    port: Port = Field(description="The port.")
    banner: Line | None = Field(default=None, description="Text in the first KiB that it says by itself, such as `SSH-2.0-`.")
    timeout: Duration = Field(default=timedelta(seconds=10), description="For the call and what it says.")
    within: Duration | None = Field(
        default=None, description="How long it is tried again where it is not as expected, for a service that is just starting."
    )


class CommandProof(Part):
    """A command of your own, run on this machine without a shell."""

    kind: Literal["command"] = Field(description="What sort of proof this is.")
    argv: Command = Field(description="The command, as a list of words.")
    expect: ExitCode = Field(default=0, description="The exit code that it ends with.")
    contains: Line | None = Field(default=None, description="Text in the first MiB of what it prints.")
    limit: Duration = Field(default=timedelta(minutes=1), description="One that takes longer is ended.")
    within: Duration | None = Field(
        default=None, description="How long it is tried again where it is not as expected, for a service that is just starting."
    )


Proof = RowsProof | FilesProof | HttpProof | TcpProof | CommandProof

KINDS: Mapping[str, type[Part]] = {
    "rows": RowsProof, "files": FilesProof, "http": HttpProof, "tcp": TcpProof, "command": CommandProof,
}

Proofs = Annotated[tuple[Annotated[Proof, Kinds(KINDS)], ...], Strict(False)]


def proof_mistakes(data: Any, service: str, entry: Mapping[str, Any]) -> Iterator[Mistake]:
    """What the proofs of one service lack or should not hold; ``data`` may have any shape."""
    listed = entry.get("proofs")
    for number, proof in enumerate(listed if isinstance(listed, list) else []):
        if not isinstance(proof, dict):
            continue
        place = ("services", service, "proofs", number)
        kind = proof.get("kind")
        if kind in ("rows", "files") and not entry.get("restores"):
            yield (*place, "kind"), f"{kind} is about what the service restores: it has no restores:"
        for name in mapping(proof, "headers"):
            if isinstance(name, str) and _SECRET.search(name):
                yield (*place, "headers", name), "a secret is never a value in this file; prove it with a command that reads it itself"
        argv = proof.get("argv")
        for position, word in enumerate(argv if isinstance(argv, list) else []):
            if isinstance(word, str) and SECRET_WORD.match(word):
                yield (*place, "argv", position), "a command line can be seen by others: let the command read its secret itself"
        url = proof.get("url")
        if isinstance(url, str) and re.match(r"https?://[^/]*@", url):
            yield (*place, "url"), "must not hold a user or password"
        if isinstance(url, str) and url.startswith("http:") and proof.get("cacert") is not None:
            yield (*place, "cacert"), "is for https: only"
