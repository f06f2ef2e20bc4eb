"""Folders of ``save_to_disk``: sound stays in the Arrow files, columns and splits as in tables, bad files refused."""

import json
import pickle

import numpy as np
import pyarrow as pa
import pytest
import soundfile

from data_prep.engine.command import prepare
from data_prep.manifests.pack import pack_manifests
from data_prep.manifests.unpack import unpack_manifests
from data_prep.own import command as own
from slam_plugin.data.audio import load_features
from slam_plugin.data.errors import DataError
from slam_plugin.data.locations import parse_location
from slam_plugin.data.sound.reading import read_waveform
from tests.data_prep.layouts.saved import AUDIO, write_data_set, write_splits
from tests.data_prep.layouts.sounds import write_sound
from tests.data_prep.preparing import check_clean, check_sharing, dropped, rows_of

ALL_TO_TRAIN = {"valid_share": 0.0, "test_share": 0.0}
STRING = pa.string()


@pytest.fixture
def files(tmp_path):
    """Paths of three recordings."""
    return [write_sound(tmp_path / f"sound/{n}.{end}", 0.6, seed=n) for n, end in enumerate(("wav", "flac", "ogg"))]


def inside(paths):
    return [{"bytes": path.read_bytes(), "path": path.name} for path in paths]


def samples_of(row):
    return read_waveform(parse_location(row["audio"], "/"), row["id"]).samples


def test_sound_stays_in_the_arrow_files(tmp_path, files):
    folder = tmp_path / "mine"
    texts = ["One!", "two", "Three"]
    for split in ("train.clean", "validation", "other"):
        columns = {"speaker": (pa.int64(), [7, None, 9]), "audio": (AUDIO, inside(files)), "path": (STRING, ["x"] * 3)}
        write_data_set(folder / split, columns | {"sentence": (STRING, texts)}, shards=2, batch=1)
    write_splits(folder, ["train.clean", "validation", "other"])
    out = check_sharing(own.open_corpus(folder, "asr"), tmp_path)
    check_clean(out)
    for split, name in (("train", "train.clean"), ("valid", "validation")):
        rows = rows_of(out / f"{split}.tsv")
        assert [(row["id"], row["tgt_text"], row["speaker"]) for row in rows] == [
            (f"{name}[0]", "one", "7"),
            (f"{name}[1]", "two", ""),
            (f"{name}[2]", "three", "9"),
        ]
        for row, path in zip(rows, files, strict=True):
            assert row["audio"].startswith(f"{folder}/{name}/data-0000")
            np.testing.assert_array_equal(samples_of(row), soundfile.read(path, dtype="float32")[0])
    assert {place: reason[:29] for place, reason in dropped(out).items()} == {"other": "is not named for a split, and"}
    # The manifest packs as any other, and rows of Arrow files are no members of zips.
    before = [load_features(row["audio"], "/") for row in rows]
    assert unpack_manifests([out / "valid.tsv"], tmp_path / "unpacked") == 0
    assert pack_manifests([out / "valid.tsv"], tmp_path / "features.zip") == 3
    for row, features in zip(rows_of(out / "valid.tsv"), before, strict=True):
        np.testing.assert_allclose(load_features(row["audio"], out), features, atol=0.01)


