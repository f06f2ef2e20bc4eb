"""The result for a recording: its text with the times of segments and words, and how sure the model is."""

from typing import Any, NamedTuple

_DIGITS = 3  # of times in seconds, and of confidences


class Word(NamedTuple):
    """A word, its times in seconds, and the model's confidence in [0, 1]."""

    text: str
    start: float
    end: float
    confidence: float


class Segment(NamedTuple):
    """The text of a piece of a recording.

    Attributes:
        start: in seconds, as ``end``: of the first and last word, or of the piece if there are no words.
        score: log-probability of the hypothesis, as the search gives it.
        confidence: in [0, 1]: the mean over words; without words, the geometric mean of the probabilities of tokens.
        words: empty if the model does not follow the speech in time.
    """

    start: float
    end: float
    text: str
    score: float
    confidence: float
    words: tuple[Word, ...] = ()

    def record(self) -> dict[str, Any]:
        """Return the segment as ``--format json`` writes it."""
        times = {"start": round(self.start, _DIGITS), "end": round(self.end, _DIGITS)}
        words = [
            {
                "word": word.text,
                "start": round(word.start, _DIGITS),
                "end": round(word.end, _DIGITS),
                "confidence": round(word.confidence, _DIGITS),
            }
            for word in self.words
        ]
        return {**times, "text": self.text, "confidence": round(self.confidence, _DIGITS), "words": words}


class Transcript(NamedTuple):
    """The text of a recording.

    Attributes:
        duration: in seconds.
        segments: without empty ones.
        score: log-probability of all pieces if the search gives that of a whole piece, else the mean over pieces.
        pieces: number of pieces that were decoded; 0 if no speech was found.
    """

    duration: float
    segments: tuple[Segment, ...]
    score: float
    pieces: int

    @property
    def text(self) -> str:
        """Return the texts of the segments with a blank between them."""
        return " ".join(segment.text for segment in self.segments)

    def record(self) -> dict[str, Any]:
        """Return the transcript as ``--format json`` writes it."""
        segments = [segment.record() for segment in self.segments]
        return {"duration": round(self.duration, _DIGITS), "text": self.text, "segments": segments}
