"""What a piece of a file is, by its first bytes, and whether it is what its name says."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

from opsctl.model.values import value

#: How much of a file is looked at: this many bytes of its beginning, and as many of its middle.
WINDOW = 4096

#: Fewer bytes than these say nothing about noise.
LEAST = 64

#: How a piece of 256 equally frequent byte values is told from one that only looks so: a random piece of any length has a
#: chi-square of 255 with a deviation of 23, text and tables have thousands.
_NOISE = 390.0

#: The first bytes of each kind, with where they stand.
_MAGIC: tuple[tuple[str, int, bytes], ...] = (
    ("pdf", 0, b"%PDF-"), ("zip", 0, b"PK\x03\x04"), ("zip", 0, b"PK\x05\x06"), ("ole", 0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),
    ("jpeg", 0, b"\xff\xd8\xff"), ("png", 0, b"\x89PNG\r\n\x1a\n"), ("gif", 0, b"GIF8"), ("bmp", 0, b"BM"),
    ("tiff", 0, b"II*\0"), ("tiff", 0, b"MM\0*"), ("tiff", 0, b"II+\0"), ("webp", 8, b"WEBP"), ("wav", 8, b"WAVE"), ("avi", 8, b"AVI "),
    ("iso", 4, b"ftyp"), ("iso", 4, b"moov"), ("iso", 4, b"mdat"), ("iso", 4, b"wide"), ("iso", 4, b"free"), ("mkv", 0, b"\x1aE\xdf\xa3"), ("ogg", 0, b"OggS"), ("flac", 0, b"fLaC"), ("mp3", 0, b"ID3"),
    ("gzip", 0, b"\x1f\x8b"), ("xz", 0, b"\xfd7zXZ\0"), ("zstd", 0, b"(\xb5/\xfd"),
    ("bzip2", 0, b"BZh"), ("lz4", 0, b"\x04\"M\x18"), ("7z", 0, b"7z\xbc\xaf'\x1c"), ("rar", 0, b"Rar!\x1a\x07"), ("elf", 0, b"\x7fELF"),
    ("pe", 0, b"MZ"), ("sqlite", 0, b"SQLite format 3\0"), ("pgdump", 0, b"PGDMP"), ("postscript", 0, b"%!PS"), ("rtf", 0, b"{\\rtf"),
    ("psd", 0, b"8BPS"), ("dwg", 0, b"AC10"), ("class", 0, b"\xca\xfe\xba\xbe"), ("woff", 0, b"wOFF"), ("woff", 0, b"wOF2"),
    ("ttf", 0, b"\0\1\0\0\0"), ("ttf", 0, b"OTTO"), ("ttf", 0, b"ttcf"), ("tar", 257, b"ustar"), ("heif", 4, b"ftypheic"), ("jxl", 0, b"\xff\n"),
    ("jp2", 0, b"\0\0\0\x0cjP  "), ("age", 0, b"age-encryption.org/"), ("djvu", 0, b"AT&TFORM"), ("msi", 0, b"ITSF"),
)

_TEXT = ("text",)
#: What a file of each extension begins with; any of several. What is in no entry may be anything.
EXPECTED: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys((
        "txt", "csv", "tsv", "log", "md", "rst", "sql", "json", "jsonl", "geojson", "xml", "xsd", "xsl", "html", "htm", "xhtml", "css", "js", "mjs",
        "tsx", "jsx", "vue", "php", "py", "rb", "pl", "sh", "bash", "ps1", "bat", "c", "h", "cpp", "hpp", "cs", "java", "kt", "go", "rs",
        "yaml", "yml", "toml", "ini", "cfg", "conf", "properties", "env", "tex", "srt", "vcf", "ics", "eml", "svg", "gpx", "kml", "po", "jsp",
        "asp", "aspx", "diff", "patch", "lst", "prj",
    ), _TEXT),
    "pdf": ("pdf",), "ai": ("pdf", "postscript"), "eps": ("postscript", "pdf"), "ps": ("postscript",), "rtf": ("rtf",),
    **dict.fromkeys(("docx", "docm", "dotx", "xlsx", "xlsm", "xltx", "pptx", "pptm", "ppsx"), ("zip", "ole")),
    **dict.fromkeys(("doc", "dot", "xls", "xlt", "ppt", "pps", "msg", "vsd", "mpp"), ("ole", "rtf", "text", "zip")),
    **dict.fromkeys(("odt", "ods", "odp", "odg", "jar", "war", "ear", "apk", "epub", "zip", "kmz", "whl"), ("zip",)),
    **dict.fromkeys(("jpg", "jpeg", "jpe", "jfif"), ("jpeg",)), "png": ("png",), "gif": ("gif",), "bmp": ("bmp",), "webp": ("webp",),
    **dict.fromkeys(("tif", "tiff"), ("tiff",)), "psd": ("psd",), "dwg": ("dwg",), "djvu": ("djvu",), "jp2": ("jp2",),
    **dict.fromkeys(("heic", "heif", "avif", "mp4", "m4a", "m4v", "mov", "3gp"), ("iso", "heif")),
    **dict.fromkeys(("mkv", "webm"), ("mkv",)), "avi": ("avi",), "wav": ("wav",), "ogg": ("ogg",), "flac": ("flac",), "mp3": ("mp3",),
    **dict.fromkeys(("gz", "tgz"), ("gzip",)), **dict.fromkeys(("xz", "txz"), ("xz",)), **dict.fromkeys(("zst", "tzst"), ("zstd",)),
    **dict.fromkeys(("bz2", "tbz2"), ("bzip2",)), "lz4": ("lz4",), "7z": ("7z",), "rar": ("rar",), "tar": ("tar",),
    **dict.fromkeys(("exe", "dll", "sys"), ("pe",)), "so": ("elf", "text"), "class": ("class",),
    **dict.fromkeys(("sqlite", "sqlite3"), ("sqlite",)), **dict.fromkeys(("woff", "woff2"), ("woff",)), **dict.fromkeys(("ttf", "otf"), ("ttf",)),
}

#: Text in which other files are packed: dumps with pictures in their rows, installers, mail.
_PACKED = frozenset({"sql", "sh", "bash", "ps1", "bat", "php", "eml"})

#: Suffixes that people and programs put behind a whole name; what counts is the one before.
_NEUTRAL = frozenset({"bak", "old", "orig", "tmp", "save", "swp", "part", "prev", "copy", "new", "rej", "disabled", "example", "sample",
                      "dist", "default", "template", "map", "min", "lock", "ucf-dist", "dpkg-old", "dpkg-dist", "rpmsave", "rpmnew"})
#: What is encrypted on purpose.
_SEALED = frozenset({"gpg", "pgp", "age", "asc", "sig", "p7m", "kdbx"})
#: What is used for files of which nobody knows what they begin with.
_ANY = frozenset({
    "br", "brotli", "jmod", "bin", "dat", "data", "db", "dbf", "idx", "ndx", "mdb", "accdb", "mdf", "ldf", "ibd", "frm", "myd", "myi", "pack", "cache",
    "p12", "pfx", "der", "cer", "crt", "pem", "key", "jks", "keystore", "mo", "gmo", "pyc", "pyo", "o", "a", "lib", "obj", "pdb", "img", "iso", "qcow2",
    "vmdk", "vdi", "vhd", "vhdx", "raw", "wasm", "node", "rpm", "deb", "cab", "msi", "dmg", "swf", "dxf", "shp", "shx", "dbx", "pst", "ost", "tally",
    "npy", "pkl", "parquet", "arrow", "h5", "mat", "rdb", "aof", "wal", "ts", "m2ts", "vob", "wma", "wmv", "flv", "mp2", "ac3", "mid", "cr2", "nef", "arw",
    "dng", "ico", "icns", "cur", "lnk", "url", "torrent", "rec", "dump", "journal", "xmp", "thumb", "ttc", "eot", "pfb", "afm", "hlp", "chm",
})
_NUMBER = re.compile(r"[0-9]{1,14}|v?[0-9]+[a-z]?")


@value
class Piece:
    """The beginning and the middle of a file, as many bytes of each as it has, up to ``WINDOW``; ``size`` of the whole."""

    head: bytes
    middle: bytes
    size: int


def suffixes(path: str) -> list[str]:
    """The extensions of a file's name in small letters, the last one first; none of a name that begins with its dot."""
    name = path.rsplit("/", 1)[-1].lower().rstrip("~").lstrip(".")
    return name.split(".")[:0:-1]


