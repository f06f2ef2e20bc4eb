"""The registered kinds of corpus."""

from slam_plugin.data.kinds.base import Corpus, Setting
from slam_plugin.data.kinds.pairs import PairsCorpus
from slam_plugin.data.kinds.speech import SpeechCorpus
from slam_plugin.data.kinds.text import TextCorpus
from slam_plugin.data.kinds.translation import SpeechTranslationCorpus, TextTranslationCorpus

# of pre-training
KINDS: dict[str, type[Corpus]] = {corpus.kind: corpus for corpus in (SpeechCorpus, TextCorpus, PairsCorpus)}
# of fine-tuning on speech and text together
TRANSLATION_KINDS: dict[str, type[Corpus]] = {
    corpus.kind: corpus for corpus in (SpeechTranslationCorpus, TextTranslationCorpus)
}

__all__ = ["KINDS", "TRANSLATION_KINDS", "Corpus", "Setting"]
