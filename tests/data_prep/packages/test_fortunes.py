import pytest

from data_prep.packages import fortunes
from data_prep.packages.fortunes import FOLDER, read_prose, sentences_of
from slam_plugin.data.errors import DataError


@pytest.fixture
def write(tmp_path):
    """Write one file of fortunes, with the index and the second name that the package puts beside it."""

    def write_file(name, *texts, encoding="utf-8"):
        folder = tmp_path / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("".join(f"{text}\n%\n" for text in texts), encoding=encoding)
        (folder / f"{name}.dat").write_bytes(b"\x00\x01\xff")
        (folder / f"{name}.u8").symlink_to(name)
        return tmp_path

    return write_file


def documents(tree):
    prose = read_prose(tree)
    return sorted(prose.train + prose.valid)


def test_wrapped_lines_attribution_and_sentences():
    fortune = (
        '\tByl jsem velmi nemocen. "Ó, ty vody!" Tehda jsem o nich\n'
        "nevěděl. Co dr. Novák a p. K. Čapek říkali 19. července? Nic.\n"
        "\tDalší odstavec (str. 123)\n"
        "\t\t-- J. K. Jerome: Tři muži.\n\t\t   Druhý díl. Praha"
    )
    assert sentences_of(fortune) == [
        "Byl jsem velmi nemocen.", '"Ó, ty vody!', "Tehda jsem o nich nevěděl.",
        "Co dr. Novák a p. K. Čapek říkali 19. července?", "Nic.", "Další odstavec",
    ]  # fmt: skip


def test_lists_verses_and_a_dash_that_opens_a_line():
    assert sentences_of("Dobrá firma:\n- musí mít ceny\n- má klienty\n") == [
        "Dobrá firma:",
        "musí mít ceny",
        "má klienty",
    ]
    assert sentences_of("1. Jeden den\n2. Druhý den") == ["Jeden den", "Druhý den"]
    assert sentences_of("Až mi bude sto,\npřijde Bůh --\na zmáčkne RESET.") == [
        "Až mi bude sto, přijde Bůh -- a zmáčkne RESET."
    ]


def test_documents_are_fortunes_and_index_files_are_not_read(write):
    tree = write("citat", "První věta. Druhá věta.\n\t\t-- Seneca", "Třetí věta.\n\t\t-- Plautus", "\n")
    assert documents(tree) == [["první věta", "druhá věta"], ["třetí věta"]]


@pytest.mark.parametrize(
    ("fortune", "reason"),
    [
        ("Zbylo 5 korun.", "sentence with digits or no letters"),
        ("Želám vám ľahkú noc.", "sentence with letters that are not Czech"),
        ("Slovo.", "sentence of fewer than 2 or more than 80 words"),
        ("dva " * 81, "sentence of fewer than 2 or more than 80 words"),
        ("Přejel m r t v ý c h lidí.", "sentence in spaced letters"),
        ("+------+\n| Věta je v rámečku. |", "document with a drawing, table or program"),
        ("První věta v jiném souboru!", "sentence that occurred before"),
    ],
)
def test_what_is_dropped_is_counted(write, fortune, reason):
    write("a", "První věta v jiném souboru.")
    tree = write("b", fortune)
    assert documents(tree) == [["první věta v jiném souboru"]]
    assert +read_prose(tree).dropped == {reason: 1}


def test_one_bad_sentence_leaves_the_rest_of_its_document(write):
    tree = write("a", "Dobrá věta zde. Zbylo 5 korun. Dobrá věta tam.")
    assert documents(tree) == [["dobrá věta zde", "dobrá věta tam"]]


def test_split_is_stable_disjoint_and_about_one_in_25(write):
    letters = "abcdefghijkl"
    texts = [f"Věta {a}{b}{c} zde." for a in letters for b in letters for c in letters]
    prose = read_prose(write("a", *texts))
    assert 0.02 < len(prose.valid) / len(texts) < 0.06
    assert not {s for d in prose.valid for s in d} & {s for d in prose.train for s in d}
    # A document stays where it is when others come or go.
    fewer = read_prose(write("b", *texts[:3]))
    assert fewer.train == prose.train and fewer.valid == prose.valid


def test_written_documents_end_with_an_empty_line(write, tmp_path, capsys):
    letters = "abcdefgh"
    tree = write("a", *(f"Věta {a}{b} jedna. A druhá {a}{b}." for a in letters for b in letters))
    assert fortunes.main(["--tree", str(tree), "--out", str(tmp_path / "out")]) == 0
    read = [
        block.split("\n")
        for name in ("train", "valid")
        for block in (tmp_path / "out" / f"{name}.txt").read_text(encoding="utf-8").removesuffix("\n\n").split("\n\n")
    ]
    assert sorted(read) == documents(tree) and len(read) == 64
    assert "sentences" in capsys.readouterr().out


def test_faults_are_named(write, tmp_path, capsys):
    with pytest.raises(DataError, match="expected the files of the package fortunes-cs"):
        read_prose(tmp_path)
    tree = write("old", "Příliš žluťoučký", encoding="iso-8859-2")
    with pytest.raises(DataError, match="old: expected UTF-8"):
        read_prose(tree)
    assert fortunes.main(["--tree", str(tree), "--out", str(tmp_path / "out")]) == 1
    assert "old: expected UTF-8" in capsys.readouterr().err
