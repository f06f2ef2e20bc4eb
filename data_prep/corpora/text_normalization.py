"""Text normalization: Sproat and Jaitly's corpus, or your own pairs, as written and spoken English.

    slam prepare text-normalization --root en_train.csv --out data/normalization --vocab data --jobs 8

``--root`` is a file or a folder. Files are recognized by their names:

- ``en_train.csv`` of Kaggle's challenge, or any other ``.csv`` given as ``--root``: one quoted token per line, below
  the header ``"sentence_id","token_id","class","before","after"``;
- ``output-00000-of-00100`` and the other files of Google's release: one token per line (class, written form, spoken
  form, separated by tabs) and ``<eos>`` after each sentence. The spoken form ``<self>`` stands for the written one,
  ``sil`` for none; ``_letter`` after a spelled letter is left out;
- ``NAME.tsv``: one sentence per line, its written and its spoken form separated by a tab, without a header.

The output is ``train.written``, ``train.spoken`` and ``train.classes``, and the same for ``valid`` and ``test``, one
sentence per line. With ``--vocab``, the folder of the pre-training vocabulary, it is also a data folder of
``slam_translation`` (``-s written -t spoken``). One sentence in ``--parts`` is for validation and one for testing, by
the hash of the written form. So repetitions of a sentence, of which the first is kept, are in the same split.

The spoken form, and plain words of the written form, become lower-case words, like the text of pre-training. Tokens of
other classes keep their written form, in lower case (``due on 3 may 2012``); in pairs, so do all words with digits or
signs such as ``$``. Punctuation is left out on both sides. The class of a sentence is that of its tokens other than
``PLAIN`` and ``PUNCT``: ``plain`` if there are none, ``mixed`` if there are several classes. Pairs have no class; use
``plain`` if both sides are equal, otherwise ``changed``. A malformed line leaves out its sentence. Sentences with an
empty side or with more than 100 words on a side are left out.
"""

import argparse
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep.engine.command import preparation
from data_prep.engine.contents import contents_of
from data_prep.engine.splits import FAIRSEQ_SPLITS, SPLIT_NAMES, split_of
from data_prep.engine.units import Corpus, Dropped, Item, Noted, Output, Unit, lines
from data_prep.formats.lines import Stretch
from data_prep.text.normalization_files import (
    CHALLENGE,
    PAIRS,
    RELEASE,
    Pair,
    Token,
    Tokens,
    pairs_of,
    sentences_of,
    stretches_of,
)
from data_prep.text.normalize import join_clitics, normalize_english, tidy
from data_prep.text.parallel import FILES, PLAIN, binarize_parallel, of_pair
from data_prep.text.vocabulary_files import vocabulary_hash
from slam_plugin.data.errors import DataError

MIXED = "mixed"
MAX_WORDS = 100
_RELEASED = re.compile(r"output-\d+-of-\d+")
_CHALLENGE_FILE = "en_train.csv"
_LETTER = re.compile(r"_letter\b")
_SILENT, _SAME = "sil", "<self>"


@dataclass(frozen=True)
class TextNormalization(Corpus):
    """Files below ``root``, each with its kind. A unit is some sentences of one.

    Attributes:
        parts: one sentence in ``parts`` is for validation, and one for testing.
        symbols: the vocabulary's hash.
    """

    root: Path
    files: tuple[tuple[str, str], ...]
    parts: int = 100
    vocabulary: Path | None = None
    symbols: str | None = None

    # Small parts: normalizing the text takes much longer than reading it.
    part_bytes = 32 << 20

    @property
    def recipe(self) -> Mapping[str, Any]:
        return {
            **{"command": "text_normalization", "layout": 2, "root": str(self.root), "files": self.files},
            **{"parts": self.parts, "vocabulary": self.symbols},
        }

    def contents(self) -> str:
        return contents_of(*(self.root / name for name, _ in self.files))

    @property
    def outputs(self) -> Mapping[str, Output]:
        return {split: Output(tuple(f"{split}.{side}" for side in FILES), unique=True) for split in FAIRSEQ_SPLITS}

    def units(self) -> Iterator[Unit]:
        for name, kind in self.files:
            for stretch in stretches_of(self.root / name, kind):
                yield Unit(f"{name}:{stretch.line}", stretch.end - stretch.begin, (name, kind, *stretch))

    def read(self, unit: Unit) -> Iterator[Item | Dropped | Noted]:
        name, kind, *stretch = unit.data
        if kind == PAIRS:
            found = pairs_of(self.root / name, name, Stretch(*stretch))
        else:
            found = sentences_of(self.root / name, name, kind, Stretch(*stretch))
        for sentence in found:
            if isinstance(sentence, Dropped):
                yield sentence
                continue
            written, spoken, kind_of_sentence = of_pair(sentence) if isinstance(sentence, Pair) else of_tokens(sentence)
            fault = _fault(written, spoken)
            if fault:
                yield Dropped(f"{name}:{sentence.line}", fault)
            else:
                yield lines(SPLIT_NAMES[split_of(written, self.parts)], written, spoken, kind_of_sentence)

    def finish(self, folder: Path) -> None:
        if self.vocabulary is not None:
            binarize_parallel(folder, FAIRSEQ_SPLITS, self.vocabulary)


