"""Estimates for the paper's run: the tables of ``docs/scaling.md``.

    python -m benchmarks.scaling

writes each table between the marks of its name in that page. All tables are computed from the constants here and from
``benchmarks.flops``. Only the memory of a position was measured.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks import flops
from benchmarks.gpu.machine import PEAKS
from benchmarks.markdown import table
from slam_plugin.data.constants import FRAMES_PER_SECOND, MEL_BINS, SAMPLE_RATE
from slam_plugin.data.files import atomic_write

PAGE = Path(__file__).resolve().parent.parent / "docs/scaling.md"

SIZES = flops.sizes_of("xl")._replace(code_dim=1024)  # w2v-BERT's codebook, as in the recipes
PARAMETERS = sum(flops.parameters(SIZES).values())
FIRST_STAGE, SECOND_STAGES = 500_000, (250_000, 500_000)  # updates
RANKS = 64
LIBRI_LIGHT_HOURS = 60_000
LIBRI_LM_WORDS, TOKENS_PER_WORD = 803e6, 1.3
PEAK = PEAKS["H100"] * 1e12
UTILIZATIONS, GOAL = (0.30, 0.45, 0.60), 0.45
DAY, HOUR = 86_400, 3600
GPU_MEMORY = 80e9
# Bytes of activations per position: ``benchmarks.memory`` at xl, in bf16, on utterances of 12 s, on a CPU.
KEPT, CHECKPOINTED = 1.95e6, 0.18e6
FP32, BF16 = 4, 2  # bytes
EXCHANGE_BUFFER = 2**28  # numbers, of fairseq's legacy_ddp
NVLINK, INFINIBAND = 450e9, 50e9  # bytes per second and direction for each GPU of an H100 node; 400 Gbit/s
NODE = 8  # GPUs
PCM, FLAC_SHARE = 2 * SAMPLE_RATE, 0.5  # bytes a second of 16-bit sound, what FLAC leaves of them


class Part(NamedTuple):
    """The items of one kind in an update."""

    name: str
    count: int
    states: int = 0
    tokens: int = 0

    @property
    def seconds(self) -> float:
        """The seconds of audio in an update."""
        return self.count * self.states / SIZES.states_per_second

    def cost(self, passes: int = flops.TRAINING) -> float:
        """Return the operations of one item."""
        if not self.tokens:
            parts = flops.speech(SIZES, self.states, passes=passes)
        elif not self.states:
            parts = flops.text(SIZES, self.tokens, passes=passes)
        else:
            parts = flops.pair(SIZES, self.states, self.tokens, passes=passes)
        return sum(parts.values())


SPEECH = Part("speech: 15 s", 2048, states=375)
BLOCKS = Part("text: blocks of 512 tokens", 8192, tokens=512)
SENTENCES = Part("text: sentences of 25 tokens", 8192, tokens=25)
PAIRS = Part("pairs: 12.3 s, 44 tokens", 256, states=308, tokens=44)


def update(*parts: Part, passes: int = flops.TRAINING) -> float:
    """Return the operations of one update."""
    return sum(part.count * part.cost(passes) for part in parts)


def run(text: Part, second_stage: int) -> float:
    """Return the operations of both stages."""
    return (FIRST_STAGE + second_stage) * update(SPEECH, text) + second_stage * update(PAIRS)


def arithmetic() -> str:
    """Return the table of the operations of each kind."""
    rows = [
        (
            part.name,
            f"{part.cost() / 1e12:.3f}",
            f"{part.cost() / 1e9 / (part.states / SIZES.states_per_second):.1f}" if part.states else "",
            f"{part.cost() / 1e9 / part.tokens:.2f}" if not part.states else "",
            f"{part.count:,}",
            f"{part.count * part.cost() / 1e15:.2f}",
        )
        for part in (SPEECH, BLOCKS, SENTENCES, PAIRS)
    ]
    head = ("", "TFLOP each", "GFLOP for a second of audio", "GFLOP for a token", "in an update", "PFLOP in an update")
    return table(head, rows)


def passes_over_data() -> str:
    """Return the table of passes over the corpora."""
    updates = FIRST_STAGE + SECOND_STAGES[1]
    speech = LIBRI_LIGHT_HOURS * HOUR / SPEECH.seconds
    rows = [(SPEECH.name, f"{SPEECH.seconds / HOUR:.1f} h", f"{speech:,.0f}", f"{updates / speech:,.0f}")]
    for text in (BLOCKS, SENTENCES):
        tokens = text.count * text.tokens
        one = LIBRI_LM_WORDS * TOKENS_PER_WORD / tokens
        rows.append((text.name, f"{tokens:,} tokens", f"{one:,.0f}", f"{updates / one:,.0f}"))
    return table(("", "in an update", "updates for one pass", f"passes in {updates:,} updates"), rows)


def days() -> str:
    """Return the table of GPU days of both stages, without the exchange of gradients."""
    rows = []
    for text in (BLOCKS, SENTENCES):
        for second in SECOND_STAGES:
            total = run(text, second)
            found = [total / (PEAK * share) / DAY for share in UTILIZATIONS]
            name = f"{text.name}; {FIRST_STAGE // 1000}k + {second // 1000}k updates"
            rows.append((name, f"{total / 1e21:.2f}", *(f"{day:,.0f} ({day / RANKS:.1f})" for day in found)))
    shares = (f"H100 days at {100 * share:.0f} % (days on {RANKS})" for share in UTILIZATIONS)
    return table(("", "10^21 operations", *shares), rows)


def state_bytes() -> dict[str, float]:
    """Return the bytes on each GPU besides activations."""
    return {
        "weights, fp32": FP32 * PARAMETERS,
        "gradients, fp32": FP32 * PARAMETERS,
        "AdamW's two means, fp32": 2 * FP32 * PARAMETERS,
        "bf16 copies of the weights, during a pass": BF16 * PARAMETERS,
        "fairseq's buffer of the exchange": FP32 * EXCHANGE_BUFFER,
    }


def memory() -> str:
    """Return the table of one GPU's memory with the recipe's budgets, and of what would fit."""
    state = sum(state_bytes().values())
    states = SPEECH.count // RANKS * SPEECH.states
    more = update(SPEECH, BLOCKS, PAIRS, passes=flops.RECOMPUTED) / update(SPEECH, BLOCKS, PAIRS)
    rows = [(name, f"{size / 1e9:.2f} GB", f"{size / 1e9:.2f} GB") for name, size in state_bytes().items()]
    ways = (KEPT, CHECKPOINTED)
    rows += [
        ("**sum**", *[f"**{state / 1e9:.1f} GB**"] * 2),
        ("activations of a position (measured)", *(f"{size / 1e6:.2f} MB" for size in ways)),
        (f"{SPEECH.count // RANKS} utterances of 15 s", *(f"{states * size / 1e9:.1f} GB" for size in ways)),
        ("positions beside the sum in 80 GB", *(f"{(GPU_MEMORY - state) / size:,.0f}" for size in ways)),
        ("arithmetic", "1.00", f"{more:.2f}"),
    ]
    return table(("on each GPU", "all activations kept", "--checkpoint-activations"), rows)


def network() -> str:
    """Return the table of the exchange of gradients and the arithmetic of an update, by number of GPUs."""
    work, updates = update(SPEECH, BLOCKS, PAIRS), FIRST_STAGE + SECOND_STAGES[1]
    rows = []
    for ranks in (8, 16, 32, 64, 128):
        speed = ranks * PEAK * GOAL
        seconds = work / speed
        sent = 2 * (ranks - 1) / ranks * FP32 * PARAMETERS
        exchange = sent / (NVLINK if ranks <= NODE else INFINIBAND)
        rows.append(
            (
                f"{ranks}",
                f"{seconds:.2f} s",
                f"{sent / 1e9:.2f} GB",
                f"{exchange * 1e3:.0f} ms",
                f"{100 * exchange / (seconds + exchange):.0f} %",
                f"{(run(BLOCKS, SECOND_STAGES[1]) / speed + updates * exchange) / DAY:.1f}",
            )
        )
    head = (
        "GPUs",
        "arithmetic of an update",
        "sent by each GPU",
        "exchange",
        "its share",
        f"days for {updates:,} updates",
    )
    return table(head, rows)


def storage() -> str:
    """Return the table of stored bytes and of the rates at which they are read."""
    work, seconds = update(SPEECH, BLOCKS, PAIRS), SPEECH.seconds + PAIRS.seconds
    rate = seconds / (work / (PEAK * GOAL))  # of audio per second, for each GPU
    alone = SPEECH.seconds / (update(SPEECH) / (PEAK * GOAL))
    rows = []
    for name, size in (
        ("FLAC, half of 16-bit sound", FLAC_SHARE * PCM),
        ("cached fp16 features", BF16 * MEL_BINS * FRAMES_PER_SECOND),
    ):
        at_rest = f"{LIBRI_LIGHT_HOURS * HOUR * size / 1e12:.2f} TB"
        rates = (f"{audio * size / 1e6:.0f} MB/s" for audio in (rate, alone))
        rows.append((name, f"{size / 1000:.0f} kB", at_rest, *rates, f"{RANKS * rate * size / 1e9:.2f} GB/s"))
    head = (
        "",
        "a second",
        f"{LIBRI_LIGHT_HOURS:,} h",
        f"joint step: {rate:,.0f} s/s for each GPU",
        f"speech alone: {alone:,.0f} s/s",
        f"joint step, {RANKS} GPUs",
    )
    return table(head, rows)


def split() -> str:
    """Return the table of a rank's share of each update, by number of ranks."""
    rows = [
        (f"{ranks}", f"{ranks // NODE}", *(f"{part.count // ranks}" for part in (SPEECH, BLOCKS, PAIRS)), freq)
        for ranks, freq in ((8, "8"), (16, "4"), (32, "2"), (64, "1"))
    ]
    return table(("ranks", "nodes of 8", "utterances", "blocks", "pairs", "--update-freq"), rows)


TABLES: Sequence[Callable[[], str]] = (arithmetic, passes_over_data, days, memory, network, storage, split)


def written(page: str, tables: Sequence[Callable[[], str]] = TABLES) -> str:
    """Return ``page`` with each table between its marks. Raises ValueError if a mark is missing."""
    for make in tables:
        begin, end = f"<!-- {make.__name__} -->\n", f"<!-- end of {make.__name__} -->\n"
        before, found, rest = page.partition(begin)
        _, found_end, after = rest.partition(end)
        if not (found and found_end):
            raise ValueError(f"found no place for table {make.__name__}: expected {begin.strip()} and {end.strip()}")
        page = before + begin + make() + end + after
    return page


def main() -> None:
    """Write the tables into the page."""
    page = written(PAGE.read_text(encoding="utf-8"))
    with atomic_write(PAGE) as file:
        file.write(page)


if __name__ == "__main__":
    main()
