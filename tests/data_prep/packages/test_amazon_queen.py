import pytest

from data_prep.packages import amazon_queen
from data_prep.packages.amazon_queen import open_game, parts_of
from slam_plugin.data.errors import DataError
from tests.data_prep.layouts.games import dialogue, queen_files, write_queen
from tests.data_prep.preparing import check_clean, check_sharing, rows_of, run_command


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return tmp_path_factory.mktemp("publisher")


@pytest.fixture(scope="module")
def texts(tree):
    return write_queen(tree)


def test_parts_of_a_line():
    assert parts_of("One.*BYTwo.*XY12345678901Three*AB") == [(1, "One."), (2, "Two."), (3, "Three"), (4, "")]
    assert parts_of("All") == [(1, "All")]


def test_manifests(tree, texts, tmp_path):
    assert run_command(amazon_queen.main, "--tree", tree, "--out", tmp_path / "made") == 0
    check_clean(tmp_path / "made", 40)
    rows = [row for split in ("train", "dev") for row in rows_of(tmp_path / f"made/{split}.tsv")]
    found = {row["id"].removeprefix("amazon_queen-"): row for row in rows}
    assert {name: row["tgt_text"] for name, row in found.items()} == {
        name: text.lower().translate(str.maketrans("", "", ".,?")) for name, text in texts.items()
    }
    for name, row in found.items():
        hero = name.startswith("JOE") or name[6] == "J"
        source = row["scene"].removeprefix("amazon_queen-").removesuffix(".DOG").lower()
        assert row["speaker"] == ("unknown" if "_" in name else "joe" if hero else source)
    train, dev = ({row["scene"] for row in rows_of(tmp_path / f"made/{split}.tsv")} for split in ("train", "dev"))
    assert train and dev and not train & dev


def test_a_clip_of_two_texts_is_left_out(tmp_path):
    files, texts = queen_files()
    first = next(name for name in files if name.endswith(".DOG"))
    files["ZZ.DOG"] = dialogue(10, ["Another text altogether."], [], "", "")
    write_queen(tmp_path, files)
    clips = amazon_queen.clips_of(tmp_path / amazon_queen.FOLDER / amazon_queen.FILE)
    names = {clip.name for each in clips.values() for clip in each}
    assert names == {f"{name}.SB" for name in texts} - {"100000J1.SB", "10SSSSJ1.SB"}
    assert first in clips


def test_the_same_however_the_work_is_shared(tree, texts, tmp_path):
    check_sharing(open_game(tree, tmp_path / "sound"), tmp_path, part_bytes=60_000)


def test_faults_are_named(tree, texts, tmp_path, capsys):
    assert run_command(amazon_queen.main, "--tree", tmp_path, "--out", tmp_path / "out") == 1
    assert "queen.1c: there is no such file; it is part of the package" in capsys.readouterr().err
    files = {"A.DOG": dialogue(10, ["One", "Two"], [], "", "")[:60], "QUEEN2.JAS": b"walk to"}
    cases = [
        (files, r"A\.DOG is corrupt"),
        ({"QUEEN2.JAS": b"look at"}, r"QUEEN2\.JAS is corrupt, holds no line"),
        ({}, "no QUEEN2"),
    ]
    for number, (content, message) in enumerate(cases):
        write_queen(tmp_path / str(number), content)
        with pytest.raises(DataError, match=rf"queen\.1c: .*{message}"):
            amazon_queen.clips_of(tmp_path / str(number) / amazon_queen.FOLDER / amazon_queen.FILE)
    whole = (tree / amazon_queen.FOLDER / amazon_queen.FILE).read_bytes()
    for name, data, message in (
        ("other", b"RIFF" + whole, "found b'RIFF' at its start"),
        ("list", whole[:100], "is cut short, its list of"),
        ("end", whole[:-10], r"is cut short, \w+\.SB has"),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DataError, match=f"{name}: {message}"):
            archive = amazon_queen.Archive(tmp_path / name)
            archive.load(list(archive.places)[-1])
    archive.places["huge"] = 10, 1 << 50
    with pytest.raises(DataError, match=f"is cut short, huge has {len(whole) - 20} of {1 << 50} bytes"):
        archive.load("huge")
