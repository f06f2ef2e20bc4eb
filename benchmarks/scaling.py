"""Estimates for the paper's run: the tables of ``docs/scaling.md``.

    python -m benchmarks.scaling

writes each table between the marks of its name in that page. All tables are computed from ``benchmarks.workload``, from
closed forms (``benchmarks.flops``, ``benchmarks.exchange``) and from counted bytes (``benchmarks.estimate``). Only the
memory of a position was measured.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import estimate, exchange, flops
from benchmarks.exchange import NODE
from benchmarks.markdown import table
from benchmarks.workload import (
    BLOCKS,
    FIRST_STAGE,
    PAIRS,
    PARAMETERS,
    PEAK,
    RANKS,
    SECOND_STAGES,
    SENTENCES,
    SIZES,
    SPEECH,
    run,
    update,
)
from slam_plugin.data.constants import FRAMES_PER_SECOND, MEL_BINS, SAMPLE_RATE
from slam_plugin.data.files import atomic_write

PAGE = Path(__file__).resolve().parent.parent / "docs/scaling.md"

LIBRI_LIGHT_HOURS = 60_000
LIBRI_LM_WORDS, TOKENS_PER_WORD = 803e6, 1.3
UTILIZATIONS, GOAL = (0.30, 0.45, 0.60), 0.45
DAY, HOUR = 86_400, 3600
GPU_MEMORY = 80e9
# Bytes of activations per position: ``benchmarks.memory`` at xl, in bf16, on utterances of 12 s, on a CPU.
KEPT, CHECKPOINTED = 1.95e6, 0.18e6
FP32, BF16 = 4, 2  # bytes
PCM, FLAC_SHARE = 2 * SAMPLE_RATE, 0.5  # bytes a second of 16-bit sound, what FLAC leaves of them


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
        "bf16 copies of the weights, during a step": BF16 * PARAMETERS,
        "buckets of torch's DDP": FP32 * PARAMETERS,
    }


def text_position(size: float) -> float:
    """Return the bytes of a position of text, if one of speech takes ``size``: text skips the speech layers."""
    return size * SIZES.multimodal_layers / (SIZES.speech_layers + SIZES.multimodal_layers)


def memory() -> str:
    """Return the table of one GPU's memory with the recipe's budgets, and of what would fit."""
    state = sum(state_bytes().values())
    states, tokens = SPEECH.items * SPEECH.states, BLOCKS.items * BLOCKS.tokens
    more = update(SPEECH, BLOCKS, PAIRS, passes=flops.RECOMPUTED) / update(SPEECH, BLOCKS, PAIRS)
    rows = [(name, f"{size / 1e9:.2f} GB", f"{size / 1e9:.2f} GB") for name, size in state_bytes().items()]
    ways = (KEPT, CHECKPOINTED)
    largest = [max(states * size, tokens * text_position(size)) for size in ways]
    rows += [
        ("**sum**", *[f"**{state / 1e9:.1f} GB**"] * 2),
        ("activations of a position of speech (measured)", *(f"{size / 1e6:.2f} MB" for size in ways)),
        (f"{SPEECH.items} utterances of 15 s", *(f"{states * size / 1e9:.1f} GB" for size in ways)),
        (f"{tokens:,} tokens of text", *(f"{tokens * text_position(size) / 1e9:.1f} GB" for size in ways)),
        ("**sum with the largest micro-batch**", *(f"**{(state + size) / 1e9:.1f} GB**" for size in largest)),
        (
            f"the same with {BLOCKS.quota * tokens:,} tokens in one micro-batch",
            *(f"{(state + BLOCKS.quota * tokens * text_position(size)) / 1e9:.1f} GB" for size in ways),
        ),
        ("positions of speech beside the sum in 80 GB", *(f"{(GPU_MEMORY - state) / size:,.0f}" for size in ways)),
        ("arithmetic", "1.00", f"{more:.2f}"),
    ]
    return table(("on each GPU", "all activations kept", "--checkpoint-activations"), rows)


def network() -> str:
    """Return the table of the exchange of gradients and the arithmetic of an update, by number of GPUs."""
    work, updates = update(SPEECH, BLOCKS, PAIRS), FIRST_STAGE + SECOND_STAGES[1]
    rows = []
    for ranks in (8, 16, 32, 64, 128):
        speed = ranks * PEAK * GOAL
        arithmetic = work / speed
        sent = exchange.sent(FP32 * PARAMETERS, ranks)
        lost = exchange.seconds(FP32 * PARAMETERS, ranks)
        hidden = run(BLOCKS, SECOND_STAGES[1]) / speed / DAY
        rows.append(
            (
                f"{ranks}",
                f"{arithmetic:.2f} s",
                f"{sent / 1e9:.2f} GB",
                f"{sent / NODE / 1e9:.2f} GB" if ranks > NODE else "",
                f"{lost * 1e3:.1f} ms",
                f"{100 * lost / (arithmetic + lost):.1f} %",
                f"{hidden:.1f}",
                f"{hidden + updates * lost / DAY:.1f}",
            )
        )
    head = (
        "GPUs",
        "arithmetic of an update",
        "sent by each GPU",
        "through each adapter",
        "exchange",
        "its share with legacy_ddp",
        f"days for {updates:,} updates, exchange hidden",
        "with legacy_ddp",
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


TABLES: Sequence[Callable[[], str]] = (
    *(arithmetic, passes_over_data, days),
    *estimate.TABLES,
    *(memory, network, storage, split),
)


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
