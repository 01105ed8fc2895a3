"""Evidence on disk: written once, hashed as it arrives, closed as a BagIt bag, sealed by a signature, in custody."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import queue
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from opsctl.errors import DamagedData, OpsError, SafetyRefusal
from opsctl.model.evidence import (
    HALF,
    HAND_NAMESPACE,
    NAMESPACE,
    Finding,
    bag_info,
    bag_name,
    compared,
    is_digest,
    numbered,
)
from opsctl.model.media import listed, read_list
from opsctl.model.records import canonical
from opsctl.model.values import value
from opsctl.plain_file import LARGEST, read_plain, sha256_of
from opsctl.repositories.private import private_folder
from opsctl.repositories.whole import system_said_no, write_whole

CUSTODY, MANIFEST, TAGS, SEAL = "custody.jsonl", "manifest-sha256.txt", "tagmanifest-sha256.txt", "tagmanifest-sha256.txt.sig"
_BAGIT = b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"
_TAGGED = ("bagit.txt", "bag-info.txt", CUSTODY, MANIFEST)
_HANDED = re.compile(r"handed-[1-9][0-9]{0,8}\.json(?:\.sig)?")
_CHUNK = 1 << 20
_AHEAD = 16  # blocks that may wait to be hashed and written
Sign = Callable[[bytes, str], str]
Check = Callable[[bytes, str, str], str]


class Arriving:
    """One file on its way into a bag: written once, hashed as it comes. What never got a byte leaves no file.

    Blocks of what is long are hashed and written by a thread of its own, so that the next ones come meanwhile.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self._hash = hashlib.sha256()
        self._file: int | None = None
        self._block = bytearray()
        self._blocks: queue.Queue[bytearray | None] = queue.Queue(_AHEAD)
        self._keeper: threading.Thread | None = None
        self._failure: OSError | None = None

    @property
    def sha256(self) -> str:
        """Of what came, once it is closed."""
        assert self._file is None, "what is on its way has no hash yet"
        return self._hash.hexdigest()

    def write(self, data: bytes) -> None:
        """Raises ProgramFailed where the system says no, here or to what came before."""
        if self._failure is not None:
            raise system_said_no(self._failure, self.path, len(data))
        try:
            if self._file is None:
                private_folder(self.path.parent)
                self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o400)
        except OSError as error:
            raise system_said_no(error, self.path, len(data)) from error
        self.size += len(data)
        self._block += data
        if len(self._block) >= _CHUNK:
            if self._keeper is None:
                self._keeper = threading.Thread(target=self._keep, name="evidence", daemon=True)
                self._keeper.start()
            self._blocks.put(self._block)
            self._block = bytearray()

    def close(self) -> None:
        """Write what is left. Raises ProgramFailed."""
        if self._keeper is not None:
            self._blocks.put(None)
            self._keeper.join()
            self._keeper = None
        if self._file is None:
            return
        try:
            if self._failure is None:
                self._put(self._block)
        except OSError as error:
            self._failure = error
        file, self._file, self._block = self._file, None, bytearray()
        os.close(file)
        if self._failure is not None:
            with self.path.open("rb") as kept:  # as much as there was room for
                self._hash = hashlib.sha256()
                self.size = 0
                while piece := kept.read(_CHUNK):
                    self._hash.update(piece)
                    self.size += len(piece)
            raise system_said_no(self._failure, self.path) from self._failure

    def flush(self) -> None:
        """Bring it to the disk, closed as it is: before that nothing calls it collected. Raises ProgramFailed."""
        if self.size:
            try:
                _flush(self.path)
            except OSError as error:
                raise system_said_no(error, self.path) from error

    def _keep(self) -> None:
        while (block := self._blocks.get()) is not None:
            try:
                if self._failure is None:
                    self._put(block)
            except OSError as error:
                self._failure = error

    def _put(self, block: bytearray) -> None:
        assert self._file is not None
        self._hash.update(block)
        left = memoryview(block)
        while left:
            left = left[os.write(self._file, left):]


