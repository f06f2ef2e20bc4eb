"""Train a SentencePiece model and write the fairseq dictionary that goes with it.

    slam vocab [--text FILE...] [--manifests TSV... [--column tgt_text]] --out FOLDER --size N
        --model-type unigram|char [--sample N] [--byte-fallback] [--languages de ca ar tr]

``FOLDER/spm.model`` cuts text into pieces; ``FOLDER/dict.txt`` lists them, ``piece count`` a line, in the model's order
without its control symbols, then ``<mask> 0``. A count is how often the piece occurs in the text. fairseq puts its
own four symbols before them, so line k, from 0, has the id k + 4 in fairseq. The same text in the same order gives
the same bytes.

Of more than ``--sample`` sentences (default: a million) that many are drawn, each as likely as any other and always
the same ones; the model is made of these and the counts are theirs. Only they are held in memory.

The paper's vocabularies:

    of pre-training, text and transcripts    --size 32000 --text FILES --manifests TSV
    of translations                          --size 8000 --manifests TSV
    of recognition                           --size 1000 --manifests TSV

``--languages`` adds a tag for each language, ``<lang:de>``, before all pieces. A translation into it starts with its
tag, which is no part of any text: its count is 0, and text that spells it is refused. Text that spells it and is cut by
the model later would get the tag; text that :func:`data_prep.text.normalize.normalize` made never does.
"""

import argparse
import io
import random
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

import sentencepiece
from tqdm import tqdm

from slam_plugin.data.errors import DataError
from slam_plugin.data.files import atomic_write
from slam_plugin.data.manifests.manifest import Manifest
from slam_plugin.program import UsageError, positive, program

MODEL_TYPES = ("unigram", "char")
MASK = "<mask>"
LANGUAGE_TAG = "<lang:{}>"
SAMPLE = 1_000_000  # sentences: SentencePiece holds what it trains on in memory, and more than once

_QUIET_SECONDS = 5.0  # before progress is shown: most texts are done by then
_ROWS_AT_ONCE = 10_000
# SentencePiece silently passes over longer lines; its own limit of 4192 bytes would lose paragraphs.
_LONGEST_LINE_BYTES = 1 << 20
_LANGUAGE = re.compile(r"[A-Za-z][\w-]*")


def train_vocabulary(
    sentences: Iterable[str],
    out: str | Path,
    size: int,
    model_type: str = "unigram",
    byte_fallback: bool = False,
    split_digits: bool = False,
    languages: Sequence[str] = (),
    sample: int = SAMPLE,
) -> int:
    """Write ``spm.model`` and ``dict.txt`` into the folder ``out`` and return the number of symbols in ``dict.txt``.

    ``size`` is an upper bound, which small text does not reach. SentencePiece does not change the characters: text is
    normalized before (:mod:`data_prep.text.normalize`). ``byte_fallback`` adds 256 pieces, so that no character is
    unknown;
    ``split_digits`` makes each digit a piece of its own. ``languages`` get a tag each, which ``size`` includes. Of more
    than ``sample`` sentences, that many are drawn. Raises :class:`DataError` where there is no text, it spells a tag,
    or ``size`` is less than the number of characters.
    """
    tags = _tags(languages)
    used = draw(_without(tags, (sentence for sentence in sentences if sentence.strip())), sample)
    if not used:
        raise DataError(f"{out}: the text for the vocabulary holds no sentence")
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(used),
            model_writer=model,
            vocab_size=size,
            model_type=model_type,
            hard_vocab_limit=False,
            byte_fallback=byte_fallback,
            user_defined_symbols=tags,
            character_coverage=1.0,
            normalization_rule_name="identity",
            max_sentence_length=_LONGEST_LINE_BYTES,
            # More threads add up probabilities in another order.
            num_threads=1,
            minloglevel=2,
            # Named only where it is wanted: the model stores it, and models made before would get another hash.
            **({"split_digits": True} if split_digits else {}),
        )
    except (RuntimeError, OSError) as error:
        raise DataError(f"{out}: no vocabulary of {size} pieces from {len(used)} sentences: {error}") from error
    symbols = {**_count_pieces(model.getvalue(), used), MASK: 0}
    with atomic_write(Path(out, "spm.model"), "wb") as file:
        file.write(model.getvalue())
    with atomic_write(Path(out, "dict.txt")) as file:
        file.writelines(f"{symbol} {count}\n" for symbol, count in symbols.items())
    return len(symbols)


