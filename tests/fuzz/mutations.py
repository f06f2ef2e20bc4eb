"""Damage to bytes and to text. All choices come from the given generator."""

import re
from collections.abc import Callable, Sequence
from random import Random

MAX_BYTES = 1 << 20  # of a damaged file
_BYTE_VALUES = (0x00, 0xFF, 0x7F, 0x80, 0x0A, 0x0D, 0x09, 0x20, 0x22, 0x5C)
_EDGES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, (1 << 63) - 1, (1 << 64) - 1)
NUMBERS = (
    *("-1", "0", "1", "1e999", "-1e999", "nan", "NaN", "inf", "-inf", "1e-320", "-0.0", "1e30", "1e15", "1e400"),
    *("99999999999999999999", "2147483648", "4294967296", "-9223372036854775809", "1" * 5000, "0x10", "1_000", "1,5"),
    *("½", "²", "１２", "٣", "+5", "00", ".", "-", "", "1.5.2", "true", "null"),
)
SIGNS = (
    *("\x00", "\ufeff", "\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\u202e", "\u2066", "\u200b", "\u200d"),
    *("\u00ad", "\u00a0", "\u3000", "\u0301", "\U0001f600", "\U0010ffff", "\uffff", "İ", "ı", "ß", "ﬁ", "ا", "हि", "ŀ"),
    *(
        "\r",
        "\r\n",
        "\t",
        "\n",
        '"',
        "'",
        "\\",
        "|",
        ",",
        ";",
        ":",
        "%",
        "<",
        ">",
        "&",
        "#",
        "$",
        "${x}",
        "{}",
        "\x1b[2J",
    ),
)
# Not text: half a character, an overlong slash, bytes of other encodings, UTF-16.
_NO_UTF8 = (b"\xed\xa0\x80", b"\xc0\xaf", b"\xff", b"caf\xe9", b"\xf5\x80\x80\x80", b"\xff\xfea\x00", b"\x80")
_ESCAPES = ("\\ud800", "\\u0000", "\\n", "&#0;", "&#55296;", "%00", "\\x00", "\\udfff\\ud800")
PATHS = (
    *(
        "../canary/kept",
        "/dev/zero",
        "/dev/null",
        "/etc/passwd",
        "..",
        ".",
        "/",
        "~",
        "a" * 300,
        "a/" * 2100 + "a",
        "-",
    ),
    *("nul\x00l", "https://a.example/b.wav", "| touch stray", "$(touch stray)", "`touch stray`", "a.wav:0:10", "*"),
)
_NESTS = ("[", "{", '{"a":', "<a>", "(", "((", "{{", "- ", "? ", "<<", "${", "*", "&a [")
_TOKEN = re.compile(r"[^\s,|:<>\"'=\[\]{}()]+")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_DELIMITERS = ("\t", " ", ",", "|", ";", ":", "\n", "=", "")


def mutated(data: bytes, other: bytes, random: Random) -> bytes:
    """Return ``data`` with one to four kinds of damage. ``other`` is a valid file that may be mixed in."""
    for _ in range(random.choice((1, 1, 1, 2, 2, 3, 4))):
        text = _text_of(data)
        if text is not None and random.random() < 0.7:
            data = random.choice(_OF_TEXT)(text, random).encode("utf-8", "surrogatepass")
        else:
            data = random.choice(_OF_BYTES)(data, random) if random.random() < 0.95 else spliced(data, other, random)
        data = data[:MAX_BYTES]
    return data


