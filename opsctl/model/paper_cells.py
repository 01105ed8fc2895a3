"""Cells of lists of receipts, as people in offices write them: amounts in rupees, dates, numbers, headings in English and Hindi."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Mapping
from datetime import date

_AMOUNT = re.compile(r"(?:₹|rs\.?|inr|रु\.?|रू\.?)?\s*([0-9][0-9,]*)(?:\.([0-9]{1,2}))?\s*(?:/-)?", re.IGNORECASE)
_GROUPED = re.compile(r"[0-9]+|[0-9]{1,2}(?:,[0-9]{2})*,[0-9]{3}|[0-9]{1,3}(?:,[0-9]{3})+")
_LARGEST = 10**15  # paise
_DATES = (re.compile(r"(?P<d>[0-9]{1,2})[/.-](?P<m>[0-9]{1,2})[/.-](?P<y>[0-9]{4})(?:[ T]00:00(?::00)?)?"),
          re.compile(r"(?P<y>[0-9]{4})-(?P<m>[0-9]{1,2})-(?P<d>[0-9]{1,2})(?:[ T]00:00(?::00)?)?"))
_NUMBER = re.compile(r"(?:(?P<series>[A-Za-z0-9](?:[A-Za-z0-9/-]*[A-Za-z0-9])?)\s*[-/ ]\s*)?(?P<number>[0-9]{1,12})")
_FORMULA = "=+-@\t\r"

HEADINGS: Mapping[str, tuple[str, ...]] = {
    "body": ("body", "ulb", "municipal body", "body id", "निकाय", "निकाय कोड", "नगरीय निकाय"),
    "series": ("series", "book", "receipt series", "शृंखला", "श्रृंखला", "सीरीज", "सीरीज़", "रसीद शृंखला", "रसीद श्रृंखला"),
    "number": ("number", "receipt", "receipt no", "receipt number", "रसीद", "रसीद क्रमांक", "रसीद संख्या", "रसीद नं", "रसीद नंबर", "क्रमांक"),
    "first": ("first", "from", "से", "प्रथम"),
    "last": ("last", "to", "तक", "अंतिम"),
    "date": ("date", "receipt date", "दिनांक", "तारीख", "तारीख़", "तिथि", "रसीद दिनांक"),
    "service": ("service", "head", "सेवा", "मद"),
    "payer": ("payer", "name", "paid by", "नाम", "भुगतानकर्ता", "करदाता", "जमाकर्ता"),
    "account": ("account", "property id", "consumer no", "consumer number", "खाता", "खाता क्रमांक", "उपभोक्ता क्रमांक", "संपत्ति आईडी"),
    "amount": ("amount", "rupees", "राशि", "रकम", "रुपये"),
    "counter": ("counter", "काउंटर"),
    "remark": ("remark", "remarks", "note", "टिप्पणी", "रिमार्क", "विवरण"),
    "name": ("name", "नाम", "निकाय का नाम"),
    "name_hi": ("name hi", "name in hindi", "hindi name", "हिंदी नाम", "हिन्दी नाम"),
    "counters": ("counters", "counter", "काउंटर"),
    "id": ("id", "body", "ulb", "code", "कोड", "निकाय कोड"),
    "finding": ("finding",), "note": ("note", "settled", "टिप्पणी"),
}
"""What a column may be called, folded (``heading``); more by ``paper: columns:`` of the configuration."""


def heading(text: str) -> str:
    """A heading as it is compared: letters of one form, small, words apart by one blank, no dot at the end."""
    return re.sub(r"[\s_]+", " ", unicodedata.normalize("NFKC", text).casefold()).strip().rstrip(".:").strip()


def digits(text: str) -> str:
    """Digits of other scripts (Devanagari) as 0 to 9."""
    return text if text.isascii() else "".join(str(unicodedata.decimal(letter)) if letter.isdecimal() else letter for letter in text)


@functools.lru_cache(maxsize=100_000)
def paise(text: str) -> int:
    """``1,23,456.50`` (also ``₹ 1,234/-`` and Devanagari digits) in paise, exactly. ValueError says what is wrong."""
    found = _AMOUNT.fullmatch(digits(text).strip())
    if found is None:
        raise ValueError("is no amount: write it as 1,23,456.50, without more than two digits behind the point" if text.strip() else "is missing")
    if _GROUPED.fullmatch(found[1]) is None:
        raise ValueError("has commas where an amount has none: 1,23,456.50")
    amount = int(found[1].replace(",", "")) * 100 + int((found[2] or "0").ljust(2, "0"))
    if amount > _LARGEST:
        raise ValueError("is too large for an amount")
    return amount


def rupees(amount: int) -> str:
    """Paise with Indian grouping: ``1,23,456.50``."""
    sign, amount = ("-", -amount) if amount < 0 else ("", amount)
    whole, rest = divmod(amount, 100)
    head, tail = str(whole)[:-3], str(whole)[-3:]
    pairs = [head[max(0, end - 2):end] for end in range(len(head), 0, -2)][::-1]
    return f"{sign}{','.join([*pairs, tail])}.{rest:02}"


def plain(amount: int) -> str:
    """Paise as a decimal that programs read: ``123456.50``."""
    sign, amount = ("-", -amount) if amount < 0 else ("", amount)
    return f"{sign}{amount // 100}.{amount % 100:02}"


@functools.lru_cache(maxsize=10_000)
def day(text: str) -> str:
    """``21/12/2026``, ``21-12-2026``, ``21.12.2026`` or ``2026-12-21`` as ``2026-12-21``: the day comes before the month. ValueError."""
    said = digits(text).strip()
    found = next((match for pattern in _DATES if (match := pattern.fullmatch(said))), None)
    if found is None:
        raise ValueError("is no date: write it as 21/12/2026 or 2026-12-21" if said else "is missing")
    try:
        made = date(int(found["y"]), int(found["m"]), int(found["d"]))
    except ValueError:
        raise ValueError("is no day of the calendar; the day stands before the month: 21/12/2026") from None
    if not 1990 <= made.year <= 2100:
        raise ValueError(f"is a date in the year {made.year}")
    return made.isoformat()


def receipt(text: str) -> tuple[str, int]:
    """``000123``, ``IND-PT-000123`` or ``IND-PT/123`` as series (empty where it names none) and number. ValueError."""
    found = _NUMBER.fullmatch(digits(text).strip())
    if found is None:
        raise ValueError("is no receipt number: digits, with the series before them or in a column of its own" if text.strip() else "is missing")
    return (found["series"] or "").upper(), int(found["number"])


def harmless(cell: object) -> str:
    """A cell for CSV that no spreadsheet program takes for a formula, on one line."""
    text = str(cell)
    text = "".join(letter if letter.isprintable() or letter in "\u200c\u200d" else " " for letter in text)
    return f"'{text}" if text[:1] and (text[0] in _FORMULA or text.lstrip()[:1] in tuple(_FORMULA)) else text
