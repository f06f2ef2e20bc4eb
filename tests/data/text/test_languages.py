"""The start symbol of a target."""

import numpy as np
import pytest

from data_prep.text.vocab import train_vocabulary
from slam_plugin.data.errors import DataError
from slam_plugin.data.manifests.manifest import Manifest, write_manifest
from slam_plugin.data.text.languages import start_symbol, start_symbols
from slam_plugin.data.text.vocabulary import Vocabulary


@pytest.fixture(scope="module")
def tagged(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tagged")
    train_vocabulary(["ein haus", "a house"], folder, 40, "char", languages=["de", "en", "zh-CN"])
    return Vocabulary.load(folder)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    train_vocabulary(["ein haus", "a house"], folder, 40, "char")
    return Vocabulary.load(folder)


def manifest(folder, languages):
    columns = ["id", "audio", "n_frames", *(["tgt_lang"] if languages else [])]
    rows = [
        {"id": f"u{i}", "audio": "x.wav", "n_frames": 10, "tgt_lang": name} for i, name in enumerate(languages or "ab")
    ]
    write_manifest(folder / "rows.tsv", [{key: row[key] for key in columns} for row in rows], columns)
    return Manifest.open(folder / "rows.tsv")


def test_tags_of_a_vocabulary(tagged, plain):
    assert tagged.languages == {name: tagged.dictionary.index(f"<lang:{name}>") for name in ("de", "en", "zh-CN")}
    assert tagged.dictionary.unk() not in tagged.languages.values()
    assert tagged.language_tags == ("<lang:de>", "<lang:en>", "<lang:zh-CN>")
    assert plain.languages == {} and plain.language_tags == ()


def test_each_row_starts_with_its_tag(tagged, tmp_path):
    names = ["en", "de", "de", "zh-CN", "en"]
    found = start_symbols(manifest(tmp_path, names), tagged)
    assert found.tolist() == [tagged.dictionary.index(f"<lang:{name}>") for name in names]
    assert found.dtype == np.int32


def test_one_language_for_all_rows(tagged, tmp_path):
    rows = manifest(tmp_path, ["en", "cs"])
    assert start_symbols(rows, tagged, "de").tolist() == [tagged.languages["de"]] * 2


def test_without_tags_the_languages_of_rows_do_not_matter(plain, tmp_path):
    assert start_symbols(manifest(tmp_path, ["en", "cs"]), plain).tolist() == [plain.dictionary.eos()] * 2
    assert start_symbol(plain, None) == plain.dictionary.eos()


def test_what_has_no_tag_is_named(tagged, plain, tmp_path):
    with pytest.raises(DataError, match=r"rows\.tsv:3: u1: found tgt_lang 'cs', expected one of de, en, zh-CN"):
        start_symbols(manifest(tmp_path, ["en", "cs"]), tagged)
    with pytest.raises(DataError, match="has no column tgt_lang, and the model writes de, en, zh-CN"):
        start_symbols(manifest(tmp_path, None), tagged)
    with pytest.raises(DataError, match="found the language 'cs', expected one of de, en, zh-CN"):
        start_symbol(tagged, "cs")
    with pytest.raises(DataError, match="found no language, expected one of de, en, zh-CN"):
        start_symbol(tagged, None)
    with pytest.raises(DataError, match="found the language 'de', expected none"):
        start_symbol(plain, "de")


def test_a_manifest_of_many_pieces(tagged, tmp_path, monkeypatch):
    """Each piece of a memory-mapped column numbers its values anew."""
    monkeypatch.setattr("slam_plugin.data.manifests.tsv._CHUNK_BYTES", 64)
    names = ["en", "de", "de", "zh-CN", "en", "zh-CN", "de"] * 5
    rows = manifest(tmp_path, names)
    assert len(rows._batches) > 3
    codes, values = rows.codes("tgt_lang")
    assert [values[code] for code in codes] == names and len(values) == 3
    assert start_symbols(rows, tagged).tolist() == [tagged.languages[name] for name in names]
