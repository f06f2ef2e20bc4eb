"""English written forms with digits, and their spoken forms: ``$3.50`` is ``three dollars fifty cents``.

The kinds follow Sproat and Jaitly (2016). A written form is one lower-case word without blanks; a spoken form is
normalized text. ``num2words`` reads the numbers; dates are month first, as in the United States.
"""

import re
from collections.abc import Callable

from num2words import num2words

from data_prep.text.normalize import normalize

MONTHS = (
    "january", "february", "march", "april", "may", "june",
    "july", "august", "september", "october", "november", "december",
)  # fmt: skip
# Names of a currency by its sign: singular and plural, and those of its hundredth.
CURRENCIES = {
    "$": ("dollar", "dollars", "cent", "cents"),
    "£": ("pound", "pounds", "penny", "pence"),
    "€": ("euro", "euros", "cent", "cents"),
}
UNITS = {
    "km": ("kilometer", "kilometers"),
    "cm": ("centimeter", "centimeters"),
    "mm": ("millimeter", "millimeters"),
    "m": ("meter", "meters"),
    "kg": ("kilogram", "kilograms"),
    "g": ("gram", "grams"),
    "lb": ("pound", "pounds"),
    "ft": ("foot", "feet"),
    "kw": ("kilowatt", "kilowatts"),
    "mph": ("mile an hour", "miles an hour"),
}

_WHOLE = r"\d{1,3}(?:,\d{3})+|\d+"
_NUMBER = rf"(?:{_WHOLE})(?:\.\d+)?"
_FORMS = {
    "cardinal": _WHOLE,
    "ordinal": r"(\d+)(?:st|nd|rd|th)",
    "decimal": r"(?:\d{1,3}(?:,\d{3})+|\d*)\.\d+",
    "year": r"([12]\d{3})(s?)",
    "years": r"([12]\d{3})-([12]\d{3})",
    "date": r"(\d{1,2})/(\d{1,2})/([12]\d{3})|([12]\d{3})-(\d{2})-(\d{2})",
    "money": rf"([{''.join(CURRENCIES)}])({_WHOLE})(?:\.(\d\d))?",
    "percent": rf"({_NUMBER})%",
    "fraction": r"(\d{1,3})/(\d{1,3})",
    "measure": rf"({_NUMBER})({'|'.join(UNITS)})",
    "time": r"(\d{1,2}):([0-5]\d)",
    "digits": r"\d{3}-\d{4}",
}
MAX_LENGTH = 60  # characters of a form: num2words has no words for more
_PATTERNS = {kind: re.compile(form) for kind, form in _FORMS.items()}


def kinds_of(written: str) -> list[str]:
    """Return the kinds that a written form may have: ``1984`` is a cardinal or a year. A long one has none."""
    if len(written) > MAX_LENGTH:
        return []
    return [kind for kind, pattern in _PATTERNS.items() if pattern.fullmatch(written)]


def speak(written: str, kind: str) -> str | None:
    """Return the spoken form of a written form of a kind, or None if it has none (month 13, a fraction with 0)."""
    found = _PATTERNS[kind].fullmatch(written)
    if found is None:
        raise ValueError(f"{written!r} is no {kind}")
    spoken = _READERS[kind](found)
    return spoken if spoken is None else normalize(spoken)


def _cardinal(found: re.Match[str]) -> str:
    return _whole(found[0])


def _ordinal(found: re.Match[str]) -> str | None:
    number = int(found[1])
    return num2words(number, to="ordinal") if found[0] == f"{number}{_suffix(number)}" else None


def _suffix(number: int) -> str:
    """Return the suffix of an ordinal in digits."""
    return "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")


def ordinal_form(number: int) -> str:
    """Return an ordinal in digits: ``21st``."""
    return f"{number}{_suffix(number)}"


def _decimal(found: re.Match[str]) -> str:
    return _number(found[0])


def _year(found: re.Match[str]) -> str | None:
    year = num2words(int(found[1]), to="year")
    if not found[2]:
        return year
    # A decade: "the 1990s".
    return None if int(found[1]) % 10 else f"{year.removesuffix('y')}{'ies' if year.endswith('y') else 's'}"


def _years(found: re.Match[str]) -> str | None:
    first, last = int(found[1]), int(found[2])
    return f"{num2words(first, to='year')} to {num2words(last, to='year')}" if first < last else None


def _date(found: re.Match[str]) -> str | None:
    month, day, year = (int(part) for part in (found.group(1, 2, 3) if found[1] else found.group(5, 6, 4)))
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return None
    return f"{MONTHS[month - 1]} {num2words(day, to='ordinal')} {num2words(year, to='year')}"


def _money(found: re.Match[str]) -> str:
    one, several, hundredth, hundredths = CURRENCIES[found[1]]
    amount, parts = _counted(found[2], one, several), int(found[3] or 0)
    return f"{amount} {_counted(str(parts), hundredth, hundredths)}" if parts else amount


def _percent(found: re.Match[str]) -> str:
    return f"{_number(found[1])} percent"


def _fraction(found: re.Match[str]) -> str | None:
    top, bottom = int(found[1]), int(found[2])
    if not top or bottom < 2:
        return None
    part = "half" if bottom == 2 else num2words(bottom, to="ordinal")
    several = "halves" if bottom == 2 else f"{part}s"
    return f"{num2words(top)} {part if top == 1 else several}"


def _measure(found: re.Match[str]) -> str:
    return _counted(found[1], *UNITS[found[2]])


def _time(found: re.Match[str]) -> str | None:
    hour, minute = int(found[1]), int(found[2])
    if not 1 <= hour <= 12:
        return None
    rest = "o'clock" if not minute else f"oh {num2words(minute)}" if minute < 10 else num2words(minute)
    return f"{num2words(hour)} {rest}"


def _digits(found: re.Match[str]) -> str:
    return " ".join(num2words(int(digit)) for digit in found[0] if digit != "-")


def _counted(number: str, one: str, several: str) -> str:
    return f"{_number(number)} {one if number == '1' else several}"


def _number(written: str) -> str:
    """Return the spoken form of a number. The digits after the point are read one by one."""
    whole, point, rest = written.partition(".")
    spoken = _whole(whole or "0")
    return f"{spoken} point {' '.join(num2words(int(digit)) for digit in rest)}" if point else spoken


def _whole(written: str) -> str:
    return num2words(int(written.replace(",", "")))


_READERS: dict[str, Callable[[re.Match[str]], str | None]] = {
    "cardinal": _cardinal, "ordinal": _ordinal, "decimal": _decimal, "year": _year, "years": _years, "date": _date,
    "money": _money, "percent": _percent, "fraction": _fraction, "measure": _measure, "time": _time, "digits": _digits,
}  # fmt: skip
KINDS = tuple(_READERS)
