import pytest

from data_prep.packages import wesnoth
from data_prep.packages.wesnoth import open_corpus, pairs_of, plain_lines, read_catalog
from slam_plugin.data.errors import DataError
from tests.data_prep.layouts.games import write_catalog, write_wesnoth
from tests.data_prep.preparing import check_sharing, dropped


def test_catalog(tmp_path):
    messages = {
        "One": "Ein",
        ("A man", "%d men"): ("Ein Mann", "%d Männer"),
        "place\x04Open": "Offen",
        "hint^Go": "Geh",
    }
    write_catalog(tmp_path / "a.mo", messages)
    assert read_catalog(tmp_path / "a.mo") == {"One": "Ein", "A man": "Ein Mann", "Open": "Offen", "hint^Go": "Geh"}
    data = (tmp_path / "a.mo").read_bytes()
    for name, content in (("other.mo", b"RIFF" + data[4:]), ("short.mo", data[:-40]), ("head.mo", data[:10])):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=f"{name}: cannot be read as a catalog"):
            read_catalog(tmp_path / name)


def test_lines_without_marks():
    assert plain_lines("female^A <b>bold</b>  one\n\nand <span color='red'>two</span>") == ["A bold one", "and two"]
    assert plain_lines("Give $amount gold") is None and plain_lines("<img>src=a.png</img>") is None
    assert plain_lines("A code of terrain, Gg^Uf") is None


def test_pairs_by_sentence_line_or_whole():
    assert pairs_of("Go. Now!", "Geh. Jetzt!") == [("Go.", "Geh."), ("Now!", "Jetzt!")]
    assert pairs_of("Go. Now!\nYes.", "Geh jetzt!\nJa.") == [("Go. Now!", "Geh jetzt!"), ("Yes.", "Ja.")]
    assert pairs_of("Go.\nNow!", "Geh jetzt!") == [("Go. Now!", "Geh jetzt!")]
    assert pairs_of("Go, $name!", "Geh, $name!") == []


def test_documents_and_pairs(tmp_path):
    write_wesnoth(tmp_path / "tree")
    folder = check_sharing(open_corpus(tmp_path / "tree"), tmp_path)
    train, valid = ((folder / f"{split}.txt").read_text().split("\n\n")[:-1] for split in ("train", "valid"))
    assert len(train) + len(valid) == 61 and len(valid) >= 1
    assert all(text.startswith("the wizard says that") and text.endswith("\nthen he goes") for text in valid)
    assert not set(train) & set(valid)
    sides = [(folder / f"de.{side}").read_text().splitlines() for side in ("source", "target")]
    assert ("one of our guards", "größe größe größe") in zip(*sides, strict=True)
    assert ("then he goes", "die größe") in zip(*sides, strict=True)
    # All sixty messages have the same ending: the pair is kept once.
    assert sides[0].count("then he goes") == 1
    assert set(dropped(folder).values()) <= {"pair of very different lengths", "pair that has fewer than 2 words"}


def test_faults_are_named(tmp_path, capsys):
    assert wesnoth.main(["--tree", str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    assert "expected one folder VERSION/locale, found none" in capsys.readouterr().err
