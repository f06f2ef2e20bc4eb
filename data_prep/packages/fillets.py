"""Czech dialogue: the speech, transcripts and translations of the game Fish Fillets (Debian fillets-ng-data, -data-cs).

    slam prepare fillets --tree TREE --out FOLDER [--target en|de|sv|ru|pl|it|fr|es] [--cased]

writes manifests of the sound files for every use: ``speech/{train,valid}.tsv`` (all speech, unlabelled too),
``pairs/{train,valid}.tsv`` and ``asr/{train,dev,test}.tsv`` (transcripts), ``st/{train,dev,test}.tsv`` (translations).

The publisher's layout under ``usr/share/games/fillets-ng``: ``script/LEVEL/dialogs_cs.lua`` (and files with a prefix,
such as ``demo_dialogs_cs.lua``) holds ``dialogId("ID", "FONT", "English text")`` followed by ``dialogStr("Czech
text")``; ``sound/LEVEL/cs/ID.ogg`` is the speech. The English stands in every language's file. FONT names the
character who speaks.
"""

import argparse
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import soundfile

from data_prep.engine.splits import split_of
from data_prep.packages.command import left_out, writing
from data_prep.text.normalize import CZECH_LETTERS, foreign_letters, is_spelled_out, normalize, tidy
from slam_plugin.data.audio import frames_in
from slam_plugin.data.constants import SAMPLE_RATE
from slam_plugin.data.errors import DataError
from slam_plugin.data.manifests.manifest import write_manifest

GAME = Path("usr/share/games/fillets-ng")
TARGETS = ("en", "de", "sv", "ru", "pl", "it", "fr", "es")
_DEV = {"train": "train", "valid": "dev"}
_ALL = {"train": "train", "dev": "dev", "test": "test"}
# The manifests of each use, and the split that each of them holds.
_SPLITS = {"speech": _DEV, "pairs": _DEV, "asr": _ALL, "st": _ALL}
USES = tuple(_SPLITS)
# A tenth of the levels is held out for each evaluation.
LEVEL_PARTS = 10
SHORTEST, LONGEST = 0.5, 15.0
SLOWEST, FASTEST = 3.0, 30.0

# Dialogues that levels share: the sound's folder and the prefixes of its scripts, as the game's own code pairs them.
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
    """What one character says in one place of the game."""

    name: str
    speaker: str
    english: str
    text: str


class Utterance(NamedTuple):
    """One sound file; ``transcript`` is normalised and None where the speech is to be used unlabelled.

    ``translation`` is None where the target language lacks this line.
    """

    id: str
    audio: Path
    seconds: float
    frames: int
    split: str
    speaker: str
    transcript: str | None
    translation: str | None


class Dialogue(NamedTuple):
    """All utterances that are kept, sorted by id, and why others are not (or are kept without their text)."""

    utterances: list[Utterance]
    dropped: Counter[str]


def read_corpus(tree: str | Path, target: str = "en", cased: bool = False) -> Dialogue:
    """Read and clean the corpus that lies under ``tree``, the unpacked packages.

    ``cased`` keeps case and punctuation of the translations. Raises :class:`DataError` where the tree lacks the game's
    sound or scripts, or a script cannot be parsed.
    """
    game = Path(tree, GAME)
    folders = sorted(game.glob("sound/**/cs"))
    if not folders or not (game / "script").is_dir():
        raise DataError(
            f"{game}: expected script/LEVEL/dialogs_cs.lua and sound/LEVEL/cs/ID.ogg, found no such folders"
        )
    dropped: Counter[str] = Counter()
    utterances = []
    for folder in folders:
        level = folder.parent.relative_to(game / "sound").as_posix()
        spoken = _dialogue(game, level, "cs")
        translated = spoken if target == "en" else _dialogue(game, level, target)
        for audio in sorted(folder.glob("*.ogg")):
            line, other = spoken.get(audio.stem), translated.get(audio.stem)
            translation = other and (other.english if target == "en" else other.text)
            utterance = _utterance(audio, level, line, translation, cased, dropped)
            if utterance:
                utterances.append(utterance)
        dropped["subtitle without sound"] += len(spoken.keys() - {audio.stem for audio in folder.glob("*.ogg")})
    return Dialogue(sorted(_without_leaks(utterances, dropped)), dropped)


