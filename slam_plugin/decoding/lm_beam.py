"""CTC prefix beam search by flashlight-text (Kahn et al. 2022), with an n-gram model, a lexicon and hotwords.

Imports flashlight-text, the extra ``lm``.
"""

from collections.abc import Collection, Sequence

import numpy as np
from flashlight.lib.text.decoder import CriterionType, LexiconFreeDecoder, LexiconFreeDecoderOptions, ZeroLM

from slam_plugin.decoding.base import AlignmentHypothesis
from slam_plugin.decoding.hotwords import Hotwords, read_hotwords
from slam_plugin.decoding.language_model import Ngrams, TextModel, word_scores
from slam_plugin.decoding.lexicon import read_lexicon
from slam_plugin.decoding.options import SearchOptions

DEFAULT_THRESHOLD = 50.0  # as in torchaudio


class LmBeam:
    """The search of :func:`slam_plugin.decoding.ctc.prefix_beam`, with what ``options`` adds to the score.

    The score of a hypothesis is its log-probability over all paths, plus ``lm_weight`` times the language model's log10
    probability, plus the scores of its words and hotwords. flashlight keeps a hypothesis that ends in a blank beside
    the same one that does not: its beam of 2 * n is about one of n there.

    Args:
        symbols: the model's symbols by id.
        blank: id of the blank.
        forbidden: ids that are never output.
        beam: hypotheses kept.

    Raises :class:`DataError` for files that cannot be used.

    Example::

        search = LmBeam(dictionary.symbols, blank, [pad, eos], 100, SearchOptions(lm="4gram.arpa", lexicon="words"))
        best = search(log_probs)[0]
    """

    def __init__(
        self, symbols: Sequence[str], blank: int, forbidden: Collection[int], beam: int, options: SearchOptions
    ) -> None:
        self._allowed = np.array([i for i in range(len(symbols)) if i not in forbidden])
        self._blank = int(np.flatnonzero(self._allowed == blank)[0])
        names = [symbols[i] for i in self._allowed]
        model, weight = _language_model(names, options)
        settings = LexiconFreeDecoderOptions(
            beam_size=beam,
            beam_size_token=options.beam_size_token or len(names),
            beam_threshold=options.beam_threshold or DEFAULT_THRESHOLD,
            lm_weight=weight,
            sil_score=0.0,
            log_add=True,
            criterion_type=CriterionType.CTC,
        )
        self._model = model  # flashlight does not keep it alive
        # The blank as the symbol of silence, which only marks the first and the last place of a path.
        self._decoder = LexiconFreeDecoder(settings, model, self._blank, self._blank, [])

    def __call__(self, log_probs: np.ndarray) -> list[AlignmentHypothesis]:
        """Return the hypotheses, best first: at most as many as the beam, at least one.

        Args:
            log_probs: (frames, symbols). Raises ValueError if one is NaN.
        """
        emissions = np.ascontiguousarray(log_probs[:, self._allowed], dtype=np.float32)
        if np.isnan(emissions).any():
            raise ValueError("log_probs: found NaN, expected log-probabilities")
        found = self._decoder.decode(emissions.ctypes.data, *emissions.shape)
        return [self._hypothesis(np.array(result.tokens[1:-1], dtype=np.int64), result, emissions) for result in found]

    def _hypothesis(self, path: np.ndarray, result: object, emissions: np.ndarray) -> AlignmentHypothesis:
        """Return a hypothesis with the frames where its likeliest path (frames,) begins each token."""
        begins = np.flatnonzero((path != self._blank) & (np.diff(path, prepend=self._blank) != 0))
        tokens = path[begins]
        return AlignmentHypothesis(
            tuple(self._allowed[tokens].tolist()),
            result.score,
            tuple(emissions[begins, tokens].tolist()),
            tuple(begins.tolist()),
        )


def _language_model(symbols: Sequence[str], options: SearchOptions) -> tuple[object, float]:
    """Return flashlight's model and the factor of its scores."""
    lexicon = None if options.lexicon is None else read_lexicon(options.lexicon)
    units = Ngrams(options.lm, symbols, "units").model if options.lm and lexicon is None else None
    words = hotwords = None
    if lexicon is not None or options.word_score:
        of_words = options.lm if lexicon is not None else None
        words = word_scores(lexicon, of_words, options.lm_weight, options.word_score, options.unk_score)
    if options.hotwords is not None:
        hotwords = Hotwords(read_hotwords(options.hotwords), options.hotword_weight)
    if words is None and hotwords is None:
        return (ZeroLM(), 0.0) if units is None else (units, options.lm_weight)
    return TextModel(symbols, None if units is None else (units, options.lm_weight), words, hotwords), 1.0
