"""The registered kinds of corpus."""

from slam_plugin.data.kinds.base import Corpus, Setting
from slam_plugin.data.kinds.pairs import PairsCorpus
from slam_plugin.data.kinds.speech import SpeechCorpus
from slam_plugin.data.kinds.text import TextCorpus

KINDS: dict[str, type[Corpus]] = {corpus.kind: corpus for corpus in (SpeechCorpus, TextCorpus, PairsCorpus)}

__all__ = ["KINDS", "Corpus", "Setting"]
