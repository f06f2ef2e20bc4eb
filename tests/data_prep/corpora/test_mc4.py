"""mC4 and C4 from their publisher's files to shards of documents: what is used, left out and duplicated."""

import hashlib
import json

import pytest

from data_prep.corpora import mc4
from data_prep.engine.command import prepare
from slam_plugin.data.errors import DataError
from tests.data_prep.layouts.mc4 import PAGES, page, stories, write_c4, write_mc4, write_pages
from tests.data_prep.preparing import check_sharing, check_text_pretrains, dropped, run_command


def documents_of(path):
    return path.read_text(encoding="utf-8").removesuffix("\n\n").split("\n\n")


def written(number: int) -> str:
    """Return a story's sentences, derived by hand: no title, no menu."""
    _, *texts, _ = stories(number, 1)[0]["text"].lower().replace("’", "'").splitlines()
    sentences = (
        "\n".join(texts).replace(". ", "\n").replace("“", "").replace(",”", "").replace("?", "").replace(".", "")
    )
    return sentences


def test_pages_become_documents(tmp_path):
    write_mc4(tmp_path / "corpus")
    made = check_sharing(mc4.open_corpus(tmp_path / "corpus", train_shards=2), tmp_path)
    assert sorted(path.name for path in made.glob("*.txt")) == ["train-00.txt", "train-01.txt", "valid.txt"]
    train = [documents_of(made / f"train-0{shard}.txt") for shard in range(2)]
    assert written(0) == (
        "the apple of the apple was lost at noon\nit's not here said the maid\n"
        "who had the apple then\nall of that happened long ago"
    )
    assert sorted(train[0] + train[1]) == sorted(map(written, range(75))) and min(map(len, train)) > 20
    assert documents_of(made / "valid.txt") == [written(number) for number in range(100, 106)]
    stats = json.loads((made / "stats.json").read_text())
    assert sum(stats["dropped"].values()) == 5 and set(stats["dropped"]) <= {
        "occurs before (in train-00)",
        "occurs before (in train-01)",
    }
    assert stats["noted"] == {"line that does not end like a sentence, left out": 2 * 86}
    assert stats["recipe"]["validation"] == "the publisher's"
    check_text_pretrains(made, tmp_path, ["train-00.txt", "train-01.txt"])


def test_validation_by_rule_where_the_publisher_has_none(tmp_path):
    write_c4(tmp_path / "corpus")
    made = check_sharing(mc4.open_corpus(tmp_path / "corpus", train_shards=1, valid_parts=8), tmp_path)
    texts = set(map(written, range(75)))
    valid = {text for text in texts if int(hashlib.md5(text.encode()).hexdigest(), 16) % 8 == 0}
    assert set(documents_of(made / "valid.txt")) == valid and 2 < len(valid) < 30
    assert set(documents_of(made / "train.txt")) == texts - valid


def test_what_is_left_out_is_listed(tmp_path):
    name = "c4-en.tfrecord-00000-of-00001.json.gz"
    lines = [*stories(0, 40), b'{"text": "caf\xe9"}', b'{"text": "cut"', b'["text"]', b'{"text": 3}', b""]
    write_pages(tmp_path / name, [*lines, page(PAGES["de"]), page("One of them was here."), *stories(0, 1)])
    stats = prepare(mc4.open_corpus(tmp_path, train_shards=1, valid_parts=3), tmp_path / "out")
    found = dropped(tmp_path / "out")
    assert found.pop(f"{name}:46").startswith("is not in language en: ")
    assert found == {
        f"{name}:41": "is not UTF-8 (invalid continuation byte)",
        f"{name}:42": "is not JSON (Expecting ',' delimiter)",
        f"{name}:43": "holds no field text",
        f"{name}:44": "holds no field text",
        f"{name}:45": "is not JSON (Expecting value)",
        f"{name}:47": "has fewer than 3 usable sentences",
    }
    assert stats["dropped"]["is not in language en: # of # words are frequent in it"] == 1
    outputs = stats["outputs"]
    assert outputs["train.txt"]["documents"] + outputs["valid.txt"]["documents"] == 40


