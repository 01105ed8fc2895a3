"""The commands by name, each imported only when it is called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command, get_group

from opsctl.cli import everywhere
from opsctl.cli.coerce import coerce_cheaply
from opsctl.cli.session import Session
from opsctl.errors import OpsError
from opsctl.model.values import value

PROGRAM = "opsctl"
UsageProblem: Any = typer.BadParameter.__mro__[1]
"""typer's own class of usage errors, whose name is private or another package's, depending on its version."""

_SUMMARY = 64
"""Characters that the first sentence of a command may have: a list at 80 columns shows so many."""
_SETTINGS = {"help_option_names": ["--help", "-h"]}
_ABOUT = ("Backups proven to restore, hosts cut off and proven off, evidence and the CERT-In clock kept, and services brought back"
          " in stages.")
_NOW = (
    ("under attack now", "opsctl isolate apply --zone ZONE, then opsctl run ransomware"),
    ("woken by a notice", "opsctl status: what is wrong, and who has to act"),
)
"""What one came for at night, with the first command: before the list of all."""
_CODES = (
    "Exit codes: 0 as wanted; 2 wrong usage; 3 partly failed; 4 waiting for a person; 5 overdue;"
    " 10 configuration; 11 busy; 12 refused; 13 no answer; 20 to 23 failed."
    " `opsctl explain exit-codes` says more."
)


@value
class Entry:
    """A command, or a group of them, of the first level.

    ``where`` is ``module:attribute``, a module without a dot being one of this package; the attribute is a
    function (one command) or a ``typer.Typer`` (a group). ``help`` is the line in the root's help, at most 55
    characters; nothing is imported for it.
    """

    section: str
    name: str
    where: str
    help: str


COMMANDS: tuple[Entry, ...] = (
    Entry("start", "init", "start:init", "write a first configuration by asking a few questions"),
    Entry("start", "doctor", "start:doctor", "look for what is missing here; --fix brings it"),
    Entry("start", "demo", "start:demo", "the whole story in a throw-away portal, in minutes"),
    Entry("start", "explain", "start:explain", "the page of an action, or exit-codes"),
    Entry("start", "hosts", "hosts:app", "list, check, prepare, add, import, rekey: other machines"),
    Entry("every day", "status", "status:status", "how all stands: backups, incidents, what is overdue"),
    Entry("every day", "backup", "backup:app", "init, run, copy, list, show: take backups"),
    Entry("every day", "verify", "verify:verify", "read backups back and say what is damaged"),
    Entry("every day", "media", "media:app", "register, out, in, copy, list: disks carried away"),
    Entry("incident", "isolate", "isolate:app", "plan, apply, status, release: cut hosts off, and back"),
    Entry("incident", "incident", "incident:app", "open, show, note, close, export: clocks and duties"),
    Entry("incident", "evidence", "evidence:app", "collect, list, verify, hand, certificate: of an attack"),
    Entry("incident", "report", "reports:app", "draft, sent, list: what a named person sends"),
    Entry("incident", "paper", "paper:app", "order, receipts, import, reconcile: work on paper"),
    Entry("incident", "readiness", "readiness:readiness", "what has to stand beforehand; record, contacts"),
    Entry("restore", "restore", "restore:app", "points, plan, run, files, set: get data back, proven"),
    Entry("playbooks", "playbooks", "playbooks:app", "list, show, check, sign: the playbooks themselves"),
    Entry("playbooks", "plan", "runs:plan", "what a playbook would change"),
    Entry("playbooks", "run", "runs:run", "run a playbook"),
    Entry("playbooks", "runs", "runs:runs", "the runs there were, and how they stand"),
    Entry("playbooks", "show", "runs:show", "one run, step by step"),
    Entry("playbooks", "resume", "runs:resume", "go on with a run that was interrupted or waits"),
    Entry("playbooks", "approve", "approve:approve", "sign that a step of a run may be done"),
    Entry("playbooks", "done", "runs:done", "sign that a step which a person does is done"),
    Entry("trust", "people", "people:app", "list, accept, change: who may sign for what"),
    Entry("trust", "keys", "keys:app", "list, rotate, escrow, recover: who signs, what opens"),
    Entry("trust", "kit", "kit:app", "build, check: what a new machine needs without network"),
    Entry("trust", "journal", "journal:app", "show, verify, adopt: what happened, and if it is whole"),
)


class Command(TyperCommand):
    """One command: its help ends with the options that work everywhere, and completion knows them."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _without_types(coerce_cheaply(super().get_params(ctx)))

    def get_short_help_str(self, limit: int = _SUMMARY) -> str:
        # Whole also where there is less room: a list wraps it, and a shell's completion shows what fits.
        return super().get_short_help_str(max(limit, _SUMMARY))

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [piece.replace("{", "").replace("}", "") for piece in super().collect_usage_pieces(ctx)]

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        _format_epilog(self.epilog, formatter)

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        return [*super().shell_complete(ctx, incomplete), *_complete_everywhere(ctx, incomplete)]


