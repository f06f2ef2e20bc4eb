import struct
import zlib
from collections import Counter

import numpy as np
import pytest
from pysword.canons import canons

from data_prep.engine.units import Dropped
from data_prep.packages import bibles
from data_prep.packages.bibles import (
    ENGLISH_MODULES,
    MODULES,
    Place,
    chapters_of,
    homes,
    open_corpus,
    pairs_of,
    plain,
    read_bible,
    read_printed,
)
from data_prep.packages.documents import read_documents
from data_prep.text.labeled import read_rows
from slam_plugin.data.errors import DataError
from tests.data_prep.preparing import check_sharing, run_command

VERSIFICATIONS = {"web": "NRSVA", "kjv": "KJV", "rv1909": "KJV"}
SYLLABLES = ("ba", "de", "fi", "go", "lu", "ma", "ne", "po", "ri", "sa", "tu", "ve")


def write_module(tree, name, verses):
    """Write a zText module of OSIS verses by (book, chapter, verse), in the format of SWORD's own library."""
    identifier = MODULES[name]
    root = tree / "usr/share/sword"
    data = root / "modules/texts/ztext" / identifier
    data.mkdir(parents=True)
    (root / "mods.d").mkdir(exist_ok=True)
    settings = {
        "DataPath": f"./modules/texts/ztext/{identifier}/", "ModDrv": "zText", "SourceType": "OSIS",
        "Encoding": "UTF-8", "CompressType": "ZIP", "BlockType": "BOOK", "Versification": VERSIFICATIONS[name],
    }  # fmt: skip
    lines = [f"[{identifier}]", *(f"{key}={value}" for key, value in settings.items())]
    (root / f"mods.d/{identifier}.conf").write_text("\n".join(lines) + "\n")
    for testament in ("ot", "nt"):
        # Two headings, then for each book its heading, and for each chapter its heading and verses.
        records, blocks, places = bytearray(20), b"", b""
        number = 0
        for book, _, _, lengths in canons[VERSIFICATIONS[name].lower()][testament]:
            text = b""
            records += bytes(10)
            for chapter, length in enumerate(lengths, start=1):
                records += bytes(10)
                for verse in range(1, length + 1):
                    content = verses.get((book, chapter, verse), "").encode()
                    records += struct.pack("<IIH", number if content else 0, len(text) if content else 0, len(content))
                    text += content
            if text:
                packed = zlib.compress(text)
                places += struct.pack("<III", len(blocks), len(packed), len(text))
                blocks += packed
                number += 1
        for ending, content in (("bzv", records), ("bzs", places), ("bzz", blocks)):
            (data / f"{testament}.{ending}").write_bytes(content)


def words(random, count):
    return " ".join("".join(random.choice(SYLLABLES, 3)) for _ in range(count))


def write_bibles(tree):
    """Write both translations of three verses of every chapter of Genesis, and of the last of the New Testament."""
    random = np.random.default_rng(0)
    both = {"web": {}, "kjv": {}}
    places = [("Genesis", chapter, verse) for chapter in range(1, 51) for verse in (1, 2, 3)]
    for place in [*places, ("Revelation of John", 22, 20)]:
        shared = words(random, 3)
        for verses in both.values():
            verses[place] = f'<w lemma="strong:H1">{shared}</w>, {words(random, 3)}. <div type="x-p"/>'
    both["web"]["Revelation of John", 22, 21] = "The grace be with all. abaddon is a word."
    both["web"]["Tobit", 1, 1] = "a book that one translation has"
    for name, verses in both.items():
        write_module(tree, name, verses)
    return both


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return tmp_path_factory.mktemp("publisher")


@pytest.fixture(scope="module")
def written(tree):
    return write_bibles(tree)


@pytest.fixture(scope="module")
def both(tree, written):
    return {name: read_bible(tree, name) for name in ENGLISH_MODULES}


