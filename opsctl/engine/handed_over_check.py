"""Checks what was handed over of an incident: run `python3 check.py` in its folder. Needs Python 3.9 and, for signatures, ssh-keygen."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def plain(path: Path) -> bool:
    """Whether this is a file: a pipe or a device would be read for ever."""
    return path.is_file() and not path.is_symlink()


def files() -> "list[str]":
    """What is not as SHA256SUMS says."""
    if not plain(HERE / "SHA256SUMS"):
        return ["SHA256SUMS is missing"]
    wrong, known = [], {"SHA256SUMS", "SHA256SUMS.sig"}
    for line in (HERE / "SHA256SUMS").read_text("utf-8").rstrip("\n").split("\n"):
        digest, _, name = line.partition("  ")
        if digest.startswith("\\"):  # as sha256sum writes names that would end a line
            digest, name = digest[1:], re.sub(r"\\(.)", lambda found: {"n": "\n", "r": "\r"}.get(found[1], found[1]), name)
        known.add(name)
        path = HERE / name
        if not plain(path):
            wrong.append(f"{name} is missing")
        elif hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            wrong.append(f"{name} was changed")
    there = {str(path.relative_to(HERE)) for path in HERE.rglob("*") if not path.is_dir() or path.is_symlink()}
    return wrong + [f"{name!a} is in no list" for name in sorted(there - known)]


def journal() -> "list[str]":
    """Lines whose content is not what their hash was made from, or that do not follow the line before them."""
    wrong = []
    if not plain(HERE / "journal/chain.txt") or not plain(HERE / "journal/entries.jsonl"):
        return ["the entries of the journal are not there to be checked"]
    chain = dict(line.split() for line in (HERE / "journal/chain.txt").read_text().splitlines())
    for raw in (HERE / "journal/entries.jsonl").read_bytes().splitlines():
        found = json.loads(raw)
        at = raw.rfind(b',"hash":"')
        digest = hashlib.sha256(raw[:at] + raw[at + len(b',"hash":"') + 64 + 1:]).hexdigest()
        number = found["seq"]
        if digest != found["hash"] or chain.get(str(number)) != digest:
            wrong.append(f"entry {number} of the journal is not what its hash was made from")
        if chain.get(str(number - 1), found["prev"]) != found["prev"]:
            wrong.append(f"entry {number} of the journal does not follow the one before it")
    return wrong


def signature(data: Path, signer: str, namespace: str) -> bool:
    """Whether ssh-keygen finds the signature beside a file good, and of this signer."""
    if not (plain(data) and plain(Path(f"{data}.sig")) and plain(HERE / "signers")):
        return False
    argv = ["ssh-keygen", "-Y", "verify", "-f", str(HERE / "signers"), "-I", signer, "-n", namespace, "-s", f"{data}.sig"]
    return subprocess.run(argv, input=data.read_bytes(), capture_output=True, check=False).returncode == 0


def signatures() -> "list[str]":
    """Signatures that do not hold, and what nobody signed."""
    if shutil.which("ssh-keygen") is None:
        return ["ssh-keygen is not here, so that no signature was checked"]
    wrong = [] if signature(HERE / "SHA256SUMS", "controller", "handover@opsctl") else ["SHA256SUMS is not signed by the controller's key"]
    for path in sorted(path for path in (HERE / "signatures").glob("*.json") if plain(path)):
        who, purpose = json.loads(path.read_bytes())["by"], path.name.split(".")[-2]
        if not signature(path, who, f"{purpose}@opsctl"):
            wrong.append(f"{path.name} is not signed by the key of {who!a} in signers")
    return wrong


def main() -> int:
    """Say every finding; 1 where there is one."""
    wrong = [*files(), *journal(), *signatures()]
    sys.stdout.write(("\n".join(wrong) or "every file, entry and signature is as it was handed over; whose key the controller's is, ask on another way") + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
