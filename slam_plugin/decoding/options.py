"""Defaults of searches, and options of CTC search with a language model, named as torchaudio's ``ctc_decoder`` does."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Optional

# Beam size by ability, if none is specified.
DEFAULT_BEAMS = {"transcribe": 1, "translate": 5, "normalize": 5}
# Found on the dev set of the English games, see docs/results.md.
DEFAULT_LM_WEIGHT = 1.0


@dataclass
class SearchFlags:
    """Options that are flags of commands and fields of a task. If any is set, flashlight-text searches."""

    lm: Optional[str] = field(
        default=None,
        metadata={
            "help": "n-gram language model, ARPA or binary of KenLM: of words with --lexicon, else of the model's units"
        },
    )
    lexicon: Optional[str] = field(
        default=None, metadata={"help": "words that may be written, one per line, each with its pieces or without"}
    )
    word_score: float = field(default=0.0, metadata={"help": "added to the log-probability for each word"})
    unk_score: Optional[float] = field(
        default=None,
        metadata={"help": "added for each word that is not in --lexicon (default: there are no such words)"},
    )
    hotwords: Optional[str] = field(
        default=None, metadata={"help": "file of words and phrases that are likelier than the model thinks, one a line"}
    )
    hotword_weight: float = field(default=5.0, metadata={"help": "added for each hotword"})
    beam_threshold: Optional[float] = field(
        default=None, metadata={"help": "drop hypotheses this much below the best (default: 50)"}
    )
    beam_size_token: Optional[int] = field(
        default=None, metadata={"help": "symbols of a frame that are tried, the likeliest ones (default: all)"}
    )


@dataclass
class SearchOptions(SearchFlags):
    """All options of the search.

    Attributes:
        lm_weight: factor of the language model's log10 probabilities; fairseq has a flag of that name.
    """

    lm_weight: float = DEFAULT_LM_WEIGHT


def options_of(flags: Any, lm_weight: float) -> SearchOptions | None:
    """Return the options that ``flags`` has as attributes, None if all are the defaults: then no flashlight is needed.

    Raises ValueError for flags that do not go together.
    """
    names = [each.name for each in dataclasses.fields(SearchFlags)]
    options = SearchOptions(**{name: getattr(flags, name) for name in names}, lm_weight=lm_weight)
    if SearchFlags(*(getattr(options, name) for name in names)) == SearchFlags():
        return None
    if options.lm is not None and not lm_weight > 0:
        raise ValueError(f"--lm-weight: found {lm_weight:g}, expected a number above 0 with --lm, such as 1")
    if options.unk_score is not None and options.lexicon is None:
        raise ValueError("--unk-score: found without --lexicon, expected both: it is the score of words outside of it")
    if options.beam_threshold is not None and not options.beam_threshold > 0:
        raise ValueError(f"--beam-threshold: found {options.beam_threshold:g}, expected a number above 0")
    if options.beam_size_token is not None and options.beam_size_token < 1:
        raise ValueError(f"--beam-size-token: found {options.beam_size_token}, expected at least 1")
    return options
