"""All instruments, measured on the fixed set, as numbers to log."""

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from slam_plugin.instruments.fixed_set import transcripts
from slam_plugin.instruments.gradients import cosines, gradient_of, shares
from slam_plugin.instruments.recognition import decode
from slam_plugin.instruments.states import effective_rank, mean_pooled, own_share, probed_frames, retrieval_accuracy
from slam_plugin.models.base.trunk import build_trunk
from slam_plugin.modules.ctc_paths import PATHS
from slam_plugin.modules.selection import LISTS, SIZES
from slam_plugin.modules.trunk import Encoded, Front, Trunk
from slam_plugin.scoring import text as scoring

PROBES = 2  # frames of each utterance that are replaced, in turn
FRESH_SEED = 1

Batch = Mapping[str, Any]
Batches = Mapping[str, Sequence[Batch]]


def measure(
    model: nn.Module, batches: Batches, text_of: Callable[[Sequence[int]], str], active: Collection[str]
) -> dict[str, float]:
    """Return the instruments' values for a ``SlamPretraining``, by the names that are logged.

    Values for which the run has no data or no objective are left out. The model, its gradients and all random states
    are not changed.

    Args:
        batches: micro-batches of each kind on the model's device (:func:`fixed_set.fixed_batches`).
        text_of: function from ids to text.
        active: kinds that are trained now. Objectives of other kinds have no share of the gradient.
    """
    with _evaluating(model):
        with torch.no_grad():
            values = trunk_values(model.trunk, batches)
            values |= _pairs_values(model, batches.get("pairs", ()), text_of)
        with torch.enable_grad():
            values |= _gradient_values(model, batches, active)
    return values


def fresh_values(model: nn.Module, batches: Batches) -> dict[str, float]:
    """Return :func:`trunk_values` of an untrained trunk like the model's, each under its name plus ``_fresh``.

    The weights come from a fixed seed, so that they are the same after a resume or a start from other weights. No
    global random state is changed.
    """
    if not model.trunk.has_speech:
        return {}
    config = OmegaConf.merge(model.config, {"compile": False, "apex_norm": False})
    embedding = model.trunk.text_embedding.tokens
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(FRESH_SEED)  # not torch.manual_seed: it seeds the GPUs as well
        trunk = build_trunk(config, embedding.num_embeddings, embedding.padding_idx)
    with torch.no_grad():
        values = trunk_values(trunk.to(embedding.weight.device).eval(), batches)
    return {f"{name}_fresh": value for name, value in values.items()}


@contextlib.contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


# ---- the trunk by itself


def trunk_values(trunk: Trunk, batches: Batches) -> dict[str, float]:
    """Return ``own`` and the effective ranks of front end, speech encoder and top states, over speech alone."""
    owns, states = [], {"rank_front_end": [], "rank_speech": [], "rank_top": []}
    for batch in batches.get("speech") or batches.get("pairs", ()):
        front = trunk.encode_front(batch["features"], batch["feature_padding_mask"])
        encoded = trunk(front=front)
        owns.append(_own(trunk, front, encoded.speech))
        for place, found in zip(states, (encoded.subsampled, encoded.context, encoded.speech), strict=True):
            states[place].append(_valid_rows(found, front.padding_mask))
    if not owns:
        return {}
    ranks = {place: effective_rank(torch.cat(found)) for place, found in states.items()}
    return {"own": float(torch.cat(owns).mean()), **ranks}


