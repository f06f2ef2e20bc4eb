"""Aligned sentences of a recording: which are kept, where the recording is cut, and those that are too long."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from slam_plugin.recordings.transcript import Segment, Transcript, Word

# With a weak recognizer (91 % word errors), 92 of 100 sentences have more; of a transcript of another recording, 2.
DEFAULT_MIN_CONFIDENCE = 0.15
# If fewer of the sentences are aligned well, the transcript is that of another recording.
MIN_KEPT = 0.1


class Sentence(NamedTuple):
    """A sentence of a transcript in the recording.

    Attributes:
        number: in the transcript, from 1.
        text: as the transcript has it.
        start: in seconds, as ``end``: of the first and last word.
        confidence: in [0, 1]: how likely it is per unit, beside what the model would write; 0 if it knows no unit.
        words: as the transcript has them. Neighboring words that the model does not know are one.
        begin: in seconds, as ``finish``: what is cut out of the recording.
    """

    number: int
    text: str
    start: float
    end: float
    confidence: float
    words: tuple[Word, ...]
    begin: float
    finish: float

    def record(self) -> dict:
        """Return the sentence as JSON has it."""
        segment = Segment(self.start, self.end, self.text, 0.0, self.confidence, self.words)
        return {"number": self.number, **segment.record()}


class Alignment(NamedTuple):
    """The sentences of a transcript in order, with the duration of the recording in seconds."""

    duration: float
    sentences: tuple[Sentence, ...]

    def kept(self, min_confidence: float = DEFAULT_MIN_CONFIDENCE) -> tuple[Sentence, ...]:
        """Return the sentences that are aligned at least so well."""
        return tuple(sentence for sentence in self.sentences if sentence.confidence >= min_confidence)

    def transcript(self, min_confidence: float = DEFAULT_MIN_CONFIDENCE) -> Transcript:
        """Return the sentences that are kept as segments with words, as subtitles are written of."""
        segments = [
            Segment(kept.start, kept.end, kept.text, 0.0, kept.confidence, kept.words)
            for kept in self.kept(min_confidence)
        ]
        return Transcript(self.duration, tuple(segments), 0.0, len(segments))


def split_long(sentences: Iterable[Sentence], max_seconds: float) -> Iterator[Sentence]:
    """Yield the sentences, those of more than ``max_seconds`` in parts that are cut at their longest pauses.

    A part has the number and the confidence of its sentence. Without two words it stays whole.
    """
    for sentence in sentences:
        words = sentence.words
        if sentence.end - sentence.start <= max_seconds or len(words) < 2:
            yield sentence
            continue
        place = _longest_pause(words)
        yield from split_long((_part(sentence, words[:place]), _part(sentence, words[place:])), max_seconds)


def _longest_pause(words: Sequence[Word]) -> int:
    """Return the number of words before the longest pause in the middle half of the time, or next to its middle."""
    start, seconds = words[0].start, words[-1].end - words[0].start
    places = range(1, len(words))
    inner = [place for place in places if 0.25 <= (words[place].start - start) / max(seconds, 1e-9) <= 0.75]
    middle = start + seconds / 2
    return max(
        inner or places,
        key=lambda place: (words[place].start - words[place - 1].end, -abs(words[place].start - middle)),
    )


def _part(sentence: Sentence, words: tuple[Word, ...]) -> Sentence:
    text = " ".join(word.text for word in words)
    return sentence._replace(text=text, start=words[0].start, end=words[-1].end, words=words)
