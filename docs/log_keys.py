"""Sections of the reference on what is logged: by objectives, validation, the instruments and fine-tuning."""

import re
from collections.abc import Iterator, Mapping

import slam_plugin.objectives  # noqa: F401  (registers them)
from docs.markup import code, table
from slam_plugin.objectives.base import REGISTRY, Objective

# What the end of an objective's key means; the first that fits.
ENDINGS = {
    "_chance_loss": "loss of a guess without knowledge of the input",
    "_chance": "accuracy of a guess without knowledge of the input",
    "_accuracy": "share that is right, from 0 to 1",
    "batch_code_perplexity": "perplexity of the codes of a batch, by their mean probabilities",
    "diversity_loss": "share of the codes that a batch does not use: 1 - perplexity / codes",
    "_perplexity": "perplexity of the codes over all validation data",
    "s_used": "share of the codes that occur",
    "s_reachable": "share that as many frames would reach if all codes were equally frequent",
    "_loss": "mean loss in nats",
    "_left_out": "share of the pairs whose speech has too few states for their text",
    "temperature": "Gumbel temperature",
}
# Keys that calls of fairseq's metrics name, as the code writes them; NAME is an objective, a kind or a group.
LOGGED = {
    "Pre-training, beside the objectives": {
        "loss": "sum of the objectives' mean losses by weight, in nats; those seen in the interval",
        "{name}_weight": "an objective's weight, if it changes with the update",
        "tokens": "tokens of text and transcripts in an update",
        "frames": "frames of 10 ms in an update",
        "audio_seconds_per_second": "seconds of audio trained per second of time",
        "data_wait": "seconds for which a plan step waited for data",
    },
    "All training": {
        "bad_updates": "updates skipped because their gradients were not finite (`--max-bad-updates`)",
    },
    "Fine-tuning": {
        "loss": "in bits per token, as fairseq logs it",
        "ctc_loss": "CTC beside a decoder, in bits per token of the transcript",
        "infinite": "utterances with too few states for CTC; they are left out of the mean",
        "{kind}_loss": "`speech_translation_loss` and `text_translation_loss`, in bits per token",
        "wer": "word error rate in percent (`--eval-wer`)",
        "cer": "character error rate in percent (`--eval-wer`)",
        "bleu": "BLEU of the validation data, tokenized by sacrebleu (`--eval-bleu`)",
        "accuracy{suffix}": "share of sentences that are right as a whole, in percent, and of each class: "
        "`accuracy_NAME` (`--eval-accuracy`)",
        "listening": "rise of the loss with another's speech, in nats per token (`--eval-listening`)",
        "mcc": "Matthews correlation of the classes, in percent",
        "f1": "F1 of the positive class, in percent",
        "pearson": "correlation of numbers, in percent",
        "lr_{group['name']}": "learning rate of a group with a rate of its own (`slam_inverse_sqrt`)",
    },
}
INSTRUMENTS = {
    "own": "share of a state's change at the top that stays at its own frame",
    "rank_front_end": "effective rank of the front end's states",
    "rank_speech": "effective rank of the speech encoder's states",
    "rank_top": "effective rank of the states at the top",
    "own_fresh": "`own` of an untrained encoder",
    "rank_front_end_fresh": "`rank_front_end` of an untrained encoder",
    "rank_speech_fresh": "`rank_speech` of an untrained encoder",
    "rank_top_fresh": "`rank_top` of an untrained encoder",
    "ctc_cer": "character error rate of the CTC head on pairs, greedily, in percent",
    "ctc_blanks": "share of states at which CTC writes a blank",
    "ctc_progress": "share of the updates with pairs that have been made",
    "tlm_text_own": "TLM's text loss beside the own utterance, in nats",
    "tlm_text_other": "the same beside another utterance",
    "tlm_text_none": "the same without speech",
    "tlm_text_chance": "the same of a guess by frequency",
    "retrieval_layer_N": "share of utterances whose nearest transcript is the right one, after shared layer N",
    "retrieval_chance": "the same of a random choice",
    "gradient_NAME": "an objective's share of the gradient norm on the shared layers",
    "agreement_KIND_KIND": "cosine of the gradients of two kinds of batches on the shared layers",
}
FAIRSEQ = {
    "num_updates": "updates so far",
    "nll_loss, ppl": "loss without label smoothing in bits per token, and 2 to its power",
    "lr": "learning rate of the schedule",
    "gnorm": "norm of the gradient before clipping",
    "clip": "share of updates that were clipped, in percent",
    "wps, ups, wpb, bsz": "words per second, updates per second, words and sentences per batch",
    "train_wall, wall": "seconds of training, and of the whole run",
    "gb_free": "free memory of the GPU",
    "best_METRIC": "the best value of `--best-checkpoint-metric` so far",
}


def sections() -> Iterator[str]:
    """Yield the lines on all keys."""
    yield from ("## Log keys", "", "Validation writes the name of its subset before each key: `valid_ctc_loss`.", "")
    yield from ("### Objectives", "")
    rows = [[code(name), code(key), _meaning(key)] for name, cls in REGISTRY.items() for key in keys_of(cls)]
    yield from table(("objective", "key", "meaning"), rows)
    for heading, words in LOGGED.items():
        yield from (f"### {heading}", "", *_listed(words))
    yield from ("### Instruments", "", "[Is my pre-training working?](is_my_pretraining_working.md) explains them.", "")
    yield from _listed(INSTRUMENTS)
    yield from ("### fairseq's own", "", *_listed(FAIRSEQ))


def _listed(words: Mapping[str, str]) -> list[str]:
    names = {key: re.sub(r"\{suffix\}", "", re.sub(r"\{[^{}]*name[^{}]*\}|\{kind\}", "NAME", key)) for key in words}
    return table(
        ("key", "meaning"),
        ([", ".join(map(code, names[key].split(", "))), text] for key, text in words.items()),
    )


def keys_of(objective: type[Objective]) -> list[str]:
    """Return the keys that an objective logs, those that validation makes of its histogram included."""
    schema = objective.schema()
    found = [key for key in schema.ratios]
    if schema.histogram is not None:
        found += [f"{schema.histogram}{ending}" for ending in ("_perplexity", "s_used", "s_reachable")]
    return found + [f"{guess}{ending}" for guess in schema.guesses for ending in ("_chance", "_chance_loss")]


def _meaning(key: str) -> str:
    found = next((words for ending, words in ENDINGS.items() if key.endswith(ending)), None)
    if found is None:
        raise KeyError(f"docs/log_keys.py: ENDINGS has no words for the log key {key!r}")
    unmasked = " at unmasked frames" if "_unmasked_" in key else ""
    return f"{found}{unmasked}{', on pairs' if key.startswith('tlm_') else ''}"
