"""Where playbooks are found: the packaged ones, and the site's own beside the configuration."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from opsctl.engine.configuration import read_documents
from opsctl.engine.load import Document, validate
from opsctl.errors import ConfigError
from opsctl.model.playbook import Playbook
from opsctl.model.unknown import unknown


def packaged() -> Path:
    """The folder of the packaged playbooks: inside the package where it was installed, beside it in a checkout."""
    package = Path(__file__).parent.parent
    inside = package / "playbooks_data"
    return inside if inside.is_dir() else package.parent / "playbooks"


def paths(config: Any) -> dict[str, Path]:
    """Every playbook by name. A site's own (``playbooks/`` beside the configuration) stands before a packaged one."""
    found = {path.stem: path for path in sorted(packaged().glob("*.yaml"))}
    if config is not None and config.directory is not None:
        own = config.directory / "playbooks"
        found.update({path.stem: path for path in sorted(own.glob("*.yaml"))})
    return found


def find(name: str, config: Any) -> Playbook:
    """A playbook by its name, or by the path of its file. ConfigError with every mistake in it; UsageError where there is none."""
    return read(path_of(name, config))


def path_of(name: str, config: Any) -> Path:
    """The file of a playbook by its name, or by that file's path. UsageError where there is none."""
    return _path(name, paths(config))


def _path(name: str, known: Mapping[str, Path]) -> Path:
    if name in known:
        return known[name]
    if "/" in name or name.endswith(".yaml"):
        return Path(name)
    raise unknown("playbook", name, known, hint="opsctl playbooks list")


def read(path: Path) -> Playbook:
    """Read one file strictly. ConfigError with every mistake; as root also where others may write to it.

    A packaged one belongs to the program: it is trusted as the program's code is.
    """
    return _read(path)[0]


def _read(path: Path) -> tuple[Playbook, Document]:
    code = Path(__file__) if path.parent == packaged() else None
    [document] = documents = read_documents([path], os.geteuid(), code=code)
    return validate(Playbook, documents, what=f"playbook {path.name}"), document


def check(config: Any, names: tuple[str, ...] = ()) -> Iterator[tuple[str, Path, ConfigError | None]]:
    """Read playbooks, look up every word in them, and hold them against the protocol that they say they are written to.

    Gives name, path, and what is wrong or None.
    """
    known = paths(config)
    check_one = Checker(known)
    for name in names or tuple(known):
        path = _path(name, known)
        yield name, path, check_one(path)


class Checker:
    """Checks one playbook after another; what one says of others is read once."""

    def __init__(self, known: Mapping[str, Path]) -> None:
        self.known = known
        self._words: dict[str, frozenset[str]] = {}

    def __call__(self, path: Path) -> ConfigError | None:
        """What is wrong with it, with file and line; None where nothing is."""
        try:
            playbook, document = _read(path)
        except ConfigError as error:
            return error
        places = {step.id: ("steps", position) for position, step in enumerate(playbook.steps)}
        problems = [f"{path}:{document.line(places[step])}: step {step}: {message}" for step, message in _unknown_words(playbook)]
        if not problems:
            from opsctl.actions.registry import action
            from opsctl.engine import gates

            problems += [f"{path}:{document.line(places[step])}: step {step}: {why}" for step, why in gates.mistakes(playbook, action)]
        if playbook.name != path.stem:
            problems.append(f"{path}:{document.line(('name',))}: name: the file is called {path.stem}, the playbook {playbook.name}")
        if playbook.protocol is not None:
            from opsctl.protocols import cert_in_names, cert_in_rules

            problems += [f"{path}:{document.line(place)}: {message}" for place, message in cert_in_names.mistakes(playbook)]
            if playbook.protocol == cert_in_names.PROTOCOL:
                found = sorted(((document.line(places[one.step] if one.step else ("steps",)), one) for one in cert_in_rules.check(playbook, self.words)),
                               key=lambda each: each[0])
                problems += [f"{path}:{line}: {one}" for line, one in found]
        return ConfigError(f"{path} has mistakes", problems=problems) if problems else None

    def words(self, name: str) -> frozenset[str]:
        """The words that a playbook uses; none of one that there is not, or that cannot be read."""
        if name not in self._words:
            try:
                self._words[name] = frozenset(step.uses for step in read(self.known[name]).steps)
            except (KeyError, ConfigError):
                self._words[name] = frozenset()
        return self._words[name]


def _unknown_words(playbook: Playbook) -> Iterator[tuple[str, str]]:
    """Words that there are not, and parameters that a word does not have, or needs and is not given."""
    from opsctl.actions.registry import action
    from opsctl.model.fields import meant
    from opsctl.model.part import fields

    of_run = {"step", "set", "incident", "duty"}  # what binding fills in
    for step in playbook.steps:
        try:
            known = fields(action(step.uses).Params)
        except ConfigError as error:
            yield step.id, error.message
            continue
        for name in step.with_:
            if name not in known:
                yield step.id, f"{step.uses} has no parameter {name!r}{meant(name, known)}"
        for name, field in known.items():
            if field.is_required() and name not in step.with_ and name not in of_run:
                yield step.id, f"{step.uses} needs a parameter {name!r}"


__all__ = ["Checker", "check", "find", "packaged", "path_of", "paths", "read"]
