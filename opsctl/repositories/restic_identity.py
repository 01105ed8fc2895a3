"""Which repository stands at a place: made there on purpose, and known again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from opsctl.errors import OpsError, ProgramFailed, Refused, SafetyRefusal
from opsctl.repositories import restic_copy, restic_failures, restic_output
from opsctl.repositories.interface import Identity, Repository
from opsctl.repositories.restic_failures import Caller, Place
from opsctl.repositories.store import Store

if TYPE_CHECKING:
    from opsctl.repositories.restic import Restic


def create(repository: Restic, chunker_from: Repository | None, begun: bool) -> Identity:
    """As ``Repository.create`` promises."""
    place, program, store = repository.place, repository.program, repository.store
    refusal = SafetyRefusal(
        f"something is already at {place.url} ({place.name}); a repository is only made in an empty place",
        hint="is it a repository of yours? then it needs no backup init; otherwise choose another place",
    )
    if begun and store is not None and store.is_only_begun():
        _clear_begun(place, store)
    elif store is not None and not store.is_empty():
        raise refusal
    words = ["init", "--json", "--repository-version", "2"]
    if chunker_from is None:
        result = program.run(words)
    elif isinstance(chunker_from, type(repository)):
        with restic_copy.reading(chunker_from, repository) as env:
            result = program.run([*restic_copy.way(chunker_from, repository), *words, "--copy-chunker-params"], env=env)
    else:
        raise TypeError("the chunker parameters come from another restic repository")
    if result.code:
        if "already" in result.errors:
            raise refusal
        raise repository.failure("make a repository", result)
    return identity(repository)


def _clear_begun(place: Place, store: Store) -> None:
    try:
        store.remove_keys()
    except Refused as error:
        keys = ", ".join(f"keys/{name}" for name in store.list("keys"))
        raise SafetyRefusal(
            f"making {place} was begun and not finished, and the store does not let its key be removed",
            hint=f"on the store's own machine remove {keys} (it opens nothing), then try again",
        ) from error


def identity(caller: Caller) -> Identity:
    """As ``Repository.identity`` promises."""
    store = caller.place.store
    stored = store.config() if store is not None else None
    if store is not None and stored is None:
        raise restic_failures.gone(caller.place)
    found = _document(caller, "read the config", ["cat", "config", "--no-lock"])
    keys = list(store.list("keys")) if store is not None else []
    key = keys[0] if len(keys) == 1 else None
    if len(keys) > 1:
        result = caller.call("list the keys", ["key", "list", "--json", "--no-lock"], sure=False)
        key = next((each["id"] for each in restic_output.array(result.stdout) if each.get("current")), None)
    return Identity(found["id"], found["chunker_polynomial"], _digest(stored), key)


def sure(caller: Caller, confirmed: bool) -> tuple[Identity | None, bool]:
    """The pinned identity as it is now, and whether restic has ``confirmed`` it by now: asked only when in doubt.

    Raises DamagedData where this is not the pinned repository.
    """
    place = caller.place
    store, pinned = place.store, place.pinned
    stored = store.config() if store is not None else None
    if store is not None and stored is None:
        raise restic_failures.gone(place)
    if pinned is None or (stored is None and confirmed):
        return pinned, confirmed
    digest = _digest(stored)
    if digest is not None and digest == pinned.config_sha256:
        return pinned, confirmed
    try:
        found = identity(caller)
    except OpsError as error:
        locked_out = error.code == Refused.code or error.details.get("kind") == "key-missing"
        if locked_out and pinned.config_sha256 is not None:
            raise restic_failures.replaced(place, None) from error
        raise
    if found.id != pinned.id:
        raise restic_failures.replaced(place, found.id)
    if pinned.config_sha256 is not None and digest is not None:
        caller.notes.append(f"the config of {place} was stored anew (same repository)")
    return replace(pinned, config_sha256=digest), True


def _digest(stored: bytes | None) -> str | None:
    return hashlib.sha256(stored).hexdigest() if stored is not None else None


def _document(caller: Caller, doing: str, words: Sequence[str]) -> dict[str, str]:
    result = caller.call(doing, words, sure=False)
    try:
        return restic_output.document(result.stdout)
    except (ValueError, json.JSONDecodeError) as error:
        raise ProgramFailed(f"restic could not {doing} ({caller.place}): it printed something else") from error