class Names(TyperGroup):
    """A level of commands that are made when they are called: typer takes more than a millisecond for each."""

    def make(self, name: str) -> Any:
        """The command of one of the names that ``list_commands`` gives."""
        raise KeyError(name)

    def get_params(self, ctx: Any) -> list[Any]:
        return coerce_cheaply(super().get_params(ctx))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in self.commands and cmd_name in self.list_commands(ctx):
            self.commands[cmd_name] = self.make(cmd_name)
        return self.commands.get(cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        known = self.list_commands(ctx)
        if not ctx.resilient_parsing and args[0] not in known:
            from difflib import get_close_matches  # only after a mistake: it costs every start 2 ms

            near = " or ".join(f"'{name}'" for name in get_close_matches(args[0], known))
            ctx.fail(f"There is no command '{args[0]}'{f'; did you mean {near}?' if near else '.'}")
        return super().resolve_command(ctx, args)


class Group(Names):
    """A group of commands, helped like one. ``members`` holds what typer was told of each, by name."""

    members: Mapping[str, Any] = {}

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.members)

    def make(self, name: str) -> Any:
        alone = _bare()
        alone.registered_commands.append(self.members[name])
        return get_command(alone)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        _format_epilog(self.epilog, formatter)

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        return [*super().shell_complete(ctx, incomplete), *_complete_everywhere(ctx, incomplete)]


class Root(Names):
    """The first level: names and one-line helps are in the table, a module is imported when it is called."""

    entries: tuple[Entry, ...] = COMMANDS

    def list_commands(self, ctx: Any) -> list[str]:
        return [entry.name for entry in self.entries]

    def make(self, name: str) -> Any:
        return load(next(entry for entry in self.entries if entry.name == name))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        # main() hoists before it parses, since errors must know of --json; completion comes here directly.
        if ctx.resilient_parsing:
            args = self._hoist_what_there_is(args)
        return super().parse_args(ctx, args)

    def _hoist_what_there_is(self, args: list[str]) -> list[str]:
        try:
            front, rest = everywhere.hoist(args, values_after(self))
        except OpsError:  # an unfinished line
            return args
        return [*front, *rest]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        formatter.write("\n")
        for why, first in _NOW:
            formatter.write(f"  {why:<17} {first}\n")
        formatter.write("\n")
        section = ""
        for entry in self.entries:
            left = "" if entry.section == section else entry.section
            section = entry.section
            formatter.write(f"  {left:<11}{entry.name:<11}{entry.help}\n")
        records = [param.get_help_record(ctx) for param in self.get_params(ctx)]
        with formatter.section("Options, before or after the command"):
            formatter.write_dl([record for record in records if record])

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        Item = _completion_item()
        near = [entry for entry in self.entries if entry.name.startswith(incomplete)]
        commands = [Item(entry.name, help=entry.help) for entry in near]
        return [*commands, *_complete_options(self, ctx, incomplete)]


