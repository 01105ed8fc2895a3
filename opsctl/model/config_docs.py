"""The page on every configuration key (``configs/README.md``), made from the models.

``python -m opsctl.model.config_docs > configs/README.md`` renews it; a test holds it true.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from opsctl.model import (
    config,
    config_bodies,
    config_clean_room,
    config_evidence,
    config_examples,
    config_isolation,
    config_isolation_page,
    config_libraries,
    config_proofs,
    config_reopening,
    config_s3_page,
    config_scan,
    config_services,
    hosts,
)
from opsctl.model.config_approvals import Approvals, Playbooks
from opsctl.model.config_command import CommandAtLeast, Spool
from opsctl.model.config_keep import Keep, Maintenance
from opsctl.model.config_s3 import ObjectLock
from opsctl.model.config_source import SourcePart
from opsctl.model.fields import Part, Shown
from opsctl.model.part import FieldInfo, fields
from opsctl.model.quantities import format_duration, format_size

_HEAD = """\
# Configuration: every key

<!-- Made from the models: python -m opsctl.model.config_docs > configs/README.md -->

`opsctl init` writes a first configuration by asking a few questions. `opsctl.example.yaml` beside this page
is the smallest useful one, `department.example.yaml` that of a whole department: copy one, drop `.example`
from its name, and change what is yours.

## Where it is looked for

One directory holds the configuration. The first that there is counts:

1. `--config DIR`
2. `$OPSCTL_CONFIG`
3. `/etc/opsctl`
4. `./configs`, for ordinary users only and only where it belongs to them (or to root)

All files `*.yaml` in it are read as one. `*.example.yaml`, hidden files and folders below it are never
read. A section such as `repositories:` may stand in several files; each name in it, and each key of any
other section, stands in one: a second one is a mistake that names both places. Relative paths start at the
directory.

Read as root, a directory or file that anyone but root can write to is refused (exit code 10), since the
configuration names commands that opsctl runs. The message holds the `chmod` or `chown` line.

## How it is read

YAML, strictly. `true` and `false` are the only spellings of yes and no; `on`, `yes`, `022`, dates and
`+91…` are text. Where text is wanted, a number needs quotes. Unknown and repeated keys, anchors, aliases,
merge keys, tags, tabs, signs that nobody sees, and files that are not UTF-8 are refused. Every mistake of
all files is reported at once as `file:line: path: message`, exit code 10, and nothing is touched.

| written | means |
|---|---|
| name | small letters, digits and hyphens, at most 63: `portal-db` |
| duration | `3d`, `12h`, `45m`, `90s`, or a row of them: `1d12h` |
| size | `10GiB`, `500MiB`, `1.5TiB`, or a number of bytes |
| path | absolute, or starting at the configuration directory; `~` is not expanded |

## Secrets

A secret is never a value in a file. Say where to find it, in exactly one of three ways; `password`,
`secret`, `access_key` and `secret_key` below stand for the beginning of the key:

| key | value |
|---|---|
| `…_file` | path of a file that only its owner can read (`chmod 600`); a newline at its end is dropped |
| `…_command` | a command that prints it, as a list of words, run without a shell: `[pass, show, main]` |
| `…_env` | name of an environment variable |

It reaches other programs by their environment or standard input; it is in no command line, log, journal or
message.