@pytest.mark.parametrize(
    ("osis", "text"),
    [
        ('In the <w lemma="x">beginning</w>, <w>God</w><note placement="foot">or <w>gods</w></note><w>created</w>',
         "In the beginning, God created"),
        ('<title type="psalm">A <w>Psalm</w>.</title> <l level="1" sID="a"/>Yahweh<l eID="a"/><l sID="b"/>how many',
         "Yahweh how many"),
        ("with <w>tear</w>s, <divineName>Lord</divineName>’s", "with tears, Lord’s"),
        ('<title/>A <q marker="" who="Jesus">verse<lb/>more</q>', "A verse more"),
    ],
)  # fmt: skip
def test_marks_of_osis(osis, text):
    assert " ".join(plain(osis).split()) == text


def test_every_verse_is_read_where_it_stands(written, both):
    for name, verses in written.items():
        bible = both[name]
        expected = {place: plain(osis).replace(",", " ").replace(".", " ").split() for place, osis in verses.items()}
        left_out = expected.pop(("Revelation of John", 22, 21), None)
        assert {tuple(place): text.split() for place, text in bible.verses.items()} == expected
        reasons = Counter(bible.dropped.values())
        assert reasons["verse with more than its text"] == (left_out is not None)
        total = sum(sum(book[3]) for books in canons[VERSIFICATIONS[name].lower()].values() for book in books)
        assert reasons["verse without text"] == total - len(verses)


def test_spanish(tmp_path):
    verses = {
        ("Genesis", 1, 1): "<w>EN</w> el principio crió Dios los cielos, y la <w>tierra</w>.",
        ("Genesis", 1, 2): "Un niño; ¿por qué? ¡Güelfo y Él!<note>ó otra cosa</note>",
        ("Genesis", 1, 3): "la façade",
        ("Matthew", 1, 1): "Libro de la generación",
    }
    write_module(tmp_path, "rv1909", verses)
    bible = read_bible(tmp_path, "rv1909")
    assert list(bible.verses.values()) == [
        "en el principio crió dios los cielos y la tierra", "un niño por qué güelfo y él", "libro de la generación",
    ]  # fmt: skip
    assert bible.dropped[Place("Genesis", 1, 3)] == "verse with letters that are not Spanish"
    printed = read_printed(tmp_path, "rv1909")
    assert printed[Place("Genesis", 1, 1)] == "EN el principio crió Dios los cielos, y la tierra."
    assert printed[Place("Genesis", 1, 2)].rstrip() == "Un niño; ¿por qué? ¡Güelfo y Él!"


@pytest.fixture(scope="module")
def made(tree, written, tmp_path_factory):
    """The corpus of both translations, in parts of several books, because most books have no verse here."""
    return check_sharing(open_corpus(tree), tmp_path_factory.mktemp("made"), 4000)


def test_pairs(both, made):
    of = {text: place for bible in both.values() for place, text in bible.verses.items()}
    kjv = set(both["kjv"].verses.values())
    seen = {}
    splits = {split: read_rows(made / f"{split}.tsv") for split in ("train", "dev", "test")}
    for split, rows in splits.items():
        assert rows and {row.label for row in rows} == {"same", "different"}
        for row in rows:
            first, second = (of[text] for text in row.texts)
            assert len(set(row.texts) & kjv) == 1 and first.split == second.split == split
            assert (first == second) == (row.label == "same")
            assert first[:2] == second[:2] and abs(first.verse - second.verse) <= 1
            for text in row.texts:
                assert seen.setdefault(text, split) == split
    rows = [row for rows in splits.values() for row in rows]
    assert sum(row.label == "same" for row in rows) == len(rows) / 2 == 150
    assert 90 < sum(row.texts[0] in kjv for row in rows) < 210
    left_out = (made / "dropped.tsv").read_text().splitlines()
    assert "pairs: Revelation of John 22:20\tpair without a neighbor" in left_out  # the only verse of its chapter
    assert "pairs: Tobit 1:1\tverse that one translation lacks" in left_out
    assert "web: Revelation of John 22:21\tverse with more than its text" in left_out


def test_text(both, made):
    for name, bible in both.items():
        chapters = {}
        for place, text in bible.verses.items():
            chapters.setdefault(place.split, {}).setdefault(place[:2], []).append(text)
        for split, expected in chapters.items():
            assert read_documents(made / f"{name}.{split}.txt") == list(expected.values())