def test_rows_that_cannot_be_used_are_left_out(tmp_path, files):
    good, *_ = inside(files)
    sounds = [good, None, {"bytes": None, "path": str(files[1])}, {"bytes": None, "path": None}]
    sounds += [{"bytes": b"", "path": "e.wav"}, {"bytes": pickle.dumps([1]), "path": "p.pkl"}, good, good, good]
    sounds += [{"bytes": files[1].read_bytes()[:3000], "path": "c.flac"}, {"bytes": None, "path": "gone.wav"}]
    texts = ["text"] * 6 + [None, " ", "x" * 140_000, "cut", "gone"]
    folder = write_data_set(tmp_path / "mine", {"audio": (AUDIO, sounds), "text": (STRING, texts)}, batch=4)
    prepare(own.open_corpus(folder, "asr", **ALL_TO_TRAIN), tmp_path / "out")
    assert [row["id"] for row in rows_of(tmp_path / "out/train.tsv")] == ["mine[0]", "mine[2]"]
    found = {place.split(":")[0]: reason for place, reason in dropped(tmp_path / "out").items()}
    expected = {
        **{"mine[1]": "holds no audio", "mine[3]": "holds no audio", "mine[4]": "cannot be decoded as WAV"},
        **{"mine[5]": "cannot be decoded as WAV", "mine[6]": "holds no text", "mine[7]": "holds no text"},
        **{"mine[8]": "holds a field of 140000 characters", "mine[9]": "cannot be decoded"},
        "mine[10]": "there is no such file",
    }
    assert {place: found[place][: len(reason)] for place, reason in expected.items()} == expected
    assert found.keys() == expected.keys()


def test_texts_and_classes(tmp_path):
    columns = {
        "text": (STRING, ["good", "bad", "so so", "none"]),
        "label": (pa.int64(), [1, 0, None, 2]),
        "split": (STRING, ["train", "test", "train", "validation"]),
        "more": (pa.list_(pa.int32()), [[1]] * 4),
    }
    folder = write_data_set(tmp_path / "mine", columns, classes={"label": ["neg", "pos", "neutral"]})
    prepare(own.open_corpus(folder, "classification"), tmp_path / "out")
    made = {split: (tmp_path / f"out/{split}.tsv").read_text() for split in ("train", "valid", "test")}
    assert made == {"train": "pos\tgood\n", "valid": "neutral\tnone\n", "test": "neg\tbad\n"}
    assert dropped(tmp_path / "out") == {"mine[2]": "holds no label"}
    with pytest.raises(DataError, match=r"expected 'more2' for the text of --kind text, or --columns text=NAME"):
        own.open_corpus(folder, "text", {"text": "more2"})
    with pytest.raises(DataError, match=r"found the columns 'text', 'label', 'split'; expected 'more' for the text"):
        own.open_corpus(folder, "text", {"text": "more"})


def test_drawn_splits_do_not_depend_on_the_files(tmp_path, files):
    paths = [write_sound(tmp_path / f"many/{number}.wav", 0.5, seed=number) for number in range(10)]
    found = []
    for name, shards in (("one", 1), ("three", 3)):
        folder = write_data_set(tmp_path / name, {"audio": (AUDIO, inside(paths))}, shards)
        prepare(own.open_corpus(folder, "speech", valid_share=0.4), tmp_path / f"out {name}")
        rows = rows_of(tmp_path / f"out {name}/valid.tsv")
        found.append([row["id"].removeprefix(name) for row in rows])
    assert found[0] == found[1] and 0 < len(found[0]) < 10