class Half:
    """A bag that is being filled: ``NAME.half`` until it is closed. Its custody record grows line by line, each flushed."""

    def __init__(self, place: Path, name: str) -> None:
        self.name = name
        self.folder = place / f"{name}{HALF}"
        self.items: list[dict[str, Any]] = []
        self._custody: io.FileIO | None = None

    def begin(self, about: Mapping[str, Any]) -> None:
        """Make the folder and write down what is being collected. Raises ProgramFailed."""
        try:
            private_folder(self.folder.parent)
            self.folder.mkdir(mode=0o700)
            (self.folder / "data").mkdir(mode=0o700)
        except OSError as error:
            raise system_said_no(error, self.folder) from error
        self._line(about)

    def arriving(self, path: str) -> Arriving:
        """A file below ``data/``."""
        return Arriving(self.folder / "data" / path)

    def record(self, item: Mapping[str, Any], *, flush: bool = True) -> None:
        """One more line of the custody record, on disk before the next thing is asked for."""
        self.items.append(dict(item))
        self._line(item, flush=flush)

    def flush(self) -> None:
        """Bring the custody record to the disk. Raises ProgramFailed."""
        assert self._custody is not None, "a bag that was begun has one"
        try:
            os.fsync(self._custody)
        except OSError as error:
            raise system_said_no(error, self.folder / CUSTODY) from error

    def close(self, info: Sequence[tuple[str, str]], end: Mapping[str, Any]) -> str:
        """Write the lists, and give the folder its name. The SHA-256 of the tag manifest. Raises ProgramFailed."""
        self._line(end)
        self._let_go()
        payload = [(f"data/{one['file']}", one["sha256"]) for one in self.items if one.get("file")]
        size = sum(one["size_bytes"] for one in self.items if one.get("file"))
        write_whole(self.folder / "bagit.txt", _BAGIT)
        write_whole(self.folder / "bag-info.txt", bag_info([*info, ("Payload-Oxum", f"{size}.{len(payload)}")]))
        write_whole(self.folder / MANIFEST, listed(payload))
        tags = listed([(name, sha256_of(self.folder / name)) for name in _TAGGED])
        write_whole(self.folder / TAGS, tags)
        for name in (*_TAGGED, TAGS):
            (self.folder / name).chmod(0o400)
        try:
            os.rename(self.folder, self.folder.with_name(self.name))
            _flush(self.folder.parent)
        except OSError as error:
            raise system_said_no(error, self.folder) from error
        return hashlib.sha256(tags).hexdigest()

    def abandon(self) -> None:
        """Take away a bag that nothing came into."""
        from opsctl.repositories.private import remove_tree

        self._let_go()
        with contextlib.suppress(OSError):
            remove_tree(self.folder)

    def _let_go(self) -> None:
        if self._custody is not None:
            self._custody.close()
            self._custody = None

    def _line(self, said: Mapping[str, Any], *, flush: bool = True) -> None:
        try:
            if self._custody is None:
                self._custody = os.fdopen(os.open(self.folder / CUSTODY, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600), "ab", buffering=0)
            # Not ``canonical``, which takes ten times as long: what is signed is the hash of the whole file.
            self._custody.write(json.dumps(said, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode() + b"\n")
        except OSError as error:
            raise system_said_no(error, self.folder / CUSTODY) from error
        if flush:
            self.flush()


@value
class Bag:
    """A bag as it lies there. ``half``: its collecting was never ended."""

    folder: Path

    @property
    def half(self) -> bool:
        return self.folder.name.endswith(HALF)

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def sealed(self) -> bool:
        return (self.folder / SEAL).is_file()

    def custody(self) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any]]:
        """What was begun, the items that arrived, and the end (empty of a half bag). DamagedData where it cannot be read."""
        try:
            lines = [json.loads(line) for line in read_plain(self.folder / CUSTODY).split(b"\n") if line]
        except (OSError, ValueError) as error:
            if not self.half:
                raise DamagedData(f"the custody record of {self.name} cannot be read", where=self.name) from error
            lines = _whole_lines(self.folder / CUSTODY)
        if not lines:
            return {}, [], {}
        end = {} if "ended" not in lines[-1] else lines[-1]
        return lines[0], [one for one in lines[1:] if "outcome" in one], end

    def digest(self) -> str:
        """SHA-256 of the tag manifest, which holds the hash of everything else. DamagedData where it is gone."""
        try:
            return sha256_of(self.folder / TAGS, LARGEST)
        except OSError as error:
            raise DamagedData(f"the tag manifest of {self.name} cannot be read: {error.strerror}", where=self.name) from error

    def lists(self) -> dict[str, str]:
        """SHA-256 of its two manifests, by name."""
        return {name: sha256_of(self.folder / name, LARGEST) for name in (MANIFEST, TAGS)}

    def hand_overs(self) -> list[tuple[dict[str, Any], str]]:
        """The hand-overs that lie in it, with their signatures, in their order. DamagedData where one cannot be read."""
        found = []
        for path in sorted(self.folder.glob("handed-*.json"), key=_number):
            try:
                content, signature = read_plain(path), read_plain(path.with_suffix(".json.sig")).decode()
                record = json.loads(content)
                if canonical(record) != content:  # one name twice, say: people would read another one than programs
                    raise ValueError(f"{path.name} is not as it was written")
                found.append((record, signature))
            except (OSError, ValueError) as error:
                raise DamagedData(f"{path.name} of {self.name} was altered, or cannot be read", where=self.name) from error
        return found


