import io
import tarfile

import numpy as np
import pytest

from data_prep.packages import movie_reviews
from data_prep.packages.movie_reviews import MEMBER, open_corpus, read_snippets
from data_prep.text.labeled import read_rows
from slam_plugin.data.errors import DataError
from tests.data_prep.preparing import check_sharing, dropped, run_command

GOOD, BAD = ("fine", "moving", "clever", "brilliant"), ("dull", "tepid", "clumsy", "painful")
NAMES = ("Ada", "Bea", "Cleo", "Dora", "Eve", "Flo", "Gil", "Hal", "Ida", "Jo", "Kim", "Lou")
THINGS = ("film", "story", "script", "cast", "ending", "score")


def write_archive(tree, text, member=MEMBER):
    path = tree / "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo(member)
        content = text.encode()
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return path


def write_reviews(tree, count=120):
    """Write snippets like the publisher's: Windows' line ends, none after the last line, and lines to leave out."""
    random = np.random.default_rng(0)
    lines = []
    for number in range(1, count + 1):
        good = bool(number % 2)
        pair = " and ".join(random.choice(GOOD if good else BAD, 2))
        text = f"The {random.choice(THINGS)} of Müller’s No. {NAMES[number % 12]}-{NAMES[number // 12]} is {pair}."
        lines.append(f"{number}\t{'' if good else '-'}{random.uniform(0.6, 3.9):.11f}\t{text}")
    lines += [f"{count + 1}\t0.4\tNeither here nor there", f"{count + 2}\t-0.05\tHmm", f"{count + 3}\t2.1\t ... "]
    lines.append(lines[0].replace("1\t", f"{count + 4}\t", 1).replace("The", "the"))
    write_archive(tree, "\r\n".join(lines))


def read(folder):
    return {split: read_rows(folder / f"{split}.tsv") for split in ("train", "dev", "test")}


def test_reviews(tmp_path):
    write_reviews(tmp_path / "tree")
    folder = check_sharing(open_corpus(tmp_path / "tree"), tmp_path)
    splits = read(folder)
    rows = [row for rows in splits.values() for row in rows]
    assert len(rows) == len({row.texts for row in rows}) == 120
    for row in rows:
        (text,) = row.texts
        assert text.startswith("the ") and "muller's no " in text and not set(text) & set(".,’ü")
        assert (row.label == "positive") == any(word in text.split() for word in GOOD)
    assert all(splits.values()) and len(splits["train"]) > 80
    assert dropped(folder) == {
        "snippet 121": "neutral: a mean rating within 0.5 of 0",
        "snippet 122": "neutral: a mean rating within 0.5 of 0",
        "snippet 123": "no letters",
        "snippet 124": "text that occurred before",
    }


def test_a_texts_split_does_not_depend_on_the_others(tmp_path, capsys):
    splits = {}
    for name, count in (("many", 120), ("few", 60)):
        write_reviews(tmp_path / name, count)
        assert run_command(movie_reviews.main, "--tree", tmp_path / name, "--out", tmp_path / name / "out") == 0
        splits[name] = read(tmp_path / name / "out")
    assert "left out: 1 no letters" in capsys.readouterr().out
    for split, rows in splits["few"].items():
        assert set(rows) <= set(splits["many"][split])


def test_faults_are_named(tmp_path, capsys):
    assert run_command(movie_reviews.main, "--tree", tmp_path, "--out", tmp_path / "out") == 1
    assert "found 0 files vaderSentiment" in capsys.readouterr().err
    path = write_archive(tmp_path, "1\t2.5\tfine\n2\tgood\tfine\n")
    with pytest.raises(DataError, match=r"movieReviewSnippets_GroundTruth\.txt:2: found '2\\tgood\\tfine', expected"):
        list(read_snippets(path))
    write_archive(tmp_path, "1\t2.5\tfine\n", member="other")
    with pytest.raises(DataError, match=r"hutto_ICWSM_2014\.tar\.gz: expected a tar archive with .*GroundTruth"):
        list(read_snippets(path))
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(DataError, match=r"hutto_ICWSM_2014\.tar\.gz: expected a tar archive"):
        list(read_snippets(path))
