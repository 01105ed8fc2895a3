"""escrow: a further key for repositories, whose password is kept in parts on paper."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from opsctl.actions.interface import Change, Params, StateAction, World
from opsctl.actions.restoring import plain, refuse_own_places
from opsctl.errors import DamagedData, OpsError, Refused, SafetyRefusal
from opsctl.kit.pages import share_page
from opsctl.model.escrow import BYTES, IDENTIFIERS, join, password_of, read_share, split
from opsctl.model.part import AfterValidator, Field
from opsctl.model.secrets import SecretText

USER = "escrow-{set}"
"""The name that a key of a set of shares has in a repository."""


class EscrowParams(Params):
    """``set`` is the number of the set of shares; any ``need`` of ``shares`` open each of ``repositories``."""

    repositories: tuple[str, ...]
    set: Annotated[int, Field(ge=0, le=IDENTIFIERS - 1)]
    shares: Annotated[int, Field(ge=2, le=16)]
    need: Annotated[int, Field(ge=2, le=16)]
    into: Annotated[str, AfterValidator(plain)]


@dataclass(frozen=True)
class Seen:
    """``written``: the files of the shares are there and fit; ``keyed``: the repositories that have the key."""

    written: bool
    keyed: frozenset[str]


class Escrow(StateAction[EscrowParams, Seen]):
    """Adds a key to repositories and splits its password into shares on paper (SLIP-39), of which some open them.

    with:
      repositories  names in the configuration; all get the same key
      set           the number of this set of shares, below 32768
      shares, need  how many are made, and how many of them give the password
      into          the folder that the shares are written into, to be printed and then removed; best one in memory

    The password is nowhere but in the shares: in no journal, no argv and no file of the state directory. They are written first, and a key
    counts only when the password out of them has opened its repository. The everyday key stays.
    """

    word = "escrow"
    Params = EscrowParams

    def locks(self, params: EscrowParams) -> Sequence[str]:
        return (f"into-{params.into}",)

    def observe(self, params: EscrowParams, world: World) -> Seen:
        target = Path(params.into)
        refuse_own_places(world, target)
        user = USER.format(set=params.set)
        keyed = set()
        for name in params.repositories:
            history = world.repository(name)
            history.require_here()
            history.require_known()
            if any(key.user == user for key in history.repository.keys()):
                keyed.add(name)
        written = _shares(params)
        if written is None and target.is_dir() and any(target.iterdir()):
            raise SafetyRefusal(f"{target} is not empty", hint="a new folder; the shares must not lie beside others")
        if written is None and keyed:
            raise SafetyRefusal(f"{', '.join(sorted(keyed))} has a key of set {params.set} already, and its shares are not in {target}",
                                hint="make another set")
        return Seen(written is not None, frozenset(keyed))

    def plan(self, params: EscrowParams, seen: Seen) -> list[Change]:
        changes = [] if seen.written else [Change("shares", f"write {params.shares} shares into {params.into}, {params.need} of which are needed")]
        before = tuple(change.key for change in changes)
        return [*changes, *(Change(f"key:{name}", f"add the key to {name}, and open it with the password out of the shares", before)
                            for name in params.repositories if name not in seen.keyed)]

    def apply(self, params: EscrowParams, change: Change, world: World) -> None:
        if change.key == "shares":
            _write(params, world.config.organisation.name, world.now)
            return
        name = change.key.partition(":")[2]
        secret = _shares(params)
        if secret is None:
            raise DamagedData(f"the shares in {params.into} do not fit together any more", hint="remove them, and make another set")
        password = SecretText(password_of(secret))
        repository = world.repository(name).repository
        repository.add_key(password, user=USER.format(set=params.set), host=world.host)
        if not repository.opens_with(password):
            raise Refused(f"the new key of {name} does not open it", where=name, hint="opsctl keys list")

    def result(self, params: EscrowParams, seen: Seen) -> Mapping[str, Any]:
        return {"set": params.set, "shares": params.shares, "need": params.need, "into": params.into if seen.written else None,
                "repositories": sorted(seen.keyed)}


def share_file(folder: Path, number: int) -> Path:
    return folder / f"share-{number}.txt"


def _shares(params: EscrowParams) -> bytes | None:
    """The secret out of the files in the folder; None where they are not all there and of this set."""
    try:
        shares = [read_share(words_of(share_file(Path(params.into), number).read_text("utf-8")), f"share-{number}.txt")
                  for number in range(1, params.shares + 1)]
        if any(share.set != params.set or share.need != params.need for share in shares):
            return None
        return join(shares)
    except (OSError, OpsError, UnicodeDecodeError):
        return None


def words_of(text: str) -> str:
    """The share in the file of one: what stands between its two rules."""
    parts = text.split("-----")
    return parts[1] if len(parts) >= 3 else text


def _write(params: EscrowParams, organisation: str, now: datetime) -> None:
    import segno

    folder = Path(params.into)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    for path in folder.glob("share-*"):
        path.unlink()
    for number, words in enumerate(split(secrets.token_bytes(BYTES), params.set, params.need, params.shares), 1):
        head = (f"share {number} of {params.shares}, set {params.set}, {now:%Y-%m-%d}, {organisation}: any {params.need} open "
                f"{', '.join(params.repositories)}")
        hindi = f"हिस्सा {number} / {params.shares}, समूह {params.set}: कोई भी {params.need} हिस्से मिलकर बैकअप खोलते हैं। इसे अकेले, बंद लिफ़ाफ़े में रखें।"
        listed = words.split()
        columns = "\n".join("  ".join(f"{place:>2} {word:<10}" for place, word in enumerate(listed[start:start + 5], start + 1))
                            for start in range(0, len(listed), 5))
        text = f"{head}\n{hindi}\n-----\n{columns}\n-----\nopsctl keys recover --into FILE\n"
        page = share_page(head=head, hindi=hindi, columns=columns, picture=segno.make(words, error="m").svg_inline(scale=4))
        _put(folder / f"share-{number}.html", page)
        _put(share_file(folder, number), text)


def _put(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
