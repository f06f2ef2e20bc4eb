"""The estimate of an update: its sums, its closed forms against counts, and torch's DDP where it is relied on."""

import copy

import pytest
import torch
import torch.distributed
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from benchmarks import estimate, exchange, flops, model_traffic, traffic
from benchmarks.estimate import OURS, WAYS
from benchmarks.workload import BLOCKS, PAIRS, PARAMETERS, SIZES, SPEECH
from slam_plugin.kernels import choice
from slam_plugin.modules.conformer import ConformerLayer

pytestmark = pytest.mark.filterwarnings("ignore:find_unused_parameters")
needs_triton = pytest.mark.skipif(choice.importlib.util.find_spec("triton") is None, reason="needs Triton")
EMBEDDING = ["trunk", "text_embedding"]


def cells(text):
    """Return the rows of a table: numbers, 0 for empty cells."""
    rows = [[cell.strip(" *") for cell in line.split("|")[1:-1]] for line in text.splitlines()[2:]]
    return {row[0]: [float(cell.rstrip(" %").replace(",", "") or 0) for cell in row[1:]] for row in rows}


@needs_triton
def test_sums_are_those_of_the_printed_terms():
    rows = cells(estimate.terms())
    total = rows.pop("sum")
    for place, column in enumerate(zip(*rows.values(), strict=True)):
        assert sum(column) == pytest.approx(total[place], abs=0.05 * len(rows))
    for row in (*rows.values(), total):
        assert sum(row[:-1]) == pytest.approx(row[-1], abs=0.05 * len(row))
    rows = cells(estimate.ways())
    for place in range(len(WAYS)):
        terms = [rows[name][place] for name in (*estimate.MICRO_BATCH, *estimate.END)]
        milliseconds, tera = sum(terms), rows["operations, TFLOP"][place]
        assert rows["H100: sum, ms"][place] == pytest.approx(milliseconds, abs=1.5)
        share = 100 * tera / milliseconds / 0.989
        assert rows["H100: share of the peak"][place] == pytest.approx(share, rel=0.015)
    assert total[-1] == pytest.approx(rows["H100: sum, ms"][WAYS.index(OURS)], abs=1)


