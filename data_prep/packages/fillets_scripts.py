"""Scripts of the game Fish Fillets: calls of Lua with the lines of a level, in one language.

``dialogId("ID", "FONT", "English text")`` is followed by ``dialogStr("text")``. Every language's file
has the English text. FONT names the character who speaks.
"""

import re
from pathlib import Path
from typing import NamedTuple

from slam_plugin.data.errors import DataError

# Dialogues that levels share: the folder of the sound and the prefixes of its scripts, as in the game's code.
_SHARED = {"share/blackjokes": ("black_",), "share/borejokes": ("bore_",), "share/border": ("border_", "shout_")}

_TOKEN = re.compile(
    r"""(?P<space>\s+)
    |(?P<comment>--(?:\[\[.*?\]\]|[^\n]*))
    |(?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
    |(?P<name>[A-Za-z_]\w*)
    |(?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
# Lua's strings are bytes: three digits of an escape are a byte of UTF-8, not a character.
_ESCAPE = re.compile(rb"\\(?:(?P<code>\d{1,3})|(?P<char>.))", re.DOTALL)
_ESCAPED = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"a": b"\a", b"b": b"\b", b"f": b"\f", b"v": b"\v"}


class Line(NamedTuple):
    """A line of one character.

    Attributes:
        name: of its sound file, without the ending.
    """

    name: str
    speaker: str
    english: str
    text: str


def read_level(game: Path, level: str, language: str) -> dict[str, Line]:
    """Return all lines of a level in one language by name. Of a name that occurs again, the last line.

    ``game`` is the game's folder. Raises :class:`DataError` if a script is not UTF-8 or cannot be parsed.
    """
    if level in _SHARED:
        files = [game / f"script/share/{prefix}dialogs_{language}.lua" for prefix in _SHARED[level]]
    else:
        files = sorted(game.glob(f"script/{level}/*dialogs_{language}.lua"))
    lines: dict[str, Line] = {}
    for file in files:
        if not file.is_file():
            continue
        try:
            source = file.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise DataError(f"{file}: expected UTF-8 ({error.reason} at byte {error.start})") from error
        lines.update((line.name, line) for line in parse_dialogue(source, str(file)))
    return lines


def parse_dialogue(source: str, name: str) -> list[Line]:
    """Return the lines of a Lua script in the order of the file. ``name`` is for errors.

    Calls whose arguments are not all string constants are skipped, as is a dialogId that no dialogStr follows.
    """
    tokens = [match for match in _TOKEN.finditer(source) if match.lastgroup not in ("space", "comment")]
    lines: list[Line] = []
    opened: list[str] | None = None
    for position, token in enumerate(tokens):
        if token[0] == '"' or token[0] == "'":
            raise DataError(f"{name}:{source.count(chr(10), 0, token.start()) + 1}: a string without an end")
        if token[0] == "dialogId":
            opened = _constants(tokens, position + 1, 3, name)
        elif token[0] == "dialogStr":
            text = _constants(tokens, position + 1, 1, name)
            if opened and text:
                lines.append(Line(*opened, *text))
            opened = None
    return lines


def _constants(tokens: list[re.Match[str]], begin: int, count: int, name: str) -> list[str] | None:
    """Return the arguments of the call at ``tokens[begin]`` if they are ``count`` string constants, else None."""
    arguments = tokens[begin : begin + 2 * count + 1]
    marks = [token[0] for token in arguments[::2]]
    strings = arguments[1::2]
    if marks != ["(", *[","] * (count - 1), ")"] or any(token.lastgroup != "string" for token in strings):
        return None
    try:
        return [_ESCAPE.sub(_unescape, token[0][1:-1].encode()).decode() for token in strings]
    except ValueError as error:
        raise DataError(f"{name}: escapes that are no UTF-8 in one of {[token[0] for token in strings]}") from error


def _unescape(escape: re.Match[bytes]) -> bytes:
    if escape["code"]:
        return bytes([int(escape["code"])])
    return _ESCAPED.get(escape["char"], escape["char"])