def of_tokens(sentence: Tokens) -> tuple[str, str, str]:
    """Return a sentence's written form, spoken form and class."""
    written, spoken = [], []
    for token in sentence.tokens:
        if token.kind != "PUNCT":
            written.append(_written(token))
            spoken.append(_spoken(token))
    kinds = {token.kind.lower() for token in sentence.tokens if token.kind not in ("PLAIN", "PUNCT")}
    kind = PLAIN if not kinds else kinds.pop() if len(kinds) == 1 else MIXED
    return " ".join(filter(None, written)), " ".join(filter(None, spoken)), kind


def _written(token: Token) -> str:
    text = join_clitics(token.written)
    return normalize_english(text) if token.kind == "PLAIN" else tidy(text).lower()


def _spoken(token: Token) -> str:
    if token.spoken == _SILENT:
        return ""
    return normalize_english(join_clitics(token.written if token.spoken == _SAME else _LETTER.sub("", token.spoken)))


def _fault(written: str, spoken: str) -> str | None:
    """Return why a sentence is left out, or None."""
    if not written or not spoken:
        return "has an empty side"
    if max(text.count(" ") + 1 for text in (written, spoken)) > MAX_WORDS:
        return f"has more than {MAX_WORDS} words"
    return None


def open_corpus(root: Path, vocabulary: str | Path | None = None, parts: int = 100) -> TextNormalization:
    """Return the corpus of the file ``root``, or of the files of the folder.

    Raises :class:`DataError` if there is no file, or the vocabulary cannot be used.
    """
    if parts < 3:
        raise DataError(
            f"--parts is {parts}, expected 3 or more: one for validation, one for testing, the rest to train"
        )
    whole = root.is_dir()
    found = tuple((path.name, kind) for path in _files(root) if (kind := _kind_of(path, whole)))
    if not found:
        raise DataError(f"{root}: found no {_CHALLENGE_FILE}, no file such as output-00000-of-00100, and no .tsv")
    symbols = vocabulary_hash(vocabulary)
    folder = root if whole else root.parent
    return TextNormalization(folder, found, parts, Path(vocabulary).absolute() if vocabulary else None, symbols)


def _files(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_file()) if root.is_dir() else [root]


def _kind_of(path: Path, in_folder: bool) -> str | None:
    """Return the format of a file, or None if it is not read: the challenge's folder holds other tables too."""
    if path.name == _CHALLENGE_FILE or (path.suffix == ".csv" and not in_folder):
        return CHALLENGE
    if _RELEASED.fullmatch(path.name):
        return RELEASE
    return PAIRS if path.suffix == ".tsv" else None


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--vocab",
        type=Path,
        metavar="FOLDER",
        help="holds dict.txt and spm.model; also make a data folder to fine-tune on",
    )
    parser.add_argument(
        "--parts",
        type=int,
        default=100,
        metavar="N",
        help="one sentence in N is for validation, one for testing (default: 100)",
    )


main = preparation(
    "text-normalization",
    __doc__,
    lambda arguments: open_corpus(arguments.root, arguments.vocab, arguments.parts),
    _add_arguments,
    root_help="en_train.csv, a file of the release, a table of pairs, or a folder of such files",
)