def draw(sentences: Iterable[str], most: int) -> list[str]:
    """All sentences, or ``most`` of them where there are more: each as likely as any other, in their order.

    Which ones depends on how many there are alone. Where some are left out, a line on stderr says how many.
    """
    # A stream whose numbers Python keeps from version to version.
    stream = random.Random(0)
    drawn: list[tuple[int, str]] = []
    seen = 0
    for sentence in tqdm(sentences, unit=" sentences", unit_scale=True, leave=False, delay=_QUIET_SECONDS):
        if seen < most:
            drawn.append((seen, sentence))
        elif (place := int(stream.random() * (seen + 1))) < most:
            drawn[place] = (seen, sentence)
        seen += 1
    if seen > most:
        print(f"{most:,} of {seen:,} sentences are drawn for the vocabulary", file=sys.stderr)
    return [sentence for _, sentence in sorted(drawn)]


def _tags(languages: Sequence[str]) -> list[str]:
    """The symbols of the languages."""
    wrong = [name for name in languages if not _LANGUAGE.fullmatch(name)]
    if wrong or len(set(languages)) < len(languages):
        raise DataError(f"found the languages {' '.join(languages)}, expected different names such as de or zh-CN")
    return [LANGUAGE_TAG.format(name) for name in languages]


def _without(tags: Sequence[str], sentences: Iterable[str]) -> Iterator[str]:
    """The sentences; :class:`DataError` with the first that spells a tag."""
    for sentence in sentences:
        spelled = next((tag for tag in tags if tag in sentence), None)
        if spelled:
            raise DataError(f"the text for the vocabulary spells the language tag {spelled}: {sentence!r}")
        yield sentence


def _count_pieces(model: bytes, sentences: Sequence[str]) -> dict[str, int]:
    """The pieces of a serialised model in its order, without unknown and control symbols, and how often each occurs.

    None of them can be a symbol of fairseq's own: SentencePiece lets no piece hold both a letter and a bracket.
    """
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    counts = [0] * processor.get_piece_size()
    for sentence in sentences:
        for piece in processor.encode(sentence, out_type=int):
            counts[piece] += 1
    used = (i for i in range(len(counts)) if not processor.is_unknown(i) and not processor.is_control(i))
    return {processor.id_to_piece(i): counts[i] for i in used}


def _lines(files: Sequence[Path]) -> Iterator[str]:
    for path in files:
        with path.open(encoding="utf-8-sig") as file:
            for line in file:
                yield line.rstrip("\r\n")


def _texts(manifests: Sequence[Path], column: str) -> Iterator[str]:
    """A column of manifests, a few rows of it in memory at a time."""
    for path in manifests:
        for batch in Manifest.open(path).batches_of(column):
            for begin in range(0, len(batch), _ROWS_AT_ONCE):
                yield from batch[begin : begin + _ROWS_AT_ONCE].to_pylist()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    parser.add_argument("--text", nargs="+", type=Path, default=(), metavar="FILE", help="text, a sentence a line")
    parser.add_argument("--manifests", nargs="+", type=Path, default=(), metavar="TSV", help="texts of manifests")
    parser.add_argument("--column", default="tgt_text", metavar="NAME", help="of the manifests (default: tgt_text)")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="where dict.txt and spm.model are written"
    )
    parser.add_argument("--size", type=int, default=1000, help="at most this many pieces (default: 1000)")
    parser.add_argument("--model-type", choices=MODEL_TYPES, default="unigram")
    parser.add_argument(
        "--sample", type=positive, default=SAMPLE, metavar="N", help=f"at most this many sentences (default: {SAMPLE})"
    )
    parser.add_argument(
        "--byte-fallback", action="store_true", help="spell unknown characters in bytes (256 more pieces)"
    )
    parser.add_argument("--split-digits", action="store_true", help="make each digit a piece of its own")
    parser.add_argument(
        "--languages", nargs="+", default=(), metavar="NAME", help="target languages of one model: a tag for each"
    )


def run(options: argparse.Namespace) -> None:
    """Train on the specified files and print how many symbols there are."""
    if not options.text and not options.manifests:
        raise UsageError("expected --text, --manifests or both")
    count = train_vocabulary(
        chain(_lines(options.text), _texts(options.manifests, options.column)),
        options.out,
        options.size,
        options.model_type,
        options.byte_fallback,
        options.split_digits,
        options.languages,
        options.sample,
    )
    print(f"{count} symbols in {options.out / 'dict.txt'}")


main = program("slam vocab", __doc__, add_arguments, run)
