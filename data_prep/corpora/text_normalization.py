"""Text normalisation: the corpus of Sproat and Jaitly, or pairs of one's own, to written and spoken English sentences.

    slam prepare text-normalization --root FILE|DIR --out DIR [--vocab FOLDER] [--parts N]
        [--jobs N] [--shard I/N | --merge]

Read are, by their names, the file of ``--root`` or those of a folder:

- ``en_train.csv`` of Kaggle's challenge, or any other ``.csv`` given as ``--root``: a token a line, with quotes, below
  the header ``"sentence_id","token_id","class","before","after"``;
- ``output-00000-of-00100`` and the other files of Google's release: a token a line, class, written and spoken form
  between tabs, and ``<eos>`` behind each sentence. The spoken form may be ``<self>``, which is the written one, or
  ``sil``, which is none; ``_letter`` behind a letter that is spelled is left out;
- ``NAME.tsv``: a sentence a line, the written and the spoken one with a tab between, without a header.

``OUT`` gets ``train.written``, ``train.spoken`` and ``train.classes``, and the same of ``valid`` and ``test``, a
sentence a line. With ``--vocab``, the folder of the pre-training vocabulary, the folder is one for ``slam_translation``
as well (``-s written -t spoken``). One sentence of N (100) is of ``valid`` and one is of ``test``, by the hash of what
is written, so that a sentence and its repetitions, of which the first is kept, are in one split.

What is said, and what is written of plain words, become lower-case words, as the text of pre-training. Tokens of other
classes stand as they are written, in lower case (``due on 3 may 2012``), and in pairs all words with digits or signs
such as ``$`` do; punctuation is left out on both sides. The class of a sentence is that of its tokens that are neither
``PLAIN`` nor ``PUNCT``: ``plain`` without any, ``mixed`` where they are of several classes. Of pairs nobody says a
class: it is ``plain`` where both sides are alike, else ``changed``. A line that is no token leaves out its sentence;
sentences with an empty side or one of more than 100 words are left out.
"""

import argparse
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep.engine.command import preparation
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
from slam_plugin.data.errors import DataError
from slam_plugin.data.text.vocabulary import Vocabulary

MIXED = "mixed"
MAX_WORDS = 100
_RELEASED = re.compile(r"output-\d+-of-\d+")
_CHALLENGE_FILE = "en_train.csv"
_LETTER = re.compile(r"_letter\b")
_SILENT, _SAME = "sil", "<self>"


@dataclass(frozen=True)
class TextNormalization(Corpus):
    """Files below ``root``, each with its kind; a unit is some sentences of one.

    Attributes:
        parts: one sentence in so many is to validate, and one to test.
        symbols: the hash of the vocabulary's content.
    """

    root: Path
    files: tuple[tuple[str, str], ...]
    parts: int = 100
    vocabulary: Path | None = None
    symbols: str | None = None

    # Little is read, and cutting it into words takes long.
    part_bytes = 32 << 20

    @property
    def recipe(self) -> Mapping[str, Any]:
        return {
            **{"command": "text_normalization", "layout": 1, "root": str(self.root), "files": self.files},
            **{"parts": self.parts, "vocabulary": self.symbols},
        }

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
        for each in found:
            if isinstance(each, Dropped):
                yield each
                continue
            written, spoken, kind_of_sentence = of_pair(each) if isinstance(each, Pair) else of_tokens(each)
            fault = _fault(written, spoken)
            if fault:
                yield Dropped(f"{name}:{each.line}", fault)
            else:
                yield lines(SPLIT_NAMES[split_of(written, self.parts)], written, spoken, kind_of_sentence)

    def finish(self, folder: Path) -> None:
        if self.vocabulary is not None:
            binarize_parallel(folder, FAIRSEQ_SPLITS, self.vocabulary)


def of_tokens(sentence: Tokens) -> tuple[str, str, str]:
    """A sentence as it is written, as it is said, and its class."""
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
    """Why a sentence is not used."""
    if not written or not spoken:
        return "has an empty side"
    if max(text.count(" ") + 1 for text in (written, spoken)) > MAX_WORDS:
        return f"is of more than {MAX_WORDS} words"
    return None


def open_corpus(root: Path, vocabulary: str | Path | None = None, parts: int = 100) -> TextNormalization:
    """The file ``root``, or the files of the folder.

    Raises :class:`DataError` where there is none, or the vocabulary cannot be used.
    """
    if parts < 3:
        raise DataError(f"--parts is {parts}, expected 3 or more: one to validate, one to test, the others to train")
    whole = root.is_dir()
    found = tuple((path.name, kind) for path in _files(root) if (kind := _kind_of(path, whole)))
    if not found:
        raise DataError(f"{root}: found no {_CHALLENGE_FILE}, no output-00000-of-00100 or the like, and no .tsv")
    symbols = Vocabulary.load(vocabulary).hash if vocabulary else None
    folder = root if whole else root.parent
    return TextNormalization(folder, found, parts, Path(vocabulary).absolute() if vocabulary else None, symbols)


def _files(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_file()) if root.is_dir() else [root]


def _kind_of(path: Path, in_folder: bool) -> str | None:
    """What a file holds, None of one that is not read: the challenge's folder holds other tables as well."""
    if path.name == _CHALLENGE_FILE or (path.suffix == ".csv" and not in_folder):
        return CHALLENGE
    if _RELEASED.fullmatch(path.name):
        return RELEASE
    return PAIRS if path.suffix == ".tsv" else None


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--vocab", type=Path, metavar="FOLDER", help="holds dict.txt and spm.model; make a folder to fine-tune on"
    )
    parser.add_argument(
        "--parts", type=int, default=100, metavar="N", help="one sentence of N validates, one tests (default: 100)"
    )


main = preparation(
    "text-normalization",
    __doc__,
    lambda arguments: open_corpus(arguments.root, arguments.vocab, arguments.parts),
    _add_arguments,
    root_help="en_train.csv, a file of the release, a table of pairs, or a folder of such files",
)
