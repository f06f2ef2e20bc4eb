"""Packages: archives, games, Bibles, catalogs, dictionaries, and what they are unpacked from."""

from functools import partial
from pathlib import Path

from data_prep.engine.command import prepare
from data_prep.packages import (
    amazon_queen,
    bibles,
    drascula,
    fillets,
    fortunes,
    movie_reviews,
    steel_sky,
    wesnoth,
    wordnet,
)
from data_prep.packages.fetch import fetch, read_record
from data_prep.packages.rnc import decompress
from data_prep.packages.synthetic import read_sentences
from data_prep.packages.unpack import unpack
from tests.data_prep.layouts.games import (
    deb_of,
    entry,
    write_drascula,
    write_glosses,
    write_queen,
    write_sky,
    write_wesnoth,
)
from tests.data_prep.layouts.rnc import pack
from tests.data_prep.packages.test_bibles import write_module
from tests.data_prep.packages.test_fetch import GAME, sdist_of
from tests.data_prep.packages.test_fillets import Tree, write_three_levels
from tests.data_prep.packages.test_movie_reviews import write_reviews
from tests.fuzz.of_corpora import NAMED
from tests.fuzz.reader import Reader

_VERSES = {
    ("Genesis", chapter, verse): f'<w lemma="strong:H1">The {chapter * "a"}</w>, and it was {verse * "b"}.'
    for chapter in range(1, 9)
    for verse in (1, 2)
} | {("Matthew", 1, 1): "The book."}


def _bible(folder: Path) -> None:
    write_module(folder, "web", _VERSES)


def _read_bible(folder: Path) -> None:
    found = list(bibles.read_printed(folder, "web").values())
    assert all(isinstance(text, str) for text in found)


def _fortunes(folder: Path) -> None:
    (folder / fortunes.FOLDER).mkdir(parents=True)
    text = "".join(
        f"\tVěta číslo {'abc'[n % 3] * n} a {'xyz'[n % 3] * n} zde.\n Další věta.\n\t-- Někdo\n%\n"
        for n in range(1, 60)
    )
    (folder / fortunes.FOLDER / "cs").write_text(text)


def _deb(ending: str, folder: Path) -> None:
    deb_of(folder / "a_1_all.deb", *GAME, ending=ending)


def _packages(folder: Path) -> None:
    deb_of(folder / "debs/game_1_all.deb", entry("./usr/game", b"1"))
    fetch(["game"], folder / "tree", folder / "debs")


def _record(folder: Path) -> None:
    read_record(folder / "tree")
    fetch(["game"], folder / "tree", folder / "debs")


def _drascula(folder: Path) -> None:
    write_drascula(folder, 2, 1, 2)


def _sky(folder: Path) -> None:
    write_sky(folder, 2, 1, 2)


def _glosses(folder: Path) -> None:
    glosses = [f'a thing of the kind {"abcdefgh"[n % 8] * (n + 1)}; "one example"' for n in range(60)]
    write_glosses(folder, [*glosses, '(biology) a cell; "so it stands'])


def _sentences(folder: Path) -> None:
    (folder / "sentences.txt").write_text("the first one\nit's the second\n\nthird\n")


def _rnc(folder: Path) -> None:
    (folder / "a.rnc").write_bytes(pack(b"some text, some text, and again some text " * 6 + bytes(range(64))))


def corpus(
    name: str, write, open_corpus, files: tuple[str, ...], weight: float = 1, named: tuple[str, ...] = ()
) -> Reader:
    """Return the reader of a package's corpus."""

    def read(folder: Path) -> None:
        prepare(open_corpus(folder), "out")

    return Reader(f"package.{name}", write, read, files, (*NAMED, *named), weight, seconds=15.0)


def _out(open_game):
    return lambda folder: open_game(folder, Path("out").absolute())


READERS = (
    corpus("steel_sky", _sky, _out(steel_sky.open_game), ("*.dnr", "*.dsk"), 1, ("sky.dsk",)),
    corpus("drascula", _drascula, _out(drascula.open_game), ("*.dat", "*.ALS"), 0.2),
    corpus("amazon_queen", write_queen, _out(amazon_queen.open_game), ("*.1c",), 0.5),
    corpus("fillets", lambda folder: write_three_levels(Tree(folder)), fillets.open_corpus, ("*.lua", "*.ogg"), 1),
    corpus("wesnoth", lambda folder: write_wesnoth(folder, 40), wesnoth.open_corpus, ("*.mo",)),
    corpus("wordnet", _glosses, wordnet.open_corpus, ("*/data.*",)),
    corpus("fortunes", _fortunes, fortunes.open_corpus, ("*/cs",)),
    corpus("reviews", write_reviews, movie_reviews.open_corpus, ("*.gz",)),
    Reader("package.bible", _bible, _read_bible, ("*",), ("web", "engWEB"), 0.5),
    Reader("package.rnc", _rnc, lambda folder: decompress((folder / "a.rnc").read_bytes(), "a.rnc"), weight=10),
    *(
        Reader(f"package.deb.{ending or 'plain'}", partial(_deb, f".{ending}"),
               lambda folder: unpack(folder / "a_1_all.deb", "tree"), weight=8)
        for ending in ("xz", "gz", "bz2")
    ),
    Reader("package.sdist", lambda folder: sdist_of(folder / "a-1.tar.gz", entry("a-1/b.txt", b"some text")),
           lambda folder: unpack(folder / "a-1.tar.gz", "tree"), weight=10),
    Reader("package.record", _packages, _record, ("tree/packages.json",), weight=2),
    Reader("package.sentences", _sentences, lambda folder: read_sentences(folder / "sentences.txt"), weight=2),
)  # fmt: skip
