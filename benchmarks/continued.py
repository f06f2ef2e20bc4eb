"""Estimates for continuing w2v-BERT 2.0 on one GPU: the tables of ``docs/continue_w2v_bert_2.md``.

    python -m benchmarks.continued

writes each table between the marks of its name in that page. All is computed, as in ``benchmarks.scaling``, for the
batch of ``examples/slam/config/one_gpu/w2v_bert_2.yaml``. Nothing was measured at this size.
"""

from pathlib import Path

from benchmarks import flops, scaling
from benchmarks.markdown import table
from benchmarks.scaling import BF16, CHECKPOINTED, FP32, HOUR, KEPT, PEAK
from slam_plugin.data.files import atomic_write
from slam_plugin.objectives import span_mlm

PAGE = Path(__file__).resolve().parent.parent / "docs/continue_w2v_bert_2.md"

SIZES = flops.sizes_of("w2v_bert_2")._replace(code_dim=1024)
PARAMETERS = sum(flops.parameters(SIZES).values())
LAYERS = SIZES.speech_layers + SIZES.multimodal_layers
UPDATES, FINE_TUNING = 100_000, 20_000
SECONDS, TRANSCRIPT, BLOCK = 12.3, 44, 512  # LibriSpeech's mean utterance, its pieces, a block of text
STATES = round(SECONDS * SIZES.states_per_second)
SPEECH, TEXT, PAIRS = 19, 32, 9  # utterances, blocks and pairs within the budgets
FINE_TUNED = 32  # utterances within 40,000 frames
UTILIZATIONS = (0.15, 0.30, 0.45)
MAPS = 4  # of a layer's attention, each batch x heads x T x T in bf16: bias, scores, weights, a gradient
LOGITS = 3  # of the masked tokens, in fp32: logits, their softmax, a gradient


def update(passes: int = flops.RECOMPUTED) -> float:
    """Return the operations of an update of the joint training."""
    parts = (
        (SPEECH, flops.speech(SIZES, STATES, passes=passes)),
        (TEXT, flops.text(SIZES, BLOCK, passes=passes)),
        (PAIRS, flops.pair(SIZES, STATES, TRANSCRIPT, passes=passes)),
    )
    return sum(count * sum(each.values()) for count, each in parts)


def fine_tuning() -> float:
    """Return the operations of an update of recognition by CTC, without its small output layer."""
    return FINE_TUNED * (flops.front_end(SIZES, STATES) + LAYERS * flops.layer(SIZES, STATES, flops.RECOMPUTED))


def time() -> str:
    """Return the table of hours."""
    rows = []
    for name, work, updates in (
        ("joint training", update(), UPDATES),
        ("fine-tuning to recognition", fine_tuning(), FINE_TUNING),
    ):
        hours = (work * updates / (PEAK * share) / HOUR for share in UTILIZATIONS)
        rows.append((f"{name}, {updates:,} updates", f"{work / 1e12:.0f}", *(f"{hour:.1f} h" for hour in hours)))
    return table(("", "TFLOP in an update", *(f"at {100 * share:.0f} %" for share in UTILIZATIONS)), rows)


def maps(utterances: int) -> float:
    """Return the bytes of one layer's attention over speech, whose bias by distance no fused kernel takes."""
    return MAPS * BF16 * utterances * SIZES.heads * STATES**2


def peaks(kept: bool) -> dict[str, float]:
    """Return the bytes of each part. Of speech and text only the larger one is there at a time."""
    of_a_state, layers = (KEPT, LAYERS) if kept else (CHECKPOINTED, 1)
    masked = span_mlm.Options.mask_rate * TEXT * BLOCK
    return {
        "weights, gradients and AdamW's means, fp32": 4 * FP32 * PARAMETERS,
        "bf16 copies of the weights, during a pass": BF16 * PARAMETERS,
        f"speech: {SPEECH} utterances of {SECONDS} s": SPEECH * STATES * of_a_state + layers * maps(SPEECH),
        f"text: {TEXT} blocks of {BLOCK}": TEXT * BLOCK * of_a_state + LOGITS * FP32 * masked * SIZES.vocabulary,
    }


def peak(kept: bool) -> float:
    """Return the bytes at the peak: passes over speech and text follow each other."""
    state, copies, speech, text = peaks(kept).values()
    return state + copies + max(speech, text)


def memory() -> str:
    """Return the table of the memory of the joint training."""
    ways = peaks(True), peaks(False)
    rows = [(name, *(f"{way[name] / 1e9:.1f} GB" for way in ways)) for name in ways[0]]
    rows.append(("**peak, of the 80 GB**", *(f"**{peak(kept) / 1e9:.0f} GB**" for kept in (True, False))))
    return table(("", "all activations kept", "--checkpoint-activations"), rows)


TABLES = (time, memory)


def main() -> None:
    """Write the tables into the page."""
    page = scaling.written(PAGE.read_text(encoding="utf-8"), TABLES)
    with atomic_write(PAGE) as file:
        file.write(page)


if __name__ == "__main__":
    main()
