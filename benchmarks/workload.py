"""The paper's run in numbers: the model, the items of an update, a rank's micro-batches, the stages.

``benchmarks.scaling`` and ``benchmarks.estimate`` compute with them. A test compares them with the recipes.
"""

from typing import NamedTuple

from benchmarks import flops
from benchmarks.gpu.machine import PEAKS
from slam_plugin.data.padding import FRAMES_MULTIPLE_ON_GPU, padded_length

SIZE = "xl"
SIZES = flops.sizes_of(SIZE)._replace(code_dim=1024)  # w2v-BERT's codebook, as in the recipes
PARAMETERS = sum(flops.parameters(SIZES).values())
FIRST_STAGE, SECOND_STAGES = 500_000, (250_000, 500_000)  # updates
RANKS = 64
PEAK = PEAKS["H100"] * 1e12  # operations per second


class Part(NamedTuple):
    """The items of one kind in an update, and how a rank takes its share of them.

    ``quota`` is the number of micro-batches, ``budget`` the most frames (of 10 ms) in one, padding included.
    """

    name: str
    kind: str
    count: int
    states: int = 0
    tokens: int = 0
    quota: int = 1
    budget: int = 0

    @property
    def seconds(self) -> float:
        """The seconds of audio in an update."""
        return self.count * self.states / SIZES.states_per_second

    @property
    def items(self) -> int:
        """The items in a micro-batch of one of ``RANKS`` ranks."""
        return self.count // RANKS // self.quota

    @property
    def frames(self) -> int:
        """The frames of an item of a micro-batch, padded as the plan does on a GPU."""
        if not self.states:
            return 0
        spoken = self.states * SIZES.front_end.frames_per_state
        return padded_length([spoken] * self.items, FRAMES_MULTIPLE_ON_GPU, self.budget)

    def cost(self, passes: int = flops.TRAINING) -> float:
        """Return the operations of one item."""
        return sum(self.of_lengths(self.states, passes).values())

    def of_lengths(self, states: int, passes: int = flops.TRAINING) -> flops.Flops:
        """Return the operations of one item by part of the model, if its speech had ``states``."""
        if not self.tokens:
            return flops.speech(SIZES, states, passes=passes)
        if not states:
            return flops.text(SIZES, self.tokens, passes=passes)
        return flops.pair(SIZES, states, self.tokens, passes=passes)


SPEECH = Part("speech: 15 s", "speech", 2048, states=375, budget=48_000)
BLOCKS = Part("text: blocks of 512 tokens", "text", 8192, tokens=512, quota=2)
SENTENCES = Part("text: sentences of 25 tokens", "text", 8192, tokens=25)
PAIRS = Part("pairs: 12.3 s, 44 tokens", "pairs", 256, states=308, tokens=44, budget=5000)


def update(*parts: Part, passes: int = flops.TRAINING) -> float:
    """Return the operations of one update."""
    return sum(part.count * part.cost(passes) for part in parts)


def run(text: Part, second_stage: int) -> float:
    """Return the operations of both stages."""
    return (FIRST_STAGE + second_stage) * update(SPEECH, text) + second_stage * update(PAIRS)
