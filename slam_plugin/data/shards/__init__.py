"""The registered kinds of corpus."""

from slam_plugin.data.shards.base import Setting, Shard
from slam_plugin.data.shards.pairs import PairsShard
from slam_plugin.data.shards.speech import SpeechShard
from slam_plugin.data.shards.text import TextShard
from slam_plugin.data.shards.translation import SpeechTranslationShard, TextTranslationShard

# for pre-training
KINDS: dict[str, type[Shard]] = {corpus.kind: corpus for corpus in (SpeechShard, TextShard, PairsShard)}
# for joint fine-tuning on speech and text
TRANSLATION_KINDS: dict[str, type[Shard]] = {
    corpus.kind: corpus for corpus in (SpeechTranslationShard, TextTranslationShard)
}

__all__ = ["KINDS", "TRANSLATION_KINDS", "Shard", "Setting"]
