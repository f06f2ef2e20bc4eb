"""The dataset of recognition and translation: augmentation draws, and lengths for batching."""

import pickle
import shutil

import numpy as np
import pytest
import torch

from slam_plugin.data.audio import load_features, normalize
from slam_plugin.data.augmentation import Augmentation
from slam_plugin.data.datasets.speech_to_text import CtcTexts, SpeechToTextDataset
from slam_plugin.data.manifests.manifest import Manifest
from slam_plugin.data.perturbation import Perturbation
from slam_plugin.data.state_masks import StateMasks
from slam_plugin.data.text.vocabulary import Vocabulary
from slam_plugin.modules.ctc_paths import states_needed
from slam_plugin.modules.front_end import FrontEnd

SPEEDS = Augmentation(Perturbation((0.9, 1.0, 1.1), (10.0, 30.0)), masks=StateMasks(0.5, 3, 0.2, 4, 16))


@pytest.fixture(scope="module")
def vocabulary(toy):
    return Vocabulary.load(toy)


def opened(toy, vocabulary, **options):
    return SpeechToTextDataset(Manifest.open(toy / "pairs/train.tsv"), toy, vocabulary, **options)


def drawn(dataset, epochs=12):
    """Return the number of frames of each row in each epoch."""
    return np.array([[len(dataset.item(i, epoch)["features"]) for i in range(len(dataset))] for epoch in range(epochs)])


def test_an_item_is_its_keys_own_on_any_worker(toy, vocabulary):
    """A pickled dataset draws the same. Another epoch, row or seed draws differently."""
    dataset = opened(toy, vocabulary, augment=SPEEDS, seed=1)
    item, again = dataset.item(3, 2), pickle.loads(pickle.dumps(dataset)).item(3, 2)
    assert torch.equal(item["features"], again["features"])
    assert all(torch.equal(item["masks"][name], again["masks"][name]) for name in ("state_mask", "channel_mask"))
    others = [dataset.item(3, epoch)["features"] for epoch in range(3, 9)]
    others += [opened(toy, vocabulary, augment=SPEEDS, seed=2).item(3, 2)["features"]]
    assert all(other.shape != item["features"].shape or not torch.equal(other, item["features"]) for other in others)
    assert {len(other) for other in others} > {len(item["features"])}, "at several speeds"
    assert len(item["masks"]["state_mask"]) == FrontEnd().states_of(len(item["features"]))


def test_without_augmentation_an_item_is_the_normalized_features(toy, vocabulary):
    for dataset in (opened(toy, vocabulary), opened(toy, vocabulary, augment=Augmentation())):
        item = dataset.item(0, 1)
        assert torch.equal(
            item["features"], normalize(load_features(dataset.manifest.value(0, "audio"), toy), FrontEnd())
        )
        assert item["masks"] == {} and dataset.longest.tolist() == dataset.frames.tolist()


def test_batches_are_made_by_the_longest_that_is_drawn(toy, vocabulary):
    dataset = opened(toy, vocabulary, augment=SPEEDS)
    found = drawn(dataset)
    assert (found <= dataset.longest).all() and (found.max(0) == dataset.longest).mean() > 0.8
    assert dataset.num_tokens_vec(np.arange(3)).tolist() == [dataset.num_tokens(i) for i in range(3)]
    rows = dataset.ordered_indices()
    batches = dataset.batch_by_size(rows, max_tokens=400, required_batch_size_multiple=1)
    widest = [len(batch) * max(len(dataset.item(i, 5)["features"]) for i in batch) for batch in batches]
    assert max(widest) <= 400 and sum(map(len, batches)) == len(dataset)


def test_no_speed_leads_beyond_the_limits(toy, vocabulary):
    frames = opened(toy, vocabulary).frames
    limits = int(frames.min()), int(frames.max())
    dataset = opened(toy, vocabulary, augment=SPEEDS, limits=limits)
    found = drawn(dataset)
    assert limits[0] <= found.min() and found.max() <= limits[1] and dataset.longest.max() == limits[1]
    assert drawn(opened(toy, vocabulary, augment=SPEEDS)).max() > limits[1]


def test_ctc_keeps_the_states_that_it_needs_at_any_speed(toy, vocabulary, tmp_path):
    """Rows with just enough states may only be slowed. One without enough keeps its speed."""
    source = Manifest.open(toy / "pairs/train.tsv")
    letters = [symbol for symbol in vocabulary.dictionary.symbols if len(symbol) == 1 and symbol.isalpha()]
    tight = [FrontEnd().states_of(int(n)) for n in source.column("n_frames")]
    texts = ["".join(letters[i % len(letters)] for i in range(count - 1)) for count in tight]
    texts[0] = texts[0] * 2
    lines = (toy / "pairs/train.tsv").read_text().splitlines()
    rows = [f"{line.rpartition(chr(9))[0]}\t{text}" for line, text in zip(lines[1:], texts, strict=True)]
    (tmp_path / "train.tsv").write_text("\n".join([lines[0], *rows]) + "\n")
    manifest = Manifest.open(tmp_path / "train.tsv")
    ctc = CtcTexts("tgt_text", vocabulary)
    dataset = SpeechToTextDataset(manifest, toy, vocabulary, augment=SPEEDS, ctc=ctc)
    enough = dataset.spelled.states <= FrontEnd().states_of(dataset.frames)
    assert dataset.too_short_for_ctc().tolist() == np.flatnonzero(~enough).tolist() and not enough[0]
    states = FrontEnd().states_of(drawn(dataset))
    assert (states[:, enough] >= dataset.spelled.states[enough]).all()
    free = SpeechToTextDataset(manifest, toy, vocabulary, augment=SPEEDS)
    assert (FrontEnd().states_of(drawn(free))[:, enough] < dataset.spelled.states[enough]).any()


def test_states_that_ctc_needs_are_the_criterions(toy, vocabulary, tmp_path):
    shutil.copy(toy / "pairs/train.tsv", tmp_path)
    text = (tmp_path / "train.tsv").read_text().replace("ka", "kaa")
    (tmp_path / "train.tsv").write_text(text)
    dataset = SpeechToTextDataset(Manifest.open(tmp_path / "train.tsv"), toy, vocabulary)
    targets = [dataset.targets[i] for i in range(len(dataset))]
    padded = torch.nn.utils.rnn.pad_sequence(targets, batch_first=True)
    counted = torch.arange(padded.size(1)) < torch.tensor([[len(target)] for target in targets])
    assert dataset.targets.states.tolist() == states_needed(padded, counted).tolist()
    assert (dataset.targets.states > dataset.targets.lengths).any()