def load(entry: Entry) -> Any:
    """Import a command; the object that typer runs, named and helped as in the table."""
    module, _, attribute = entry.where.partition(":")
    found = getattr(import_module(module if "." in module else f"{__package__}.{module}"), attribute)
    if isinstance(found, typer.Typer):
        members = {info.name or info.callback.__name__: info for info in found.registered_commands if info.callback}
        for name, info in members.items():
            info.name, info.cls = name, Command
        bare = _bare()
        bare.info, bare.info.name, bare.info.cls = found.info, entry.name, Group
        bare.info.context_settings = _SETTINGS
        group: Any = get_group(bare)
        group.members = members
        return group
    alone = _bare()
    alone.command(entry.name, cls=Command, context_settings=_SETTINGS)(found)
    return get_command(alone)


def _bare() -> typer.Typer:
    return typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


def walk(root: Any, words: Sequence[str]) -> tuple[list[str], Any, list[str]]:
    """Follow command names from the first word on: the names, the command they lead to, the words left."""
    command, names, left = root, [], list(words)
    while left and isinstance(command, TyperGroup):
        inner = command.get_command(None, left[0])  # type: ignore[arg-type]
        if inner is None:
            break
        command = inner
        names.append(left.pop(0))
    return names, command, left


def values_after(root: Any) -> everywhere.ValuesAfter:
    """How many values an option of a command takes; 0 for a flag and for what is not known."""

    def count(words: Sequence[str], option: str) -> int:
        _, command, _ = walk(root, words)
        for param in command.params:
            if option in param.opts:
                flag = getattr(param, "is_flag", False) or getattr(param, "count", False)
                return 0 if flag else param.nargs
        return 0

    return count


def make_root() -> Any:
    """The object that typer runs for ``opsctl``."""
    app = typer.Typer(
        name=PROGRAM, cls=Root, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False,
        context_settings=_SETTINGS, help=_ABOUT, epilog=_CODES, invoke_without_command=True,
    )
    app.callback()(_take_options)
    return get_command(app)


def _take_options(
    context: typer.Context,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="DIR", help="where the configuration is")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="one JSON document on standard output")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="answer questions with yes; people still approve")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would be done, do nothing")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="say only what is wrong")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="say more; the trace of a bug")] = False,
    break_glass: Annotated[
        bool, typer.Option("--break-glass", help="work without the state directory where it fails")
    ] = False,
    version: Annotated[bool, typer.Option("--version", help="say the version")] = False,
    show_completion: Annotated[
        str | None,
        typer.Option("--show-completion", metavar="SHELL", help="completion for bash, zsh or fish"),
    ] = None,
    install_completion: Annotated[
        str | None, typer.Option("--install-completion", metavar="SHELL", help="install it for this user")
    ] = None,
) -> Any:
    known = context.obj if isinstance(context.obj, Session) else Session()
    context.obj = replace(
        known, config=config, json=json, yes=yes, dry_run=dry_run, quiet=quiet, verbose=verbose,
        break_glass=break_glass,
    )
    if show_completion is None and install_completion is None:
        return None
    from opsctl.cli import completion

    if show_completion is not None:
        return completion.show(show_completion)
    return completion.install(install_completion or "")


def _without_types(params: list[Any]) -> list[Any]:
    """Let arguments be shown by their names alone; some versions of typer put a Python type behind them."""
    for param in params:
        if param.param_type_name == "argument":
            param.display_type_rich = _no_type
    return params


def _no_type(ctx: Any) -> None:
    return None


def _format_epilog(own: str | None, formatter: Any) -> None:
    for text in filter(None, (own, everywhere.SENTENCE)):
        formatter.write_paragraph()
        formatter.write_text(text)


def _complete_everywhere(ctx: Any, incomplete: str) -> list[Any]:
    root = ctx.find_root()
    return [item for item in _complete_options(root.command, root, incomplete) if item.value != "--help"]


def _complete_options(command: Any, ctx: Any, incomplete: str) -> list[Any]:
    # The options only: one class above TyperGroup, whose own method would import every command for its help.
    return TyperCommand.shell_complete(command, ctx, incomplete) if incomplete.startswith("-") else []


def _completion_item() -> Any:
    library = UsageProblem.__module__.rpartition(".")[0]
    return import_module(f"{library}.shell_completion").CompletionItem
