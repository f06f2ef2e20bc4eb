"""Readers of the plugin: manifests, binarized text, vocabularies, labels, plans, centroids, features, packs, places."""

import shutil
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import matplotlib.font_manager  # noqa: F401  lists the fonts once, by a program
import numpy as np
import yaml

from data_prep.manifests import check, show
from data_prep.manifests.pack import pack_manifests
from data_prep.manifests.unpack import unpack_manifests
from data_prep.text.binarize import binarize
from data_prep.text.labeled import Row
from data_prep.text.sentences import write_sentences
from data_prep.text.vocab import train_vocabulary
from slam_plugin.data.audio import count_frames, load_features
from slam_plugin.data.datasets.sentence_prediction import SentencePredictionDataset
from slam_plugin.data.errors import DataError
from slam_plugin.data.lines import lines_in
from slam_plugin.data.locations import missing, outside, parse_location
from slam_plugin.data.manifests.manifest import Manifest, write_manifest
from slam_plugin.data.manifests.tsv import row_faults
from slam_plugin.data.manifests.validate import ensure_valid, find_faults
from slam_plugin.data.plan.config import read_corpora
from slam_plugin.data.shards import KINDS, Setting
from slam_plugin.data.text.classes import read_classes
from slam_plugin.data.text.indexed import open_indexed
from slam_plugin.data.text.labels import labels_in, read_labels, read_numbers
from slam_plugin.data.text.vocabulary import Vocabulary, read_dictionary
from slam_plugin.modules.masking import MaskingSpec, SpanMask
from slam_plugin.objectives.base import check_requirements, declared_options
from slam_plugin.objectives.clusters import Clusters, read_clusters, write_clusters
from tests.fuzz.reader import Reader
from tests.support.lying_sounds import encode, voice

LINES = ["the cat sat", "on the mat", "a dog ran home and back", "", "rain fell all day", "it is late", "", "yes", "no"]
COLUMNS = ("id", "audio", "n_frames", "tgt_text", "src_text", "speaker", "lang", "tgt_lang")
_LIMITS = (10, 3000)
_BLOCK = 24

# ---------------------------------------------------------------------------------------------------------------------
# valid input


def write_manifests(folder: Path) -> None:
    """Write ``train.tsv`` with sound, features and a part of a sound file, and its Arrow copy."""
    for name in ("a.wav", "b.flac"):
        (folder / name).write_bytes(encode(voice(0.3), name[2:].upper()))
    np.save(folder / "c.npy", np.random.default_rng(0).normal(size=(20, 80)).astype(np.float16))
    places = ("a.wav", "b.flac", "c.npy", "a.wav:0:3000")
    rows = [
        {"id": f"u{number}", "audio": place, "n_frames": count_frames(place, folder), "tgt_text": f"tex–{number} über",
         "src_text": "some words", "speaker": f"s{number % 2}", "lang": "en", "tgt_lang": "de"}
        for number, place in enumerate(places)
    ]  # fmt: skip
    write_manifest(folder / "train.tsv", rows, COLUMNS)
    Manifest.open(folder / "train.tsv")


def write_vocabulary(folder: Path) -> None:
    """Write ``dict.txt`` and ``spm.model``."""
    train_vocabulary(LINES, folder, 40, languages=["de"])


def write_text(folder: Path) -> None:
    """Write binarized text with its vocabulary."""
    write_vocabulary(folder)
    (folder / "text.txt").write_text("\n".join(LINES) + "\n")
    binarize(folder / "text.txt", folder, folder / "text")


def write_labeled(folder: Path) -> None:
    """Write a folder of sentence prediction with classes, and a second with numbers."""
    write_vocabulary(folder)
    rows = [Row("good" if number % 2 else "bad", (line, line[::-1])) for number, line in enumerate(LINES) if line]
    write_sentences({"train": rows, "valid": rows[:2]}, folder, folder / "classes")
    numbers = [Row(str(number / 3), row.texts[:1]) for number, row in enumerate(rows)]
    write_sentences({"train": numbers}, folder, folder / "numbers", regression=True)


