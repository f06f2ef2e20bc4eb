"""A decoded piece of a recording as a segment with words."""

import math
from collections.abc import Sequence

from slam_plugin.data.constants import FRAMES_PER_SECOND, SAMPLE_RATE
from slam_plugin.data.text.pieces import WORD_START
from slam_plugin.data.text.vocabulary import Vocabulary
from slam_plugin.decoding.alignment import TokenTime
from slam_plugin.inference.generation import Found
from slam_plugin.modules.front_end import FrontEnd
from slam_plugin.recordings.cutting import Piece
from slam_plugin.recordings.transcript import Segment, Word


def segment_of(found: Found, piece: Piece, vocabulary: Vocabulary, front_end: FrontEnd) -> Segment | None:
    """Return the segment of a hypothesis, None if it has no text.

    Its times are those of its first and last word, or of the speech in the piece if the tokens have no times.
    """
    text = vocabulary.decode(found.tokens)
    if not text:
        return None
    if found.times is None:
        start, end = (place / SAMPLE_RATE for place in piece.speech)
        return Segment(start, end, text, found.score, min(1.0, math.exp(found.score)))
    begin, end = (place / SAMPLE_RATE for place in piece.audio)
    seconds = front_end.frames_per_state / FRAMES_PER_SECOND
    words = _words(found.tokens.tolist(), found.times, vocabulary)
    # The last state may reach beyond the end.
    timed = [
        Word(text, min(begin + time.begin * seconds, end), min(begin + time.end * seconds, end), time.confidence)
        for text, time in words
    ]
    confidence = sum(word.confidence for word in timed) / len(timed)
    return Segment(timed[0].start, timed[-1].end, text, found.score, confidence, tuple(timed))


def _words(tokens: Sequence[int], times: Sequence[TokenTime], vocabulary: Vocabulary) -> list[tuple[str, TokenTime]]:
    """Return the words of a hypothesis with their times in states.

    A word lasts from the begin of its first token to the end of its last, and at most to the begin of the next word.
    Its confidence is the mean of its tokens'.
    """
    groups: list[list[int]] = []  # places of the tokens of each word
    for place, token in enumerate(tokens):
        if not groups or vocabulary.dictionary[token].startswith(WORD_START):
            groups.append([])
        groups[-1].append(place)
    found = []
    for group, following in zip(groups, [*groups[1:], None], strict=True):
        text = vocabulary.decode([tokens[place] for place in group])
        begin, end = times[group[0]].begin, times[group[-1]].end
        if following is not None:
            end = max(begin, min(end, times[following[0]].begin))
        if text:  # a piece may be a blank alone
            found.append((text, TokenTime(begin, end, sum(times[place].confidence for place in group) / len(group))))
    return found
