from collections import Counter

import pytest

from data_prep.packages import wordnet
from data_prep.packages.documents import read_documents
from data_prep.packages.wordnet import FOLDER, Gloss, clean_glosses, open_corpus, read_glosses
from slam_plugin.data.errors import DataError
from tests.data_prep.preparing import check_sharing, dropped, run_command

LICENSE = "  1 This software and database is being provided to you  \n  2 | with 100 conditions  \n"


def write_glosses(tree, glosses):
    """Write ``data.noun`` with these glosses, and the other files with one gloss each."""
    folder = tree / "usr/share/wordnet"
    folder.mkdir(parents=True)
    others = {"verb": 'do it; "he did it"', "adj": "of doing", "adv": "in a doing manner"}
    for part, own in {"noun": glosses, **{part: [gloss] for part, gloss in others.items()}}.items():
        lines = [f"{i:08} 03 {part[0]} 01 word{i} 0 001 @ 00001740 n 0000 | {gloss}  " for i, gloss in enumerate(own)]
        (folder / f"data.{part}").write_text(LICENSE + "\n".join(lines) + "\n")


def test_definition_and_examples(tmp_path):
    write_glosses(
        tmp_path,
        [
            'a pause; "after a pause, he went on"; "another \'pause\'"',
            '(biology) a cell; they may exist alone; "a cell"; used of plants',
            'an example that nothing ends; "so it stands here',
        ],
    )
    glosses = read_glosses(tmp_path / FOLDER)
    assert glosses[:3] == [
        Gloss("noun-00000000", ["a pause", "after a pause, he went on", "another 'pause'"]),
        Gloss("noun-00000001", ["(biology) a cell; they may exist alone; ; used of plants", "a cell"]),
        Gloss("noun-00000002", ["an example that nothing ends", "so it stands here"]),
    ]
    assert [gloss.id for gloss in glosses[3:]] == ["verb-00000000", "adj-00000000", "adv-00000000"]


def test_documents(tmp_path):
    numbered = [f'thing; "it is {"y" * (i + 1)}"; "it is {"y" * (i + 1)}!"' for i in range(100)]
    write_glosses(tmp_path, [*numbered, "born in 1900", 'word; "it is y"', "a café, señor", "ταυ and more"])
    glosses = read_glosses(tmp_path / FOLDER)
    documents = clean_glosses(glosses)
    sentences = [sentence for document in documents for sentence in document.sentences]
    assert len(sentences) == len(set(sentences)) and "a cafe senor" in sentences
    assert [bool(document.sentences) for document in documents] == [True] * 100 + [False, False, True, False] + [
        True
    ] * 3
    left_out = [each for document in documents for each in document.dropped]
    assert Counter(each.reason for each in left_out) == {
        "sentence of fewer than 2 words": 101,
        "sentence that occurred before": 101,
        "sentence with digits or no letters": 1,
        "sentence with letters that are not English": 1,
    }
    assert [each.reason for each in left_out if each.place == "noun-00000101"] == [
        "sentence of fewer than 2 words",
        "sentence that occurred before",
    ]


@pytest.mark.parametrize("unit_glosses", [1000, 7])
def test_the_same_however_the_work_is_shared(tmp_path, monkeypatch, unit_glosses):
    monkeypatch.setattr(wordnet, "UNIT_GLOSSES", unit_glosses)
    # The last glosses repeat the first, which are in other units.
    own = [f'a {"x" * i} of it; "an {"x" * i}, too"; "some {"y" * (i % 7 + 1)}!"' for i in range(1, 60)]
    write_glosses(tmp_path / "tree", [*own, *own[:9]])
    folder = check_sharing(open_corpus(tmp_path / "tree"), tmp_path)
    glosses = read_glosses(tmp_path / "tree" / FOLDER)
    documents = list(zip(glosses, clean_glosses(glosses), strict=True))
    for split in ("train", "dev", "test"):
        expected = [list(each.sentences) for gloss, each in documents if gloss.split == split and each.sentences]
        assert read_documents(folder / f"{split}.txt") == expected != []
    assert dropped(folder)["noun-00000059"] == "sentence that occurred before"


def test_faults_are_named(tmp_path, capsys):
    with pytest.raises(DataError, match=r"data\.noun: there is no such file; it is part of the package wordnet-base"):
        open_corpus(tmp_path)
    assert run_command(wordnet.main, "--tree", tmp_path, "--out", tmp_path / "out") == 1
    assert "there is no such file" in capsys.readouterr().err
    write_glosses(tmp_path, ["a b"])
    noun = tmp_path / "usr/share/wordnet/data.noun"
    noun.write_text(noun.read_text() + "00000009 03 n 01 word\n")
    with pytest.raises(DataError, match=r"data\.noun:4: found '00000009 03 n 01 word', expected a gloss after"):
        read_glosses(noun.parent)
    noun.write_bytes(b"\xff\n")
    with pytest.raises(DataError, match=r"data\.noun: expected UTF-8"):
        read_glosses(noun.parent)


def test_command(tmp_path, capsys):
    write_glosses(tmp_path, [f'a {"x" * i} of it; "an {"x" * i}, too"; "one"' for i in range(1, 60)])
    assert run_command(wordnet.main, "--tree", tmp_path, "--out", tmp_path / "out") == 0
    printed = capsys.readouterr().out
    assert "train.txt: " in printed and "left out: 59 sentence of fewer than # words" in printed