class Vault:
    """The evidence of one incident: a folder of bags."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def bags(self) -> list[Bag]:
        """Every bag, half ones too, in the order of their names."""
        if not self.place.is_dir():
            return []
        return [Bag(path) for path in sorted(self.place.iterdir()) if path.is_dir() and not path.is_symlink()]

    def bag(self, name: str) -> Bag:
        return Bag(self.place / name)

    def halves(self, host: str) -> list[str]:
        """The half bags of a host."""
        return [one.name for one in self.bags() if one.half and numbered(one.name, host)]

    def begin(self, host: str, known: Iterable[str] = ()) -> Half:
        """The next bag of a host; ``known`` are names of bags that lie elsewhere. Whoever calls holds the lock of that host's evidence."""
        number = max((numbered(name, host) for name in (*known, *(one.name for one in self.bags()))), default=0) + 1
        return Half(self.place, bag_name(host, number))

    def seal(self, name: str, sign: Sign) -> str:
        """Sign the tag manifest of a bag; the SHA-256 of what was signed. DamagedData where a file is not there, or not of its size.

        Nothing is read again: what is signed are the hashes of what arrived, and ``verify`` reads it all.
        """
        bag = self.bag(name)
        if bag.half:
            raise SafetyRefusal(f"{name} is a half bag, and nothing vouches that it is whole", where=name)
        if wrong := contents(bag, read=False):
            raise DamagedData(f"{name} is not sealed: {wrong[0].text}", where=name, details={"findings": [one.text for one in wrong]})
        tags = read_plain(bag.folder / TAGS)
        write_whole(bag.folder / SEAL, sign(tags, NAMESPACE).encode())
        (bag.folder / SEAL).chmod(0o400)
        return hashlib.sha256(tags).hexdigest()

    def hand(self, name: str, said: Mapping[str, Any], sign: Sign) -> dict[str, Any]:
        """Write down that a bag goes to somebody, chained to what was written before, and signed. The record."""
        bag = self.bag(name)
        before = bag.hand_overs()
        record = {"format": "opsctl-custody/1", "bag": name, "number": len(before) + 1, "manifest_sha256": bag.digest(),
                  "before": hashlib.sha256(canonical(before[-1][0])).hexdigest() if before else "", **said}
        content = canonical(record)
        path = bag.folder / f"handed-{record['number']}.json"
        write_whole(path.with_suffix(".json.sig"), sign(content, HAND_NAMESPACE).encode())
        write_whole(path, content)
        return record


def contents(bag: Bag, *, read: bool = True) -> list[Finding]:
    """Everything in a bag read and held against its lists: what is changed, missing, added or renamed, each by its name.

    ``read``: where it is not, files of the payload are believed where they have the size that came.
    """
    try:
        tags = read_list(read_plain(bag.folder / TAGS))
    except (OSError, ValueError) as error:
        return [Finding(bag.name, "missing", TAGS, f"{TAGS} is missing or cannot be read, and with it what vouches for the rest: {_why(error)}")]
    try:
        payload = read_list(read_plain(bag.folder / MANIFEST))
    except (OSError, ValueError):
        payload = {}
    sizes = _sizes(bag)
    most = max(sizes.values(), default=LARGEST)
    found = {path: payload[path] if not read and path in payload and _has_size(bag.folder / path, sizes.get(path))
             else _digest_or_why(bag.folder / path, sizes.get(path, max(most, LARGEST))) for path in _files(bag.folder)}
    beside = {path for path in found if path in (TAGS, SEAL) or _HANDED.fullmatch(path)}
    findings = compared(bag.name, {**payload, **tags}, {path: digest for path, digest in found.items() if path not in beside})
    findings += [Finding(bag.name, "seal" if path == SEAL else "custody", path, f"{path} cannot be read: {found[path]}")
                 for path in sorted(beside) if not is_digest(found[path])]
    return [Finding(one.bag, "custody", one.file, f"the custody record was altered: {one.text}") if one.file == CUSTODY else one
            for one in findings]