def test_an_archive_that_is_cut_short_is_used_up_to_there(tmp_path):
    write_c4(tmp_path)
    path = tmp_path / "c4-train.00005-of-01024.json.gz"
    path.write_bytes(path.read_bytes()[:-60])
    (tmp_path / "c4-train.00007-of-01024.json.gz").write_bytes(b"no archive")
    prepare(mc4.open_corpus(tmp_path, train_shards=1, valid_parts=8), tmp_path / "out")
    (place, reason), (other_place, other_reason) = dropped(tmp_path / "out").items()
    name, _, line = place.rpartition(":")
    assert name == "c4-train.00005-of-01024.json.gz" and 10 < int(line) <= 40
    assert reason.startswith("the archive is cut short or broken from here on (Compressed file ended")
    assert other_place == "c4-train.00007-of-01024.json.gz:1" and "Not a gzipped file" in other_reason
    made = documents_of(tmp_path / "out/train.txt") + documents_of(tmp_path / "out/valid.txt")
    assert sorted(made) == sorted(map(written, range(35 + int(line) - 1)))


def test_digits_and_languages(tmp_path):
    text = "Am Abend waren 12 Leute da. Sie sprachen von der Brücke. Das Wasser ist noch nicht gefallen."
    pages = [page(f"{'Ja' * number} und nein, das war es nicht. {text}", number) for number in range(1, 30)]
    write_pages(tmp_path / "c4-de.tfrecord-00000-of-00001.json.gz", pages)
    write_pages(tmp_path / "c4-bg-Latn.tfrecord-00000-of-00001.json.gz", pages)
    kept = mc4.open_corpus(tmp_path, "de", 1, 4, keep_digits=True)
    without = mc4.open_corpus(tmp_path, "de", 1, 4)
    trusted = mc4.open_corpus(tmp_path, "bg-Latn", 1, 4, trust_language=True)
    for number, (corpus, sentences) in enumerate(((kept, 4), (without, 3), (trusted, 3))):
        prepare(corpus, tmp_path / f"{number}")
        documents = documents_of(tmp_path / f"{number}/train.txt")
        assert {len(each.splitlines()) for each in documents} == {sentences}
    assert "am abend waren 12 leute da\n" in (tmp_path / "0/train.txt").read_text()


def test_folders_that_cannot_be_used(tmp_path):
    with pytest.raises(DataError, match=r"languages: none; expected c4-en\.tfrecord-.* or c4-train"):
        mc4.open_corpus(tmp_path)
    write_mc4(tmp_path)
    write_pages(tmp_path / "c4-hr-validation.tfrecord-00000-of-00001.json.gz", stories(0, 1))
    with pytest.raises(DataError, match=r"languages: de, en; expected c4-hr\.tfrecord"):
        mc4.open_corpus(tmp_path, "hr", trust_language=True)
    write_pages(tmp_path / "c4-hr.tfrecord-00000-of-00001.json.gz", stories(0, 1))
    with pytest.raises(DataError, match="found the language hr, which has no test, expected one of en, de"):
        mc4.open_corpus(tmp_path, "hr")
    write_c4(tmp_path)
    with pytest.raises(DataError, match="holds files of C4 and of mC4"):
        mc4.open_corpus(tmp_path)
    assert mc4.open_corpus(tmp_path, "de").valid_files is False


def test_the_command(tmp_path, capsys):
    write_mc4(tmp_path / "corpus")
    words = ["--root", tmp_path / "corpus", "--out", tmp_path / "out", "--train-shards"]
    with pytest.raises(SystemExit):
        run_command(mc4.main, *words, "0")
    assert "argument --train-shards: found 0, expected at least 1" in capsys.readouterr().err
    assert run_command(mc4.main, *words, "1") == 0
    assert "valid.txt: 24 lines" in capsys.readouterr().out
