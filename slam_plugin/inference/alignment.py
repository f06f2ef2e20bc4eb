"""A transcript aligned with a recording of any length, by the posteriors of a CTC recognizer.

The tokens of all sentences are one sequence with a wildcard before, between and after the sentences. It stands for
speech that the transcript lacks. A word with a unit that the vocabulary lacks, such as a digit, is a wildcard too.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np

from slam_plugin.data.constants import MAX_SECONDS
from slam_plugin.data.errors import DataError
from slam_plugin.data.text.normalization import NORMALIZATIONS
from slam_plugin.decoding.alignment import TokenTime
from slam_plugin.decoding.long_alignment import align_long
from slam_plugin.inference.checkpoints import Checkpoint
from slam_plugin.inference.inputs import Speech, name_of
from slam_plugin.inference.posteriors import Posteriors, posteriors, require_ctc
from slam_plugin.inference.recordings import Cutting, Report
from slam_plugin.recordings.alignment import Alignment, Sentence, split_long
from slam_plugin.recordings.margins import with_margins
from slam_plugin.recordings.sentences import sentences_of
from slam_plugin.recordings.transcript import Word

MAX_UNKNOWN = 2.0  # s
_WILDCARD = -1  # in place of a symbol


class _Token(NamedTuple):
    """A symbol, or the wildcard, and the place of its sentence and word (-1 between sentences)."""

    symbol: int
    sentence: int
    word: int


class _Timed(NamedTuple):
    """A token with its states, and its times in seconds."""

    token: _Token
    time: TokenTime
    start: float
    end: float


def align(
    checkpoint: Checkpoint,
    source: Speech,
    text: str | Sequence[str],
    max_seconds: float = MAX_SECONDS,
    cutting: Cutting | None = None,
    report: Report = lambda what, name, share: None,
) -> Alignment:
    """Return the sentences of a transcript with their times in a recording of any length.

    Args:
        text: a plain transcript, or its sentences.
        max_seconds: longer sentences are split at their longest pauses.

    Raises :class:`DataError` if the checkpoint is no CTC recognizer, if the recording cannot be used, if the text has
    no words that the model knows, or if it has more units than the recording has states.

    Example::

        alignment = align(Slam.load("checkpoint_best.pt"), "talk.mp3", open("talk.txt").read())
        for sentence in alignment.kept():
            print(sentence.start, sentence.end, sentence.confidence, sentence.text)
    """
    require_ctc(checkpoint)
    name = name_of(source, 0)
    written = [tuple(one.split()) for one in (sentences_of(text) if isinstance(text, str) else text)]
    tokens = _tokens_of(checkpoint, written)
    known = sorted({token.symbol for token in tokens} - {_WILDCARD})
    if not known:
        raise DataError(f"{name}: its transcript has no words that the model's vocabulary knows")
    columns = {symbol: place for place, symbol in enumerate([checkpoint.model.blank, *known])}
    columns[_WILDCARD] = len(columns)
    with posteriors(checkpoint, source, [checkpoint.model.blank, *known], cutting, report) as found:
        try:
            times = align_long(found.log_probs, [columns[token.symbol] for token in tokens], blank=0)
        except ValueError as error:
            seconds = found.duration
            raise DataError(f"{name}: lasts {seconds:.1f} s, which is too short for its transcript ({error})") from None
        sentences = _sentences(written, tokens, times, found, columns)
    parts = list(split_long(sentences, max_seconds))
    cut = with_margins([(part.start, part.end) for part in parts], found.duration)
    placed = (part._replace(begin=begin, finish=end) for part, (begin, end) in zip(parts, cut, strict=True))
    return Alignment(found.duration, tuple(placed))


def _tokens_of(checkpoint: Checkpoint, sentences: Sequence[Sequence[str]]) -> list[_Token]:
    """Return the tokens of all sentences, with a wildcard between two of them unless one stands there already."""
    found = [_Token(_WILDCARD, -1, -1)]
    for number, words in enumerate(sentences):
        inner = _tokens_of_words(checkpoint, number, words)
        if not inner:
            continue
        if inner[0].symbol == _WILDCARD and found[-1].sentence == -1:
            found.pop()
        found += inner
        if inner[-1].symbol != _WILDCARD:
            found.append(_Token(_WILDCARD, -1, -1))
    return found


def _tokens_of_words(checkpoint: Checkpoint, sentence: int, words: Sequence[str]) -> list[_Token]:
    """Return the tokens of a sentence. Words without letters, such as dashes, have none."""
    normalize, vocabulary = NORMALIZATIONS[checkpoint.normalization], checkpoint.vocabulary
    unknown = vocabulary.dictionary.unk()
    found: list[_Token] = []
    for place, word in enumerate(words):
        symbols = vocabulary.encode(normalized).tolist() if (normalized := normalize(word)) else []
        if unknown not in symbols:
            found += [_Token(symbol, sentence, place) for symbol in symbols]
        elif not found or found[-1].symbol != _WILDCARD:
            found.append(_Token(_WILDCARD, sentence, place))
    return found if any(token.symbol != _WILDCARD for token in found) else []


def _sentences(
    written: Sequence[Sequence[str]],
    tokens: Sequence[_Token],
    times: Sequence[TokenTime],
    found: Posteriors,
    columns: Mapping[int, int],
) -> list[Sentence]:
    """Return all sentences with their times. One without tokens stands at the end of the one before."""
    groups: list[list[_Timed]] = [[] for _ in written]
    for token, time in zip(tokens, times, strict=True):
        if token.sentence >= 0:
            start, end = float(found.begins[time.begin]), float(found.ends[time.end - 1])
            groups[token.sentence].append(_Timed(token, time, start, end))
    sentences: list[Sentence] = []
    for number, (words, group) in enumerate(zip(written, groups, strict=True)):
        text = " ".join(words)
        if not group:
            end = sentences[-1].end if sentences else 0.0
            sentences.append(Sentence(number + 1, text, end, end, 0.0, (), end, end))
            continue
        timed = tuple(_words(words, group))
        start, end = timed[0].start, timed[-1].end
        sentences.append(Sentence(number + 1, text, start, end, _confidence(group, found, columns), timed, start, end))
    return sentences


def _confidence(group: Sequence[_Timed], found: Posteriors, columns: Mapping[int, int]) -> float:
    """Return how likely the path of a sentence is beside the likeliest path of its states, per token, in [0, 1].

    Unlike the mean posterior of the tokens, it falls if speech within the sentence is none of its tokens.
    """
    begin, end = group[0].time.begin, group[-1].time.end
    symbols = np.zeros(end - begin, dtype=np.int64)  # the blank
    for one in group:
        symbols[one.time.begin - begin : one.time.end - begin] = columns[one.token.symbol]
    log_probs = np.asarray(found.log_probs[begin:end], dtype=np.float64)
    lost = log_probs[:, -1] - log_probs[np.arange(end - begin), symbols]
    known = sum(one.token.symbol != _WILDCARD for one in group)
    return float(np.exp(-lost[symbols != columns[_WILDCARD]].sum() / known))


def _words(words: Sequence[str], group: Sequence[_Timed]) -> Iterator[Word]:
    """Yield the words of a sentence with their times. One without tokens belongs to the word before, or the next.

    Neighboring words that the model does not know are one. At the begin or the end of the sentence they last at most
    ``MAX_UNKNOWN`` seconds each, because their wildcard takes other speech there, too.
    """
    parts = [list(part) for _, part in groupby(group, lambda one: one.token.word)]
    begins = [0, *(part[0].token.word for part in parts[1:]), len(words)]
    for place, part in enumerate(parts):
        texts = words[begins[place] : begins[place + 1]]
        start, end = part[0].start, part[-1].end
        known = [one.time.confidence for one in part if one.token.symbol != _WILDCARD]
        if not known and place == 0:
            start = max(start, end - MAX_UNKNOWN * len(texts))
        if not known and place == len(parts) - 1:
            end = min(end, start + MAX_UNKNOWN * len(texts))
        yield Word(" ".join(texts), start, end, sum(known) / len(known) if known else 0.0)