def write_plan(folder: Path) -> None:
    """Write ``corpora.yaml`` that builds on another file, and the files that it names."""
    for name in ("talk.tsv", "pairs.tsv", "prose.bin", "prose.idx", "spoken.npz"):
        (folder / name).write_bytes(b"")
    base = {
        "corpora": {"talk": {"kind": "speech", "train": ["talk.tsv"], "budget": 6000, "min_length": 20}},
        "objectives": {"contrastive": {"weight": 1.0}, "masked_prediction": {}},
        "quota": {"speech": 2},
    }
    top = {"base": "base.yaml", "mode": "all", "stages": {0: ["speech", "text"], 100: ["speech", "text", "pairs"]},
           "corpora": {"prose": {"kind": "text", "train": ["prose"], "budget": 512, "max_length": 512, "block": 64},
                       "pairs": {"kind": "pairs", "train": ["pairs.tsv"], "budget": 4000, "weight": 0.5}},
           "objectives": {"span_mlm": {"weight": {0: 1, 1000: 0.5}}, "tlm": {}, "stm": {}}}  # fmt: skip
    for name, values in (("base.yaml", base), ("corpora.yaml", top)):
        (folder / name).write_text(yaml.safe_dump(values))


def write_centroids(folder: Path) -> None:
    """Write centroids as ``slam cluster`` does."""
    random = np.random.default_rng(0)
    centroids = random.normal(size=(6, 26)).astype(np.float32)
    recipe = {"features": "cepstra", "clusters": 6, "seed": 1, "manifests": ["train.tsv"]}
    with (folder / "k.npz").open("wb") as file:
        write_clusters(file, Clusters(centroids, np.arange(1, 7), recipe, {"layers.0.weight": centroids[:2]}))


def write_pack(folder: Path) -> None:
    """Write a manifest whose sound is in a zip."""
    write_manifests(folder)
    pack_manifests([folder / "train.tsv"], folder / "pack.zip", audio=False)
    for name in ("a.wav", "b.flac", "c.npy"):
        (folder / name).unlink()
    Manifest.open(folder / "train.tsv")


# ---------------------------------------------------------------------------------------------------------------------
# reading


def read_manifest(folder: Path) -> None:
    """Read all rows and columns. The Arrow copy never changes what is read."""
    path = folder / "train.tsv"
    faults = row_faults(path)
    try:
        manifest = Manifest.open(path)
    except DataError:
        assert faults, "Manifest.open refuses what row_faults accepts"
        raise
    assert not faults, "Manifest.open accepts what row_faults refuses"
    rows = [manifest.row(index) for index in range(len(manifest))]
    manifest.column("n_frames").sum()
    for column in manifest.columns:
        list(manifest.batches_of(column))
    if "lang" in manifest.columns:
        manifest.codes("lang")
    Path("copy").mkdir()
    shutil.copy(path, "copy/train.tsv")
    anew = Manifest.open("copy/train.tsv")
    assert [anew.row(index) for index in range(len(anew))] == rows and anew.fingerprint == manifest.fingerprint


def validate(folder: Path) -> None:
    """Check a manifest with its sound, which collects the faults, and train on it, which raises them."""
    manifest = Manifest.open(folder / "train.tsv")
    list(find_faults(manifest, folder, *_LIMITS, ("tgt_text",)))
    ensure_valid(manifest, folder, *_LIMITS)
    for row in range(len(manifest)):
        load_features(manifest.value(row, "audio"), folder)


def check_folder(folder: Path) -> None:
    """Run ``slam check``, which reports faults and never ends by them, and ``slam show``."""
    options = SimpleNamespace(
        sample=None, no_decode=False, audio_root=None, min_frames=10, max_frames=3000, text_columns=None, jobs=1,
        inside_root=True,
    )  # fmt: skip
    list(check.all_faults(check.find([folder]), options))
    manifest = Manifest.open(folder / "train.tsv")
    show.write_page(manifest, "page.html")


def unpack(folder: Path) -> None:
    """Read the members of a zip, and unpack it."""
    manifest = Manifest.open(folder / "train.tsv")
    for row in range(len(manifest)):
        with suppress(DataError):
            load_features(manifest.value(row, "audio"), folder)
    unpack_manifests([folder / "train.tsv"], "unpacked")


def pack(folder: Path) -> None:
    """Pack the sound of a manifest."""
    pack_manifests([folder / "train.tsv"], "pack.zip", audio_root=folder)


def read_text(folder: Path) -> None:
    """Open binarized text as training does, and read all of it."""
    vocabulary = Vocabulary.load(folder)
    for block in (None, _BLOCK):
        config = SimpleNamespace(options={"block": block}, min_length=1, max_length=64, budget=64)
        setting = Setting(1, "toy, 0", vocabulary, MaskingSpec(text_mask=SpanMask(0.5, 3)))
        shard = KINDS["text"].open(config, folder / "text", setting)
        shard.texts()
        items = [shard.item(index, 0) for index in range(min(len(shard), 50))]
        shard.collate(items)


