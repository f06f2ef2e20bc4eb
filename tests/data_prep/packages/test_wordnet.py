import pytest

from data_prep.packages import wordnet
from data_prep.packages.wordnet import Gloss, clean_glosses, read_glosses
from slam_plugin.data.errors import DataError

LICENCE = "  1 This software and database is being provided to you  \n  2 | with 100 conditions  \n"


def write_glosses(tree, glosses):
    """``data.noun`` of these glosses, and the other files with one each."""
    folder = tree / "usr/share/wordnet"
    folder.mkdir(parents=True)
    others = {"verb": 'do it; "he did it"', "adj": "of doing", "adv": "in a doing manner"}
    for part, own in {"noun": glosses, **{part: [gloss] for part, gloss in others.items()}}.items():
        lines = [f"{i:08} 03 {part[0]} 01 word{i} 0 001 @ 00001740 n 0000 | {gloss}  " for i, gloss in enumerate(own)]
        (folder / f"data.{part}").write_text(LICENCE + "\n".join(lines) + "\n")


def test_definition_and_examples(tmp_path):
    write_glosses(
        tmp_path,
        [
            'a pause; "after a pause, he went on"; "another \'pause\'"',
            '(biology) a cell; they may exist alone; "a cell"; used of plants',
            'an example that nothing ends; "so it stands here',
        ],
    )
    glosses = read_glosses(tmp_path)
    assert glosses[:3] == [
        Gloss("noun-00000000", ["a pause", "after a pause, he went on", "another 'pause'"]),
        Gloss("noun-00000001", ["(biology) a cell; they may exist alone; ; used of plants", "a cell"]),
        Gloss("noun-00000002", ["an example that nothing ends", "so it stands here"]),
    ]
    assert [gloss.id for gloss in glosses[3:]] == ["verb-00000000", "adj-00000000", "adv-00000000"]


def test_documents(tmp_path):
    numbered = [f'thing; "it is {"y" * (i + 1)}"; "it is {"y" * (i + 1)}!"' for i in range(100)]
    write_glosses(tmp_path, [*numbered, "born in 1900", 'word; "it is y"', "a café, señor", "ταυ and more"])
    glosses = clean_glosses(read_glosses(tmp_path))
    sentences = [sentence for documents in glosses.splits.values() for document in documents for sentence in document]
    assert len(sentences) == len(set(sentences)) and "a cafe senor" in sentences
    assert sum(map(len, glosses.splits.values())) == 100 + 1 + 3
    assert 75 < len(glosses.splits["train"]) and glosses.splits["dev"] and glosses.splits["test"]
    assert glosses.dropped == {
        "sentence of fewer than 2 words": 101,
        "sentence that occurred before": 101,
        "sentence with digits or no letters": 1,
        "sentence with letters that are not English": 1,
    }


def test_faults_are_named(tmp_path):
    with pytest.raises(DataError, match=r"data\.noun: there is no such file; it is part of the package wordnet-base"):
        read_glosses(tmp_path)
    write_glosses(tmp_path, ["a b"])
    noun = tmp_path / "usr/share/wordnet/data.noun"
    noun.write_text(noun.read_text() + "00000009 03 n 01 word\n")
    with pytest.raises(DataError, match=r"data\.noun:4: found '00000009 03 n 01 word', expected a gloss"):
        read_glosses(tmp_path)
    noun.write_bytes(b"\xff\n")
    with pytest.raises(DataError, match=r"data\.noun: expected UTF-8"):
        read_glosses(tmp_path)


def test_command(tmp_path, capsys):
    write_glosses(tmp_path, [f'a {"x" * i} of it; "an {"x" * i}, too"' for i in range(1, 60)])
    assert wordnet.main(["--tree", str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    assert "train: " in capsys.readouterr().out
    for split, documents in clean_glosses(read_glosses(tmp_path)).splits.items():
        text = (tmp_path / "out" / f"{split}.txt").read_text()
        assert text == "".join("\n".join(document) + "\n\n" for document in documents) != ""
    assert wordnet.main(["--tree", str(tmp_path / "gone"), "--out", str(tmp_path)]) == 1
    assert "there is no such file" in capsys.readouterr().err