def test_one_translation_alone(tree, made, tmp_path, capsys):
    out = tmp_path / "out"
    assert run_command(bibles.main, "--tree", tree, "--out", out, "--translations", "web") == 0
    assert "web.train.txt: " in capsys.readouterr().out
    assert {path.name for path in out.iterdir() if path.suffix in (".txt", ".tsv")} == {
        "web.train.txt", "web.dev.txt", "web.test.txt", "dropped.tsv",
    }  # fmt: skip
    assert (out / "web.dev.txt").read_bytes() == (made / "web.dev.txt").read_bytes()
    assert run_command(bibles.main, "--tree", tmp_path, "--out", tmp_path / "none") == 1
    assert "expected mods.d" in capsys.readouterr().err


def test_a_text_that_stands_in_two_splits_is_used_in_one():
    train = next(Place("Genesis", c, 1) for c in range(1, 51) if Place("Genesis", c, 1).split == "train")
    test = next(Place("Genesis", c, 1) for c in range(1, 51) if Place("Genesis", c, 1).split == "test")
    verses = {train: "and it was so that day", test: "and it was so that day"}
    verses |= {place._replace(verse=2): f"of {place} and others" for place in (train, test)}
    verses = dict(sorted(verses.items()))
    bible = bibles.Bible(verses, {})
    others = bibles.Bible({place: f"{text} indeed" for place, text in verses.items()}, {})
    home = homes({"web": bible, "kjv": others})
    assert home["and it was so that day"] == "test"
    left_out = Dropped(str(train), "verse that occurs in another split")
    found = list(chapters_of(bible, home, "Genesis"))
    assert left_out in found and ("train", [verses[train._replace(verse=2)]]) in found
    assert ("test", [verses[test], verses[test._replace(verse=2)]]) in found and len(found) == 3
    pairs = list(pairs_of({"web": bible, "kjv": others}, home, "Genesis"))
    assert left_out in pairs and [split for split, _ in pairs].count("test") == 4
    assert not list(chapters_of(bible, home, "Exodus")) and not list(pairs_of({"web": bible, "kjv": others}, home, ""))


def test_a_greek_form_goes_with_its_book():
    for chapter in range(1, 17):
        assert Place("Esther (Greek)", chapter, 1).split == Place("Esther", chapter, 9).split


def test_damaged_and_missing_modules(tmp_path):
    with pytest.raises(DataError, match=r"usr/share/sword: expected mods\.d"):
        read_bible(tmp_path, "web")
    write_bibles(tmp_path)
    books = tmp_path / "usr/share/sword/modules/texts/ztext/engWEB2015eb/ot.bzz"
    whole = books.read_bytes()
    for damaged in (whole[:100], bytes(len(whole))):
        books.write_bytes(damaged)
        with pytest.raises(DataError, match=r"engWEB2015eb: block 0 of ot is damaged"):
            read_bible(tmp_path, "web")
    books.unlink()
    with pytest.raises(DataError, match=r"engWEB2015eb: found nt, expected both testaments"):
        read_bible(tmp_path, "web")
    (tmp_path / "usr/share/sword/mods.d/engKJV2006eb.conf").unlink()
    with pytest.raises(DataError, match="expected the module engKJV2006eb"):
        read_bible(tmp_path, "kjv")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("NRSVA", "none", "is damaged .*versification"),
        ("zText", "RawLD", "is damaged .*not supported"),
        ("BlockType=BOOK", "BlockType=PAGE", ""),
        ("./modules", "./nowhere", "lacks its files|expected both testaments"),
    ],
)
def test_settings_of_a_module_that_make_no_sense_are_named(tmp_path, old, new, message):
    write_bibles(tmp_path)
    conf = tmp_path / "usr/share/sword/mods.d/engWEB2015eb.conf"
    conf.write_text(conf.read_text().replace(old, new))
    with pytest.raises(DataError, match=f"engWEB2015eb.*({message})"):
        read_bible(tmp_path, "web")


@pytest.mark.parametrize("keep", [0, 7])
def test_places_of_books_that_are_cut_short_are_named(tmp_path, keep):
    write_bibles(tmp_path)
    path = tmp_path / "usr/share/sword/modules/texts/ztext/engWEB2015eb/ot.bzs"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match="engWEB2015eb"):
        read_bible(tmp_path, "web")