def _own(trunk: Trunk, front: Front, before: Tensor) -> Tensor:
    """Return ``own`` (PROBES * batch,) of the top states.

    A probe replaces a frame's front-end state by that of the frame half an utterance away.
    """
    states, padding_mask = front
    rows = torch.arange(len(states), device=states.device)
    lengths = torch.full_like(rows, states.size(1)) if padding_mask is None else (~padding_mask).sum(1)
    found = []
    for probe in range(PROBES):
        frames = probed_frames(lengths, probe, PROBES)
        replaced = states.clone()
        replaced[rows, frames] = states[rows, (frames + lengths // 2) % lengths]
        after = trunk(front=Front(replaced, padding_mask)).speech
        found.append(own_share(before, after, frames, padding_mask))
    return torch.cat(found)


def _valid_rows(states: Tensor, padding_mask: Tensor | None) -> Tensor:
    return states.flatten(0, 1) if padding_mask is None else states[~padding_mask]


# ---- pairs


def _pairs_values(
    model: nn.Module, batches: Sequence[Batch], text_of: Callable[[Sequence[int]], str]
) -> dict[str, float]:
    if not batches:
        return {}
    sides = [_both_sides(model.trunk, batch) for batch in batches]
    references = [text_of(ids) for batch in batches for ids in transcripts(batch)]
    values = _retrieval_values(sides, references, len(model.trunk.multimodal_layers))
    if "ctc" in model.objectives:
        values |= _ctc_values(model.objectives["ctc"], [speech for speech, _ in sides], references, text_of)
    if {"tlm", "span_mlm"} <= set(model.objectives):
        values |= _text_values(model, batches)
    return values


def _both_sides(trunk: Trunk, batch: Batch) -> tuple[Encoded, Encoded]:
    """Return the states of a batch's speech and of its transcripts, each encoded alone and without masks."""
    speech = trunk(batch["features"], batch["feature_padding_mask"], keep_layers=True)
    text = trunk(tokens=batch["token_targets"], token_padding_mask=batch["token_padding_mask"], keep_layers=True)
    return speech, text


def _retrieval_values(
    sides: Sequence[tuple[Encoded, Encoded]], references: Sequence[str], shared_layers: int
) -> dict[str, float]:
    """Return the accuracy of retrieving an utterance's transcript, by shared layer. Equal transcripts count once."""
    distinct = list({reference: row for row, reference in reversed(list(enumerate(references)))}.values())
    if len(distinct) < 2:
        return {}
    values = {}
    for layer in range(shared_layers):
        speech = [mean_pooled(s.speech_layers[layer - shared_layers], s.speech_padding_mask) for s, _ in sides]
        text = [mean_pooled(t.text_layers[layer], t.text_padding_mask) for _, t in sides]
        found = retrieval_accuracy(torch.cat(speech)[distinct], torch.cat(text)[distinct])
        values[f"retrieval_layer_{layer + 1}"] = found
    return {**values, "retrieval_chance": 1.0 / len(distinct)}


def _ctc_values(
    ctc: nn.Module, speech: Sequence[Encoded], references: Sequence[str], text_of: Callable[[Sequence[int]], str]
) -> dict[str, float]:
    """Return the CTC head's character error rate in percent and its share of blanks."""
    decoded = [
        decode(ctc.log_probs(encoded.states(ctc.place)), encoded.speech_padding_mask, ctc.blank, text_of)
        for encoded in speech
    ]
    texts = [text for batch in decoded for text in batch.texts]
    blanks, states = sum(batch.blanks for batch in decoded), sum(batch.states for batch in decoded)
    return {"ctc_cer": scoring.cer(texts, references), "ctc_blanks": blanks / states}


def _text_values(model: nn.Module, batches: Sequence[Batch]) -> dict[str, float]:
    """Return TLM's text loss in nats with the right utterance, another one and none, and that of a frequency guess.

    The other utterance is the next one of the batch, so a batch of one is left out.
    """
    sums = dict.fromkeys(("own", "other", "none", "chance"), 0.0)
    tokens = 0.0
    for batch in (batch for batch in batches if len(batch["features"]) > 1):
        own = model(batch)["tlm"].logs
        other = model(_with_other_speech(batch))["tlm"].logs
        none = model(_text_alone(batch))["span_mlm"].logs
        tokens += float(own["tlm_span_mlm_tokens"])
        sums["own"] += float(own["tlm_span_mlm_loss"])
        sums["other"] += float(other["tlm_span_mlm_loss"])
        sums["none"] += float(none["span_mlm_loss"])
        sums["chance"] += float(own["tlm_span_mlm_chance_loss"])
    return {f"tlm_text_{speech}": total / tokens for speech, total in sums.items()} if tokens else {}


def _with_other_speech(batch: Batch) -> dict[str, Any]:
    """Return the batch with each transcript paired with the speech of the next pair."""
    speech = ("features", "feature_padding_mask", "mask_indices", "augmented_features")
    moved = {name: batch[name].roll(1, dims=0) for name in speech if batch.get(name) is not None}
    lists = (LISTS, SIZES, PATHS)  # of the places before the move
    return {**{name: value for name, value in batch.items() if name not in lists}, **moved}


def _text_alone(batch: Batch) -> dict[str, Any]:
    text = {name: value for name, value in batch.items() if name.startswith("token")}
    return {**text, "kind": "text", "seed": batch["seed"], "n_frames": 0, "n_tokens": batch["n_tokens"]}


# ---- gradients


def _gradient_values(model: nn.Module, batches: Batches, active: Collection[str]) -> dict[str, float]:
    """Return each objective's share of the gradient norms on the shared layers, and whether the kinds' gradients agree.

    One batch of each kind is read. The kinds' gradients are kept until the last one's is measured. For an objective of
    several kinds, the norm is the root of the sum of squares: gradients of different batches are nearly orthogonal.
    Empty while these layers are frozen.
    """
    parameters = [parameter for parameter in model.trunk.multimodal_layers.parameters() if parameter.requires_grad]
    if not parameters:
        return {}
    squares = dict.fromkeys((n for n, o in model.objectives.items() if set(o.kinds) & batches.keys()), 0.0)
    kinds, totals, agreement = sorted(batches.keys() & set(active)), {}, {}
    for kind in kinds:
        outputs = model(batches[kind][0])
        losses = {name: model.objectives[name].weight * output.loss for name, output in outputs.items()}
        total = gradient_of(sum(losses.values()), parameters, totals, keep=kind != kinds[-1])
        for name, loss in losses.items():
            squares[name] += (total if len(losses) == 1 else gradient_of(loss, parameters)).norm ** 2
        agreement |= {f"agreement_{other}_{kind}": cosine for other, cosine in cosines(total, totals).items()}
        totals[kind] = total
    found = shares({name: square**0.5 for name, square in squares.items()})
    return {f"gradient_{name}": share for name, share in found.items()} | agreement