def _text_of(data: bytes) -> str | None:
    """Return the text of a file, None if it is binary."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    return text if len(text) < 200 or text.count("\x00") * 10 < len(text) else None


def place_in(length: int, random: Random) -> int:
    """Return a place from 0 to ``length``, half of the time near the begin, where headers are."""
    if random.random() < 0.5:
        return min(int(2 ** random.uniform(0, 9)) - 1, length)
    return random.randint(0, length)


# ---------------------------------------------------------------------------------------------------------------------
# bytes


def flip_bits(data: bytes, random: Random) -> bytes:
    """Flip one to eight bits."""
    changed = bytearray(data)
    for _ in range(random.randint(1, 8) if data else 0):
        changed[min(place_in(len(data), random), len(data) - 1)] ^= 1 << random.randrange(8)
    return bytes(changed)


def set_bytes(data: bytes, random: Random) -> bytes:
    """Overwrite a run with one value."""
    begin, count = place_in(len(data), random), random.choice((1, 1, 2, 4, 16, 200))
    value = random.choice(_BYTE_VALUES) if random.random() < 0.7 else random.randrange(256)
    return data[:begin] + bytes([value]) * min(count, len(data) - begin) + data[begin + count :]


def set_number(data: bytes, random: Random) -> bytes:
    """Overwrite a binary number with an extreme one, or one near it."""
    width, begin = random.choice((1, 2, 4, 8)), place_in(len(data), random)
    order = random.choice(("little", "big"))
    old = int.from_bytes(data[begin : begin + width], order)
    value = random.choice(_EDGES) if random.random() < 0.7 else old + random.choice((-1, 1, 256, 1 << 16))
    return data[:begin] + (value % (1 << 8 * width)).to_bytes(width, order) + data[begin + width :]


def cut(data: bytes, random: Random) -> bytes:
    """Remove a run."""
    begin = place_in(len(data), random)
    return data[:begin] + data[begin + random.choice((1, 2, 7, 64, 1000)) :]


def doubled(data: bytes, random: Random) -> bytes:
    """Repeat a run, now and then very often."""
    begin = place_in(len(data), random)
    run = data[begin : begin + random.choice((1, 2, 9, 100, 3000))]
    return data[:begin] + run * random.choice((2, 2, 2, 3, 300)) + data[begin + len(run) :]


def inserted(data: bytes, random: Random) -> bytes:
    """Insert random bytes, or bytes that are no UTF-8."""
    begin = place_in(len(data), random)
    run = random.choice(_NO_UTF8) if random.random() < 0.5 else random.randbytes(random.choice((1, 2, 8, 300)))
    return data[:begin] + run + data[begin:]


def truncated(data: bytes, random: Random) -> bytes:
    """Keep the beginning alone."""
    return data[: place_in(len(data), random)]


def spliced(data: bytes, other: bytes, random: Random) -> bytes:
    """Continue with another file."""
    return data[: place_in(len(data), random)] + other[place_in(len(other), random) :]


def emptied(data: bytes, random: Random) -> bytes:
    """Leave nothing, zeros, or noise."""
    return random.choice((b"", b"\n", bytes(len(data)), random.randbytes(min(len(data), 5000)), b"\xef\xbb\xbf"))


_Damage = Callable[[bytes, Random], bytes]
_OF_BYTES: Sequence[_Damage] = (
    *(flip_bits, flip_bits, set_bytes, set_number, set_number, set_number, cut, doubled, inserted, truncated, emptied),
)

# ---------------------------------------------------------------------------------------------------------------------
# text


def other_number(text: str, random: Random) -> str:
    """Replace one of the numbers."""
    return _replaced(text, _NUMBER, random.choice(NUMBERS), random)


def other_token(text: str, random: Random) -> str:
    """Replace a word by a number, a sign, a path, an escape, nothing, or another word."""
    words = _TOKEN.findall(text[:20_000]) or [""]
    return _replaced(text, _TOKEN, random.choice((*words[:50], *NUMBERS, *SIGNS, *PATHS, *_ESCAPES, "")), random)


def signs_inserted(text: str, random: Random) -> str:
    """Insert a sign or an escape at one to three places."""
    for _ in range(random.randint(1, 3)):
        place = place_in(len(text), random)
        text = text[:place] + random.choice((*SIGNS, *_ESCAPES)) + text[place:]
    return text


def other_delimiter(text: str, random: Random) -> str:
    """Replace some or all of one delimiter by another."""
    found = [sign for sign in _DELIMITERS if sign and sign in text]
    if not found:
        return text
    old, new = random.choice(found), random.choice(_DELIMITERS)
    return text.replace(old, new, random.choice((1, 1, 2, -1)))


def lines_changed(text: str, random: Random) -> str:
    """Remove, repeat, swap, join or shuffle lines."""
    lines = text.split("\n")
    place, other = random.randrange(len(lines)), random.randrange(len(lines))
    if random.random() < 0.3:
        place = 0
    match random.randrange(6):
        case 0:
            del lines[place]
        case 1:
            lines[place:place] = [lines[place]] * random.choice((1, 2, 200))
        case 2:
            lines[place], lines[other] = lines[other], lines[place]
        case 3:
            lines[place] = "".join(lines[place : place + 3])
        case 4:
            random.shuffle(lines)
        case 5:
            lines.insert(place, "")
    return "\n".join(lines)


def fields_changed(text: str, random: Random) -> str:
    """Remove, repeat, swap or empty a field of a line, half of the time of the header."""
    lines = text.split("\n")
    place = 0 if random.random() < 0.5 else random.randrange(len(lines))
    delimiter = random.choice([sign for sign in "\t,|: =" if sign in lines[place]] or ["\t"])
    fields = lines[place].split(delimiter)
    first, second = random.randrange(len(fields)), random.randrange(len(fields))
    match random.randrange(5):
        case 0:
            del fields[first]
        case 1:
            fields.insert(first, fields[second])
        case 2:
            fields[first], fields[second] = fields[second], fields[first]
        case 3:
            fields[first] = random.choice(("", " ", "\u3000", "x" * 140_000))
        case 4:
            fields[first] = random.choice((*NUMBERS, *PATHS))
    lines[place] = delimiter.join(fields)
    return "\n".join(lines)


def nested(text: str, random: Random) -> str:
    """Insert thousands of brackets or tags, closed or not."""
    place, count, opening = place_in(len(text), random), random.choice((60, 3000, 20_000)), random.choice(_NESTS)
    closing = {"[": "]", "{": "}", '{"a":': "}", "<a>": "</a>", "(": ")"}.get(opening, "")
    return text[:place] + opening * count + (closing * count if random.random() < 0.5 else "") + text[place:]


def lengthened(text: str, random: Random) -> str:
    """Repeat a piece until it has thousands of characters: what is quadratic takes long."""
    place = place_in(len(text), random)
    piece = text[place : place + random.choice((1, 2, 5, 20))] or "a"
    return text[:place] + piece * (random.choice((5000, 50_000)) // len(piece)) + text[place:]


def encoded_otherwise(text: str, random: Random) -> str:
    """Return the text as a reader of UTF-8 finds it in another encoding: of NULs, with lone surrogates."""
    if random.random() < 0.5:
        return "\ufeff" + "\x00".join(text[:50_000])
    return re.sub("[aeio]", lambda found: chr(0xDC80 + ord(found[0]) % 128), text, count=random.choice((1, 3, 0)))


def line_ends_changed(text: str, random: Random) -> str:
    """Replace all line ends."""
    return text.replace("\n", random.choice(("\r\n", "\r", "\n\n", "\u2028", "\x0b", " ")))


_TextDamage = Callable[[str, Random], str]
_OF_TEXT: Sequence[_TextDamage] = (
    *(other_number, other_number, other_token, other_token, signs_inserted, signs_inserted, other_delimiter),
    *(lines_changed, lines_changed, fields_changed, fields_changed, nested, lengthened, encoded_otherwise),
    *(line_ends_changed,),
)


def _replaced(text: str, pattern: re.Pattern[str], new: str, random: Random) -> str:
    found = [match.span() for match in pattern.finditer(text[:200_000])]
    if not found:
        return text + new
    begin, end = random.choice(found[:20] if random.random() < 0.3 else found)
    return text[:begin] + new + text[end:]