## Keys
"""


def page() -> str:
    """The whole page, as Markdown."""
    return _HEAD + "\n" + "\n".join(_sections())


def _sections() -> Iterator[str]:
    yield _table(config.Config)
    yield _section("`organisation`", config.Organisation)
    yield _section("`engine`", config.Engine)
    yield _section("`people.NAME`", config.Person)
    yield _section("`approvals`", Approvals)
    yield _section("`playbooks`", Playbooks)
    yield _section("`zones.NAME`", hosts.Zone)
    yield _section("`hosts.NAME`", hosts.Host)
    yield _section("`isolation`", config_isolation.Isolation)
    yield _section("`isolation.tools.NAME`", config_isolation.Tool) + "\n" + config_isolation_page.PAGE
    yield _section("`repositories.NAME`", config.Repository)
    yield _section("`repositories.NAME.maintenance`", Maintenance)
    yield _section("`repositories.NAME.object_lock`", ObjectLock) + "\n" + config_s3_page.S3
    for source in (config.PathsSource, config.PostgresqlSource, config.MariadbSource, config.SqliteSource, config.CommandSource):
        kind = get_args(fields(source)["kind"].annotation)[0]
        yield _section(f"`sources.NAME` with `kind: {kind}`", source)
        if source is config.PathsSource:
            yield _section("`sources.NAME.at_least`", config.AtLeast)
        if source is config.CommandSource:
            yield _section("`sources.NAME.spool`", Spool)
            yield _section("`sources.NAME.at_least` with `kind: command`", CommandAtLeast)
    yield _section("`sources.NAME` of every kind: host and hooks", SourcePart) + "\n" + config_examples.HOOKS
    yield _section("`backups.NAME`", config.Backup)
    yield _section("`backups.NAME.keep`", Keep)
    yield _section("`backups.NAME.verify`", config.Verify)
    yield _section("`services.NAME`", config_services.Service)
    for kind, proof in config_proofs.KINDS.items():
        yield _section(f"`services.NAME.proofs` with `kind: {kind}`", proof)
    yield _section("`reopening`", config_reopening.Reopening)
    yield _section("`reopening.WAVE`", config_reopening.Wave)
    yield _section("`libraries.NAME`", config_libraries.Library)
    yield _section("`clean_room`", config_clean_room.CleanRoom)
    yield _section("`bodies.NAME`", config_bodies.Body)
    yield _section("`paper`", config_bodies.Paper)
    yield _section("`paper.services.NAME`", config_bodies.PublicService)
    yield _section("`paper.last_receipt`", config_bodies.LastReceipt)
    yield _section("`scan`", config_scan.Scan)
    yield _section("`evidence`", config_evidence.Evidence)
    yield _section("`evidence.profiles.NAME`", config_evidence.Profile)
    yield _section("`evidence.profiles.NAME.commands.NAME`", config_evidence.EvidenceCommand)
    yield config_examples.COMMANDS


def _section(title: str, model: type[Part]) -> str:
    return f"### {title}\n\n{model.__doc__ or ''}\n\n{_table(model)}"


def _table(model: type[Part]) -> str:
    rows = [
        f"| `{field.alias or name}` | {type_name(field.annotation, field.metadata)} | {_default(field)} | "
        f"{field.description} |"
        for name, field in fields(model).items()
        if model is SourcePart or not issubclass(model, SourcePart) or name not in fields(SourcePart)
    ]
    return "\n".join(["| key | type | default | meaning |", "|---|---|---|---|", *rows, ""])


def type_name(annotation: Any, notes: Any = ()) -> str:
    """What a person calls the type of a field."""
    for note in reversed(notes):
        if isinstance(note, Shown):
            return note.name
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_name(arguments[0], arguments[1:])
    if origin is Literal:
        return " or ".join(f"`{one}`" for one in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(type_name(one) for one in arguments if one is not type(None)))
    if origin is tuple:
        return f"list of {type_name(arguments[0])}{'s' if _plural(arguments[0]) else ''}"
    if origin is dict:
        return "mapping by name"
    if annotation is None or annotation is type(None):
        return "`null`"
    plain: Mapping[Any, str] = {bool: "`true` or `false`", str: "text", int: "number"}
    return plain.get(annotation, "mapping")


def _plural(annotation: Any) -> bool:
    return get_origin(annotation) is not Literal and type_name(annotation) in ("name", "path", "text", "mapping")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.default
    if isinstance(value, timedelta):
        return f"`{format_duration(value)}`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`[{', '.join(map(str, value))}]`"
    if isinstance(value, int) and Shown("size") in field.metadata:
        return f"`{format_size(value)}`"
    if isinstance(value, str | int):
        return f"`{value}`"
    return ""


if __name__ == "__main__":
    sys.stdout.write(page())