def parse_dialogue(source: str, name: str) -> list[Line]:
    """Lines of a Lua script in the order of the file; ``name`` is for errors.

    Calls whose arguments are not all string constants are passed over, as is a dialogId that no dialogStr follows.
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
    """The ``count`` string constants of the argument list that begins at ``tokens[begin]``, None for any other list."""
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


def _dialogue(game: Path, level: str, language: str) -> dict[str, Line]:
    """All lines of a level in one language by their name; of a name that occurs again the last counts."""
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


def _utterance(
    audio: Path, level: str, line: Line | None, translation: str | None, cased: bool, dropped: Counter[str]
) -> Utterance | None:
    """The utterance of one sound file; None, and counted, where the sound is of no use."""
    try:
        sound = soundfile.info(audio)
    except soundfile.SoundFileError as error:
        raise DataError(f"{audio}: cannot be read as sound ({error})") from error
    samples, rate = sound.frames, sound.samplerate
    seconds = samples / rate
    if not SHORTEST <= seconds <= LONGEST:
        dropped[f"sound shorter than {SHORTEST:g} s or longer than {LONGEST:g} s"] += 1
        return None
    fault = _text_fault(line, seconds)
    if fault:
        dropped[f"text not used: {fault}"] += 1
    usable = line is not None and not fault
    if usable and translation and not normalize(translation):
        translation = None
    return Utterance(
        id=f"{level.replace('/', '-')}-{audio.stem}",
        audio=audio,
        seconds=seconds,
        frames=frames_in(-(-samples * SAMPLE_RATE // rate)),
        split=split_of(level, LEVEL_PARTS),
        speaker=(line.speaker.removeprefix("font_") if line else "") or "unknown",
        transcript=normalize(line.text) if usable else None,
        translation=(tidy if cased else normalize)(translation) if usable and translation else None,
    )


def _text_fault(line: Line | None, seconds: float) -> str | None:
    """Why the transcript of a sound cannot be trusted to be what is said."""
    if line is None or not line.text.strip():
        return "no subtitle"
    if "%" in line.text or "%" in line.english:
        return "a placeholder"
    if "[" in line.text or "[" in line.english:
        return "a remark in brackets"
    text = normalize(line.text)
    if not is_spelled_out(text):
        return "digits or no letters"
    if foreign_letters(text, CZECH_LETTERS):
        return "letters that are not Czech"
    if not SLOWEST <= len(line.text) / seconds <= FASTEST:
        return f"fewer than {SLOWEST:g} or more than {FASTEST:g} characters a second"
    return None


def _without_leaks(utterances: list[Utterance], dropped: Counter[str]) -> Iterator[Utterance]:
    """Leave out what would let training see an evaluation sentence: its transcript in another split before it."""
    held_out = {each.transcript for each in utterances if each.split != "train"} - {None}
    for utterance in utterances:
        if utterance.split == "train" and utterance.transcript in held_out:
            dropped["train transcript that occurs in dev or test"] += 1
        else:
            yield utterance


def write_manifests(corpus: Dialogue, out: str | Path, target: str = "en", uses: Sequence[str] = USES) -> None:
    """Write the manifests of the uses below ``out``; their audio is the sound files, relative to each manifest."""
    for use in uses:
        for name, split in _SPLITS[use].items():
            path = Path(out, use, f"{name}.tsv")
            _write(path, _rows(corpus, use, split, target, path.parent))


def write_translations(corpora: Mapping[str, Dialogue], out: str | Path) -> None:
    """Write ``st/{train,dev,test}.tsv`` below ``out``, of the corpus read with each target language.

    An utterance has a row for each language that it is translated into, and ``-LANGUAGE`` at the end of its id.
    """
    for name, split in _SPLITS["st"].items():
        path = Path(out, "st", f"{name}.tsv")
        rows = [
            row | {"id": f"{row['id']}-{target}"}
            for target, corpus in corpora.items()
            for row in _rows(corpus, "st", split, target, path.parent)
        ]
        _write(path, sorted(rows, key=lambda row: row["id"]))


def _write(path: Path, rows: Sequence[dict[str, str | int]]) -> None:
    if not rows:
        raise DataError(f"{path}: the corpus holds no utterance for this manifest")
    write_manifest(path, rows, list(rows[0]))


def _rows(corpus: Dialogue, use: str, split: str, target: str, folder: Path) -> list[dict[str, str | int]]:
    """The manifest rows of one split, of the utterances that have all texts."""
    rows = (_row(each, use, target, folder) for each in corpus.utterances if each.split == split)
    return [row for row in rows if None not in row.values()]


def _row(utterance: Utterance, use: str, target: str, folder: Path) -> dict[str, str | int | None]:
    """The manifest row of an utterance; a text that it lacks is None."""
    row = {"id": utterance.id, "audio": os.path.relpath(utterance.audio, folder), "n_frames": utterance.frames}
    if use == "st":
        row |= {"tgt_text": utterance.translation, "src_text": utterance.transcript}
    elif use != "speech":
        row |= {"tgt_text": utterance.transcript}
    row |= {"speaker": utterance.speaker, "lang": "cs"}
    return row | {"tgt_lang": target} if use == "st" else row


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--target", choices=TARGETS, default="en", help="language of the translations (default: en)")
    parser.add_argument("--cased", action="store_true", help="keep case and punctuation of the translations")


def _write_all(arguments: argparse.Namespace) -> Iterator[str]:
    corpus = read_corpus(arguments.tree, arguments.target, arguments.cased)
    write_manifests(corpus, arguments.out, arguments.target)
    yield f"{len(corpus.utterances)} utterances, {sum(each.seconds for each in corpus.utterances) / 60:.1f} min"
    yield from left_out(corpus.dropped)


main = writing("fillets", __doc__, _write_all, _add_arguments)