def is_known(suffix: str) -> bool:
    """Whether a suffix is one that people and programs use: renaming to it is nothing strange."""
    return suffix in EXPECTED or suffix in _NEUTRAL or suffix in _ANY or _NUMBER.fullmatch(suffix) is not None


def expected(path: str) -> tuple[str, ...] | None:
    """What a file of this name begins with; None where it may be anything.

    A strange suffix behind a known one (``plan.pdf.locked``) hides what the file was, and does not change it.
    """
    for suffix in suffixes(path)[:4]:
        if suffix in _SEALED or suffix in _ANY:
            return None
        if suffix in EXPECTED:
            return EXPECTED[suffix]
    return None


def kind_of(head: bytes) -> str | None:
    """The kind of a file by its first bytes, ``text`` for what reads as such; None for what is neither."""
    for kind, at, magic in _MAGIC:
        if head.startswith(magic, at):
            return kind
    if head[:1] == b"\xff" and b"\xe0" <= head[1:2] < b"\xfe" and not is_noise(head[:256]):
        return "mp3"
    return "text" if is_text(head) else None


def is_text(head: bytes) -> bool:
    """Whether a piece reads as text in any of the usual encodings, old 8-bit ones of Indian scripts too."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return not is_noise(head)
    odd = sum(head.count(byte) for byte in (*range(9), 11, *range(14, 27), *range(28, 32), 127))
    return odd * 50 <= len(head) and not is_noise(head)


def is_noise(piece: bytes) -> bool:
    """Whether all byte values are about equally frequent, as in what is encrypted, and in much that is compressed."""
    if len(piece) < LEAST:
        return False
    squares = sum(count * count for count in Counter(piece).values())
    return squares * 256 / len(piece) - len(piece) < _NOISE


def look(path: str, piece: Piece) -> str:
    """What a file is against its name.

    ``right``; ``other``: not what it should be, and no noise; ``scrambled``: it should be of a known kind and is noise;
    ``opaque``: noise of which nothing is expected; ``plain``: anything else; ``small``: too little to tell.
    """
    if len(piece.head) < LEAST:
        return "small"
    kind, wanted = kind_of(piece.head), expected(path)
    # Only text never has noise inside, where it is not one that programs pack things into.
    if wanted == _TEXT and is_noise(piece.middle) and not _PACKED & {*suffixes(path)}:
        return "scrambled"
    if wanted is not None and kind in wanted:
        return "right"
    if kind is not None and kind != "text":
        return "other" if wanted else "plain"
    if _has_noise(piece):
        return "scrambled" if wanted else "opaque"
    return "other" if wanted else "plain"


def _has_noise(piece: Piece) -> bool:
    """In the beginning, in less of it where only that was touched, or behind a header of somebody's own."""
    return any(is_noise(part) for part in (piece.head, piece.head[:1024], piece.head[:256], piece.head[1024:]))
