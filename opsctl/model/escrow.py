"""A password in parts: SLIP-39 shares of it, of which some number together give it back. Pure, but for the randomness of a split."""

from __future__ import annotations

from collections.abc import Sequence

from opsctl.errors import Refused, UsageError
from opsctl.model.quantities import counted
from opsctl.model.values import value

BYTES = 16
#: A set of shares is told from others by this many bits.
IDENTIFIERS = 1 << 15
_WORDS = 20
_MOST = 16


@value
class Share:
    """One share. ``number`` counts from 1; ``need`` of a ``set`` give the password."""

    set: int
    number: int
    need: int
    words: str
    where: str

    @property
    def name(self) -> str:
        return f"share {self.number} of set {self.set} ({self.where})"


def password_of(secret: bytes) -> str:
    """The password that a secret stands for: what restic is given, and what can be typed."""
    return secret.hex()


def split(secret: bytes, identifier: int, need: int, number: int) -> list[str]:
    """The words of ``number`` shares, any ``need`` of which give the secret. UsageError for numbers that make no sense."""
    from shamir_mnemonic import EncryptedMasterSecret, split_ems

    if not 2 <= need <= number <= _MOST:
        raise UsageError(f"{need} of {number} shares: that cannot be split", hint=f"at least 2 have to be needed, and at most {_MOST} made")
    kept = EncryptedMasterSecret.from_master_secret(secret, b"", identifier, True, 1)
    return [share.mnemonic() for share in split_ems(1, [(need, number)], kept)[0]]


def read_share(text: str, where: str) -> Share:
    """A share out of its words, whatever else stands between them. Refused where it is none, with what is wrong with it."""
    from shamir_mnemonic import MnemonicError
    from shamir_mnemonic import Share as Words
    from shamir_mnemonic.wordlist import WORDLIST

    known = set(WORDLIST)
    words = [word.strip(".,;") for word in text.lower().split() if not word.strip(".,;").isdigit()]
    for place, word in enumerate(words, 1):
        if word not in known:
            from difflib import get_close_matches

            near = get_close_matches(word, WORDLIST, n=1)
            raise Refused(f"{where}: word {place}, {word[:20]!r}, is in no share{f'; {near[0]}?' if near else ''}", where=where)
    if len(words) != _WORDS:
        raise Refused(f"{where}: a share has {_WORDS} words, and here are {len(words)}", where=where)
    try:
        found = Words.from_mnemonic(" ".join(words))
    except MnemonicError as error:
        raise Refused(f"{where}: a word is wrong, or two are swapped: the check at the end of the share does not agree", where=where,
                      hint="compare it with the paper, word by word") from error
    return Share(found.identifier, found.index + 1, found.member_threshold, " ".join(words), where)


def refuse_others(shares: Sequence[Share]) -> None:
    """Refused where shares are not of one set, or one is there twice."""
    for position, share in enumerate(shares):
        first = shares[0]
        if share.set != first.set or share.need != first.need:
            raise Refused(f"{share.where}: of set {share.set}; {first.where} is of set {first.set}, and only shares of one set fit",
                          where=share.where, hint="the number of the set stands on each share")
        if twice := [other for other in shares[:position] if other.number == share.number]:
            raise Refused(f"{share.where}: the same share as {twice[0].where}", where=share.where)


def join(shares: Sequence[Share]) -> bytes:
    """The secret. Refused where there are too few, a share is of another set or there twice, or they do not fit together."""
    from shamir_mnemonic import MnemonicError, combine_mnemonics

    if not shares:
        raise Refused("there is no share", hint="name their files, or type them at a terminal")
    refuse_others(shares)
    need = shares[0].need
    if len(shares) < need:
        raise Refused(f"{counted(len(shares), 'share')} of set {shares[0].set}, and {need} are needed",
                      hint=f"have: {', '.join(str(share.number) for share in shares)}")
    try:
        return combine_mnemonics([share.words for share in shares[:need]])
    except MnemonicError as error:
        raise Refused("these shares do not fit together: one of them was changed", hint="try others of the same set") from error