def verify(bag: Bag, check: Check, trusted: Sequence[str], *, recorded: str, handed: int) -> list[Finding]:
    """A whole bag against its lists, its seal, and what the journal says of it.

    ``recorded``: the SHA-256 of the tag manifest as it was written down when it was collected; empty: the journal does not
    know of it. ``handed``: how many hand-overs it knows. ``trusted``: fingerprints of keys whose seals count.
    """
    findings = contents(bag)

    def wrong(what: str, file: str, text: str) -> None:
        findings.append(Finding(bag.name, what, file, text))

    with contextlib.suppress(DamagedData):
        digest = bag.digest()
        if not recorded:
            wrong("seal", TAGS, "the journal knows nothing of this bag")
        elif digest != recorded:
            wrong("seal", TAGS, f"{TAGS} is not the one that was collected: it is {digest[:12]}…, the journal has {recorded[:12]}…")
        if bag.sealed:
            try:
                signer = check(read_plain(bag.folder / TAGS), read_plain(bag.folder / SEAL).decode(errors="replace"), NAMESPACE)
                if signer not in trusted:
                    wrong("seal", SEAL, f"it was sealed with the key {signer}, which is not one of ours")
            except (OpsError, OSError) as error:
                wrong("seal", SEAL, f"the seal does not hold: {error}")
    findings += _chain(bag, check, trusted, handed)
    return findings


def _chain(bag: Bag, check: Check, trusted: Sequence[str], handed: int) -> Iterator[Finding]:
    """The hand-overs: each signed, each naming the one before it, and as many as the journal has."""
    try:
        overs = bag.hand_overs()
        digest = bag.digest()
    except DamagedData as error:
        yield Finding(bag.name, "custody", "handed", error.message)
        return
    if len(overs) != handed:
        yield Finding(bag.name, "custody", "handed", f"there are {len(overs)} hand-overs in it, and {handed} in the journal")
    before = ""
    for number, (record, signature) in enumerate(overs, 1):
        file = f"handed-{number}.json"
        try:
            good = check(canonical(record), signature, HAND_NAMESPACE) in trusted
        except OpsError:
            good = False
        if not good or record.get("number") != number or record.get("before") != before or record.get("bag") != bag.name \
                or record.get("manifest_sha256") != digest:
            yield Finding(bag.name, "custody", file, f"the hand-over {file} was altered")
        before = hashlib.sha256(canonical(record)).hexdigest()


def _files(folder: Path) -> Iterator[str]:
    """Every path below a folder that is no folder itself, as text; links are not followed."""
    for here, folders, names in os.walk(folder):
        for name in [*names, *(one for one in folders if os.path.islink(os.path.join(here, one)))]:
            yield os.path.relpath(os.path.join(here, name), folder)


def _sizes(bag: Bag) -> dict[str, int]:
    """How many bytes of each file came, by its path in the bag; empty where the custody record does not tell."""
    with contextlib.suppress(DamagedData, KeyError, TypeError, ValueError):
        return {f"data/{one['file']}": int(one["size_bytes"]) for one in bag.custody()[1] if one.get("file")}
    return {}


def _digest_or_why(path: Path, most: int) -> str:
    """SHA-256 of a file; of what is no plain file, has more bytes than it may, or cannot be read, why."""
    try:
        return sha256_of(path, most)
    except OSError as error:
        return _why(error)


def _why(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else "") or str(error)


def _has_size(path: Path, size: int | None) -> bool:
    return size is not None and path.is_file() and not path.is_symlink() and path.lstat().st_size == size


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a record that was cut off, as far as they are whole."""
    found = []
    with contextlib.suppress(OSError, ValueError):
        for line in read_plain(path).split(b"\n"):
            if line:
                found.append(json.loads(line))
    return found


def _number(path: Path) -> int:
    digits = path.stem.removeprefix("handed-")
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 9 else 0


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