def read_vocabulary(folder: Path) -> None:
    """Load a vocabulary and use it."""
    vocabulary = Vocabulary.load(folder)
    ids = vocabulary.encode("the cat ran über 東京 \U0001f600")
    vocabulary.decode(ids)
    vocabulary.languages  # noqa: B018  it is computed
    Vocabulary.from_state(vocabulary.state())


def read_sentences(folder: Path) -> None:
    """Open both folders of sentence prediction as the task does."""
    vocabulary = Vocabulary.load(folder / "classes")
    labels = labels_in(folder / "classes")
    sides = [open_indexed(folder / f"classes/input{number}/train", vocabulary.dictionary) for number in (0, 1)]
    targets = read_labels(folder / "classes", "train", labels)
    if targets is not None and {len(side) for side in sides} == {len(targets)}:
        dataset = SentencePredictionDataset(sides, targets, vocabulary.dictionary, 64)
        dataset.collater([dataset[row] for row in range(len(dataset))])
    read_numbers(folder / "numbers", "train")


def read_plan(folder: Path) -> None:
    """Read a plan against all kinds and objectives."""
    try:
        check_requirements(read_corpora(folder / "corpora.yaml", folder, KINDS, declared_options()).objectives)
    except ValueError as error:
        # An objective that lacks another; the task adds the file's name.
        raise error if isinstance(error, DataError) else DataError(f"corpora.yaml: {error}") from error


def read_places(folder: Path) -> None:
    """Read each line of a file as a location."""
    for line in lines_in(folder / "places.txt"):
        place = parse_location(line, folder)
        str(place), missing(place), outside(place, folder)
        with suppress(DataError):
            count_frames(line, folder)
        with suppress(DataError):
            load_features(line, folder)


def _write_places(folder: Path) -> None:
    write_manifests(folder)
    places = [
        "a.wav",
        "a.wav:0:3000",
        "b.flac:10:2000:0",
        "c.npy",
        "p.zip:10:20",
        "../canary/kept",
        "a:b:c.wav",
        "x.wav",
    ]
    (folder / "places.txt").write_text("\n".join(places) + "\n")


def _write_labels(folder: Path) -> None:
    (folder / "classes.txt").write_text("cardinal\ndate\nPlain\n")


def _features(folder: Path) -> None:
    load_features("c.npy", folder)
    load_features("f.npy", folder)


def _write_features(folder: Path) -> None:
    values = np.random.default_rng(0).normal(size=(20, 80))
    np.save(folder / "c.npy", values.astype(np.float16))
    np.save(folder / "f.npy", np.asfortranarray(values))


_CHECKED = ("*.tsv", "dict.txt", "spm.model", "*.idx", "*.bin", "*.wav", "*.npy")


def _write_checked(folder: Path) -> None:
    write_text(folder)
    write_manifests(folder)
    (folder / "labeled.tsv").write_text("good\tone\nbad\ttwo\n")


READERS = (
    Reader("manifest.tsv", write_manifests, read_manifest, ("train.tsv",), weight=10),
    Reader("manifest.arrow", write_manifests, read_manifest, ("train.tsv.arrow",), weight=8),
    Reader("manifest.check", write_manifests, validate, ("*.tsv", "*.wav", "*.flac", "*.npy"), weight=3),
    Reader("manifest.folder", _write_checked, check_folder, _CHECKED, weight=0.5),
    Reader("manifest.pack", write_manifests, pack, ("*.tsv", "*.wav", "*.flac", "*.npy"), weight=3),
    Reader("manifest.unpack", write_pack, unpack, ("*.tsv", "*.zip"), weight=4),
    Reader("locations", _write_places, read_places, ("places.txt",), weight=2),
    Reader("text.index", write_text, read_text, ("text.idx", "text.bin"), weight=10),
    Reader("text.dictionary", write_text, read_text, ("dict.txt",), weight=5),
    Reader("vocabulary", write_vocabulary, read_vocabulary, ("*",), weight=10),
    Reader("labels", write_labeled, read_sentences, ("*.idx", "*.bin", "*/label/dict.txt", "*.label"), weight=6),
    Reader("classes", _write_labels, lambda folder: read_classes(folder / "classes.txt", 3), weight=5),
    Reader("dictionary", write_vocabulary, lambda folder: read_dictionary(folder / "dict.txt"), ("*.txt",), weight=4),
    # A base that no longer has a kind is no fault by itself: the stages of the file above it are.
    Reader("corpora.yaml", write_plan, read_plan, ("*.yaml",), named=("corpora.yaml",), weight=8),
    # The objectives' room knows no DataError.
    Reader("centroids", write_centroids, lambda folder: read_clusters(folder / "k.npz"), errors=ValueError, weight=8),
    Reader("features.npy", _write_features, _features, weight=10),
)  # fmt: skip