def test_folders_that_are_refused(tmp_path, files):
    columns = {"audio": (AUDIO, inside(files)), "text": (STRING, ["a", "b", "c"])}

    def refused(folder, message):
        with pytest.raises(DataError, match=message):
            prepare(own.open_corpus(folder, "asr", **ALL_TO_TRAIN), tmp_path / "out")

    folder = write_data_set(tmp_path / "mine", columns)
    arrow, state = folder / "data-00000-of-00001.arrow", json.loads((folder / "state.json").read_text())
    whole = arrow.read_bytes()
    for data, message in (
        (whole[:-8], "is cut short, the end of its Arrow stream is missing"),
        (whole[:5000] + whole[-8:], "cannot be read as an Arrow stream"),
        (pickle.dumps({"a": 1}), "cannot be read as an Arrow stream"),
        (b"", "cannot be read as an Arrow stream"),
        (b"\xff\xff\xff\xff\0\0\0\0", "cannot be read as an Arrow stream"),
    ):
        arrow.write_bytes(data)
        refused(folder, message)
    for codec in ("lz4", "zstd"):  # 100 MB of zeros in some kB
        table = pa.table({"audio": pa.array([{"bytes": bytes(100 << 20), "path": "a.wav"}], AUDIO), "text": ["a"]})
        options = pa.ipc.IpcWriteOptions(compression=codec)
        with pa.OSFile(str(arrow), "wb") as file, pa.ipc.new_stream(file, table.schema, options=options) as writer:
            writer.write_table(table)
        before = pa.total_allocated_bytes()
        refused(folder, "holds compressed record batches")
        assert pa.total_allocated_bytes() <= before
    table = pa.table({"text": pa.array(["a", "b"]).dictionary_encode()})
    with pa.OSFile(str(arrow), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)
    refused(folder, "found the columns ; expected 'audio' or 'path'")
    arrow.write_bytes(whole)
    for name in ("../mine/data-00000-of-00001.arrow", str(arrow), "", 5, None, "a" * 5000):
        (folder / "state.json").write_text(json.dumps(state | {"_data_files": [{"filename": name}]}))
        refused(folder, r"state\.json: found the name .*, expected one without a folder")
    for files_listed in (None, [], "data", {"a": 1}):
        (folder / "state.json").write_text(json.dumps(state | {"_data_files": files_listed}))
        refused(folder, r"state\.json: found the (list|name)")
    (folder / "state.json").write_text(json.dumps(state | {"_indices_files": [{"filename": "indices.arrow"}]}))
    refused(folder, "names indices, expected rows in their order")
    (folder / "state.json").write_text("[" * 100_000)
    refused(folder, r"state\.json: is not JSON")
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text('{"features": {"text": {"_type": "ClassLabel", "names": [1]}}}')
    refused(folder, "found names of classes of 'text' that are no texts")
    write_splits(tmp_path, ["dev", "sound"])
    refused(tmp_path, "found dev, named for splits, but nothing named for training")
    write_splits(tmp_path, ["train"])
    refused(tmp_path, r"train/state\.json: there is no such file")


def test_against_datasets(tmp_path, files):
    """Folders that the library itself writes, compared with the rows that it reads."""
    datasets = pytest.importorskip("datasets")
    columns = {"audio": {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}}
    columns |= {"transcription": datasets.Value("string"), "speaker": datasets.Value("int32")}
    sounds = [*inside(files), None, {"bytes": None, "path": str(files[0])}]
    rows = {"audio": sounds, "transcription": ["a", "b", "c", "d", "e"], "speaker": [1, None, 3, 4, 5]}
    train = datasets.Dataset.from_dict(rows, features=datasets.Features(columns))
    train = train.cast_column("audio", datasets.Audio(16000, decode=False)).select([4, 3, 2, 0])
    dev = train.filter(lambda row: row["speaker"] > 3)
    datasets.DatasetDict({"train": train, "validation": dev}).save_to_disk(
        tmp_path / "mine", num_shards={"train": 2, "validation": 1}
    )
    prepare(own.open_corpus(tmp_path / "mine", "asr"), tmp_path / "out")
    saved = datasets.load_from_disk(tmp_path / "mine")
    for split, name in (("train", "train"), ("valid", "validation")):
        expected = [row for row in saved[name] if row["audio"]]
        found = rows_of(tmp_path / f"out/{split}.tsv")
        assert [(row["tgt_text"], row["speaker"]) for row in found] == [
            (row["transcription"], str(row["speaker"])) for row in expected
        ]
        for row, one in zip(found, expected, strict=True):
            place = parse_location(row["audio"], "/")
            data = place.path.read_bytes()[place.offset : place.offset + place.length]
            assert data == one["audio"]["bytes"]
    assert list(dropped(tmp_path / "out").items()) == [
        ("train[1]", "holds no audio"),
        ("validation[1]", "holds no audio"),
    ]