def test_operations_are_the_closed_forms():
    """Speech of 15 s fills its budget without padding. Pairs of 12.3 s are padded to the 12.5 s of theirs."""
    for part in (SPEECH, BLOCKS):
        products, attention = estimate.operations(part)
        assert products + flops.TRAINING * attention == pytest.approx(part.items * part.cost())
    products, attention = estimate.operations(PAIRS)
    assert 1 < (products + flops.TRAINING * attention) / PAIRS.items / PAIRS.cost() < 1.03
    # scores and weighted values, of every head
    query, key = (
        torch.empty(BLOCKS.tokens, SIZES.dim // SIZES.heads),
        torch.empty(SIZES.dim // SIZES.heads, BLOCKS.tokens),
    )
    one = 2 * query.shape[0] * query.shape[1] * key.shape[1]
    assert estimate.operations(BLOCKS)[1] == BLOCKS.items * SIZES.multimodal_layers * SIZES.heads * 2 * one


def test_the_counted_model_is_that_of_the_closed_forms():
    layer, outside = model_traffic.built()
    layers = SIZES.speech_layers + SIZES.multimodal_layers
    # masked states get random vectors, of which the model keeps none
    assert layers * sum(layer.values()) + sum(outside.values()) == PARAMETERS - SIZES.dim
    assert sum(estimate.reached(PAIRS).values()) < PARAMETERS  # unpaired text has a head of its own
    everything = {**estimate.reached(PAIRS), **estimate.reached(SPEECH), **estimate.reached(BLOCKS)}
    assert sum(everything.values()) == PARAMETERS - SIZES.dim
    assert not any(name.startswith(("speech", "trunk.subsampler")) for name in estimate.reached(BLOCKS))


@needs_triton
@pytest.mark.parametrize("part", [SPEECH, BLOCKS, PAIRS])
def test_a_whole_model_moves_what_its_layers_and_the_rest_move(part, monkeypatch):
    """With one layer in each encoder, of which each pass goes through a stack once."""
    apart, (of_layer, launches) = model_traffic.of_part(part), estimate.of_layer(True)
    elements = SIZES.dim * part.items * sum(each.length for each in estimate.stacks(part))
    monkeypatch.setattr(model_traffic, "_hand_on", ConformerLayer.forward)
    whole = model_traffic.of_part.__wrapped__(part)
    # The first layer's input needs more, or less, than one between layers.
    assert whole.moved - apart.moved == pytest.approx(of_layer * elements, rel=0.06)
    assert whole.launches - apart.launches == pytest.approx(launches * len(estimate.stacks(part)), rel=0.06)


def test_casts_are_those_that_are_counted():
    """Nearly every weight is cast, and its gradient back: norms are not, nor are embeddings."""
    counted = traffic.of_layer(fused=False).weights
    assert counted == pytest.approx(2 * estimate.CAST * sum(model_traffic.built().layer.values()), rel=0.03)
    speech = model_traffic.of_part(SPEECH)
    assert speech.casts == pytest.approx(2 * estimate.CAST * sum(speech.reached.values()), rel=0.25)


def test_adamw_moves_seven_numbers_an_element():
    """It reads what it is given, and writes what has changed."""
    weight = nn.Parameter(torch.randn(5))
    weight.grad = torch.randn(5)
    optimizer = torch.optim.AdamW([weight], lr=0.1, fused=True)
    optimizer.step()
    tensors = [weight.data, weight.grad, optimizer.state[weight]["exp_avg"], optimizer.state[weight]["exp_avg_sq"]]
    before = copy.deepcopy(tensors)
    optimizer.step()
    written = sum(not torch.equal(old, new) for old, new in zip(before, tensors, strict=True))
    assert estimate.ADAMW == weight.element_size() * (len(tensors) + written)


def test_casts_of_a_weight_once_an_update():
    """The second micro-batch of text casts no weight, and adds all its gradients. One with an exchange casts anew."""
    way, memory = WAYS[0], 1.0  # bytes per second, so that a term is in bytes
    first = estimate.micro_batch(BLOCKS, way, memory, [])["casts of weights, sums of gradients"]
    second = estimate.micro_batch(BLOCKS, way, memory, [BLOCKS])["casts of weights, sums of gradients"]
    last = estimate.micro_batch(BLOCKS, way, memory, [BLOCKS], exchanges=True)["casts of weights, sums of gradients"]
    elements = sum(estimate.reached(BLOCKS).values())
    assert (first, second, last) == (12 * elements, 18 * elements, 24 * elements)


def test_small_micro_batches_wait_for_the_host():
    """By torch's operations a micro-batch of pairs has more launches than the device has work."""
    way, memory = WAYS[0], estimate.MEMORY["H100"].value
    launches = 24 * traffic.of_layer(fused=False).launches + model_traffic.of_part(PAIRS).launches
    alone = sum(estimate.micro_batch(PAIRS, way, memory, []).values())
    assert alone == pytest.approx(launches * estimate.HOST.value)
    assert sum(estimate.micro_batch(PAIRS, way, memory, [BLOCKS]).values()) == pytest.approx(alone - 0.01)
    assert estimate.micro_batch(BLOCKS, way, memory, [])["waiting for the host"] == 0


def test_buckets_hold_every_gradient_in_the_reverse_order_of_the_parameters():
    elements = {name: size for part in (SPEECH, BLOCKS, PAIRS) for name, size in estimate.reached(part).items()}
    for part in (SPEECH, PAIRS):
        found = estimate.buckets(part, 3.0, elements)
        assert sum(bucket.size for bucket in found) == pytest.approx(4 * sum(elements.values()))
        assert max(bucket.size for bucket in found) <= estimate.BUCKET
        assert found[-1].ready == 3.0
    embedding = next(size for name, size in elements.items() if name.startswith("trunk.text_embedding.tokens"))
    late = [bucket for bucket in estimate.buckets(PAIRS, 3.0, elements) if bucket.ready == 2.0]
    assert sum(bucket.size for bucket in late) > 4 * embedding
    places = [name.split(".")[:2] for name in model_traffic.built().outside]
    groups = [found for place, found in enumerate(places) if found not in places[:place]]
    assert groups[0] == ["trunk", "subsampler"] and groups[1:3] == [["trunk", "speech_projection"], EMBEDDING]
    assert all(group[0] == "objectives" for group in groups[3:])


@needs_triton
def test_an_exchange_beside_a_long_pass_shows_its_last_bucket():
    """With speech last. With pairs last, the layers' gradients wait for that of the text embedding."""
    speech, pairs = (estimate.estimate(OURS, last_kinds=(kind,)) for kind in ("speech", "pairs"))
    assert [part.kind for part, _ in speech.parts] == ["text", "text", "pairs", "speech"]
    assert 0 < speech.end["exchange after the backward pass"] < 1e-3
    whole = exchange.seconds(4 * PARAMETERS, estimate.RANKS)
    assert whole / 3 < pairs.end["exchange after the backward pass"] < whole


class Small(nn.Module):
    """Parameters in the order of the trunk's: what comes first, what is above it, an embedding."""

    def __init__(self):
        super().__init__()
        self.first, self.above, self.embedding = nn.Linear(64, 64), nn.Linear(64, 64), nn.Embedding(64, 64)

    def forward(self, x, tokens=None):
        x = self.first(x)
        return self.above(x if tokens is None else x + self.embedding(tokens))


@pytest.fixture
def group():
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def test_ddp_keeps_its_order_of_buckets_and_gradients_move_into_them(group):
    """Both hold although the embedding's gradient is never the first, and is in part of another micro-batch."""
    model = Small()
    names = {parameter: name.split(".")[0] for name, parameter in model.named_parameters()}
    options = {"find_unused_parameters": True, "gradient_as_bucket_view": True, "bucket_cap_mb": 0.016}
    wrapped, sent = DistributedDataParallel(model, **options), []

    def note(state: object, bucket: torch.distributed.GradBucket) -> torch.futures.Future[torch.Tensor]:
        sent.append({names[parameter] for parameter in bucket.parameters()})
        done = torch.futures.Future()
        done.set_result(bucket.buffer())
        return done

    wrapped.register_comm_hook(None, note)
    x, tokens = torch.randn(3, 64), torch.tensor([1, 2, 3])
    for inputs in ((x,), (x, tokens), (x,)):
        model.zero_grad(set_to_none=True)
        with wrapped.no_sync():
            wrapped(x, tokens).sum().backward()
        own = {parameter: parameter.grad.data_ptr() for parameter in names}
        sent.clear()
        wrapped(*inputs).sum().backward()
        assert "embedding" in sent[0] and "first" not in sent[0] and "first" in sent[-1]
        assert all(parameter.grad.data_ptr() != own[parameter] for parameter in names)
