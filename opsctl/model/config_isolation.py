"""How hosts are cut off, from where that is proven, and what stays open."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Any

from opsctl.model.fields import Command, Duration, Mistake, Name, Names, Part, Shown, entries, mapping, meant, shown
from opsctl.model.hosts import unknown_host
from opsctl.model.part import AfterValidator, Field, Strict

SECRET_WORD = re.compile(r"-{0,2}[a-z-]*(passw(or)?d|secret|token|community)[a-z-]*[=:].", re.IGNORECASE)


def _ip(value: str) -> str:
    import ipaddress  # only where there is one

    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        raise ValueError("must be an address such as 10.0.0.5 or fd00::5; names are not looked up in an emergency") from None


def _endpoint(value: str) -> str:
    import ipaddress

    place, _, port = value.rpartition(":")
    bare = place.removeprefix("[").removesuffix("]")
    try:
        bracketed = ipaddress.ip_address(bare).version == 6
    except ValueError:
        bracketed = not place.startswith("[")
    if bracketed != place.startswith("[") or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise ValueError("must be an address with a port, such as 10.0.0.5:443 or [fd00::5]:443")
    return value


Ip = Annotated[str, AfterValidator(_ip), Shown("address")]
Endpoint = Annotated[str, AfterValidator(_endpoint), Shown("address with port")]
Port = Annotated[int, Field(ge=1, le=65535), Shown("number")]
Ips = Annotated[tuple[Ip, ...], Strict(False)]


class Tool(Part):
    """The site's own switch or firewall tool, run without a shell, as the account that logs in. `{host}` and `{address}` in its
    words stand for what is cut off. No password is among them: the tool reads its own."""

    observe: Command = Field(description="Exits 0 where the host is cut off, 1 where it is not; anything else is a failure.")
    load: Command = Field(description="Cuts it off; `{run}` is the run that does so.")
    release: Command = Field(description="Takes that back.")
    host: Name | None = Field(default=None, description="The host that the commands run on; this machine without it.")
    limit: Duration = Field(default=timedelta(minutes=1), description="One that takes longer is ended, and has failed.")


class Isolation(Part):
    """What is common to all hosts when they are cut off."""

    managers: Ips = Field(
        default=(), description="Addresses that may still log in, beside the one that opsctl is connected from."
    )
    witness: Name | None = Field(
        default=None, description="A host, not one that is cut off, from which is tried whether the others can still be reached."
    )
    ports: Annotated[tuple[Port, ...], Strict(False)] = Field(
        default=(22, 80, 443), description="Ports that are tried on every host that is cut off, beside those that it serves."
    )
    outside: Annotated[tuple[Endpoint, ...], Strict(False)] = Field(
        default=(), description="What a host that is cut off is tried to be unable to reach: `10.0.0.5:443`, `[fd00::5]:443`."
    )
    store: Name | None = Field(
        default=None, description="The host of the backup store: hosts that are cut off are shut out there first."
    )
    tools: dict[Name, Tool] = Field(default_factory=dict, description="Tools of the site, by name, for `isolation: command`.")
    stays: Names = Field(default=(), description="Hosts that are never cut off unless they are named themselves.")


def isolation_mistakes(data: Any) -> Iterator[Mistake]:
    """References to hosts, gateways and tools that are not there; ``data`` may have any shape."""
    own = mapping(data, "isolation")
    for key in ("witness", "store"):
        if unknown := unknown_host(data, own.get(key)):
            yield ("isolation", key), unknown
    stays = own.get("stays")
    for number, name in enumerate(stays if isinstance(stays, list) else []):
        if unknown := unknown_host(data, name):
            yield ("isolation", "stays", number), unknown
    tools = mapping(own, "tools")
    for name, tool in tools.items():
        if isinstance(tool, dict):
            if unknown := unknown_host(data, tool.get("host")):
                yield ("isolation", "tools", name, "host"), unknown
            elif isinstance(where := tool.get("host"), str) and mapping(mapping(data, "hosts"), where).get("tool") == name:
                yield ("isolation", "tools", name, "host"), "is cut off by this tool itself, which could then not be taken back"
            yield from _tool_mistakes(data, name, tool)
    for name, entry in entries(data, "hosts"):
        place = ("hosts", name)
        gateway, how, tool = entry.get("gateway"), entry.get("isolation"), entry.get("tool")
        if unknown := unknown_host(data, gateway):
            yield (*place, "gateway"), unknown
        elif gateway is not None and gateway == name:
            yield (*place, "gateway"), "is the host itself"
        elif isinstance(gateway, str) and mapping(mapping(data, "hosts"), gateway).get("os", "linux") != "linux":
            yield (*place, "gateway"), f"{gateway} is not logged into"
        if how == "gateway" and gateway is None:
            yield (*place, "isolation"), "needs gateway: (the host that forwards for it)"
        if how == "command" and tool is None:
            yield (*place, "isolation"), "needs tool: (a name below isolation: tools:)"
        if isinstance(tool, str) and tool not in tools:
            yield (*place, "tool"), f"there is no tool {shown(tool)} below isolation: tools:"
        if how == "aws_security_group" and (entry.get("instance") is None or entry.get("region") is None):
            yield (*place, "isolation"), "needs instance: and region:"


def _tool_mistakes(data: Any, name: str, tool: dict[str, Any]) -> Iterator[Mistake]:
    users = [host for host, entry in entries(data, "hosts") if entry.get("tool") == name]
    for verb in ("observe", "load", "release"):
        words = tool.get(verb)
        words = [word for word in words if isinstance(word, str)] if isinstance(words, list | tuple) else []
        known = ("host", "address", *(("run",) if verb == "load" else ()))
        found = [(number, each) for number, word in enumerate(words) for each in re.findall(r"\{([a-z]+)\}", word)]
        for number, each in found:
            if each == "run" and verb != "load":
                yield ("isolation", "tools", name, verb, number), "{run} is for load only"
            elif each not in known:
                yield ("isolation", "tools", name, verb, number), f"{{{shown(each)}}} is not filled in here{meant(each, known)}"
        if words and len(users) > 1 and not any(each in ("host", "address") for _, each in found):
            yield ("isolation", "tools", name, verb), f"needs {{host}} or {{address}}: {users[0]} and {users[1]} would be one to it"
        for number, word in enumerate(words):
            if SECRET_WORD.match(word):
                yield ("isolation", "tools", name, verb, number), "a command line can be seen by others: let the tool read its secret itself"
