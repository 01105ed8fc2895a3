"""Does every repository answer, is it the one that was pinned, and does its store refuse what it is said to refuse."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from opsctl.cli import doctor_space
from opsctl.cli.doctor import OK, UNCHECKED, WARNING, WRONG, Check
from opsctl.errors import DamagedData, OpsError

if TYPE_CHECKING:
    from opsctl.repositories.history import History
    from opsctl.repositories.interface import Identity
    from opsctl.wiring import Site


def check(site: Site, name: str, newest: int, *, offline: bool) -> list[Check]:
    """The rows of one repository. Nothing is written: no cache, no lock, no ledger."""
    spec, row = site.config.repositories[name], f"repository {name}"
    if offline and not spec.local:
        return [Check(row, UNCHECKED, "--offline: nothing beyond this machine is asked")]
    history = site.history(name)
    history.repository.use_no_cache()
    if history.is_away():
        return [Check(row, UNCHECKED, f"its disk is away: nothing is at {spec.url}")]
    try:
        known = history.ledger.load()
    except DamagedData as error:
        if not isinstance(error.__cause__, PermissionError):
            raise
        return [Check(row, UNCHECKED, f"{history.ledger.path} may not be read",
                      "run doctor as root, or as the account that the backups run as")]
    try:
        # With what was pinned, so that a repository that is gone or another one is called so.
        history.pinned()
        found = history.repository.identity()
    except DamagedData as error:
        if known is None and error.details.get("kind") == "config-missing":
            return [Check(row, WARNING, f"there is no repository at {spec.url} yet",
                          f"`opsctl backup init {name}` makes it")]
        raise
    if known is not None and known["id"] != found.id:
        return [Check(row, WRONG, f"it is another one: {found.id[:12]} instead of {known['id'][:12]}",
                      "write nothing to it; find out who put it there")]
    promise, broken = _promise(history, name, spec) if spec.append_only or spec.object_lock else ("", [])
    room = doctor_space.repository(name, spec, newest)
    stands = _known(name, found, known is not None, promise)
    # What is right is not said beside what is not.
    rows = broken if broken and stands.state == OK else [*broken, stands]
    return [*rows, *_other_chunks(site, name, found), *([room] if room else [])]


def _known(name: str, found: Identity, known: bool, promise: str) -> Check:
    opens = f"its password opens it, id {found.id[:12]}"
    if not known:
        return Check(f"repository {name}", WARNING, f"{opens}, and this machine does not know it yet{promise}",
                     f"`opsctl backup init {name}` pins the one that is there; it makes one only where there is none")
    return Check(f"repository {name}", OK, f"{opens} as pinned{promise}")


def _promise(history: History, name: str, spec: Any) -> tuple[str, list[Check]]:
    """What was tried against a store that is said to refuse: words on what held, and what it did not refuse."""
    store = getattr(history.repository, "store", None)
    if store is None:
        return "; whether it refuses deletion cannot be tried here", []
    tried = store.prove_refusal()
    open_doors = [one for one in tried if one.refused is False]
    if open_doors:
        more = f" (and {len(open_doors) - 1} more)" if len(open_doors) > 1 else ""
        said = "append_only" if spec.append_only else "locked by object_lock"
        return "", [Check(f"repository {name}", WRONG, f"it is called {said}, and {open_doors[0].message}{more}",
                          f"{_close(spec)}; until then whoever has this machine can delete what is in there")]
    weak = _weak(store, spec)
    if weak:
        return "", [Check(f"repository {name}", WARNING, "; ".join(weak),
                          "a copy is locked as configured after it was made; set the bucket's default retention to that too")]
    held = list(dict.fromkeys(_WORDS[one.what] for one in tried if one.refused))
    untried = [one.message for one in tried if one.refused is None]
    return f"; refuses {_listed(held)}, as tried{''.join(f'; {one}' for one in untried)}", []


def _weak(store: Any, spec: Any) -> list[str]:
    """How the bucket's own settings are less than what the configuration says."""
    if spec.object_lock is None:
        return []
    from opsctl.repositories import objectlock

    return objectlock.weaknesses(objectlock.facts(store.place), spec.object_lock.mode, spec.object_lock.term)


def _close(spec: Any) -> str:
    if spec.object_lock:
        return "make a bucket with versions, Object Lock and a default retention, and a key that may not delete versions"
    if spec.url.startswith("rest:"):
        return "start rest-server with --append-only"
    return "use a store that refuses (rest-server --append-only, or S3 with Object Lock), or drop append_only"


def _listed(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


_WORDS = {"delete": "deletion", "overwrite": "overwriting", "shorten": "a shorter lock"}


def _other_chunks(site: Site, name: str, found: Identity) -> Iterator[Check]:
    """Copies between repositories that cut data up differently save nothing, and are refused."""
    for backup in site.config.copied_to(name):
        home = site.config.backups[backup].repository
        try:
            known = site.history(home).ledger.load()
        except OpsError:
            continue
        if known is not None and known["chunker"] != found.chunker:
            yield Check(f"repository {name}", WRONG, f"it cuts data up otherwise than {home}, whose sets are copied to it",
                        f"make it anew, empty, by `opsctl backup init {name}`: it takes over the parameters of {home}")
            return
