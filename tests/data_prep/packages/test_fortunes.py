import pytest

from data_prep.engine.units import Dropped, Item
from data_prep.packages import fortunes
from data_prep.packages.documents import read_documents
from data_prep.packages.fortunes import FOLDER, open_corpus, sentences_of
from slam_plugin.data.errors import DataError
from tests.data_prep.preparing import check_sharing, run_command


@pytest.fixture
def write(tmp_path):
    """Write a file of fortunes, with its index and its second name as in the package."""

    def write_file(name, *texts, encoding="utf-8"):
        folder = tmp_path / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("".join(f"{text}\n%\n" for text in texts), encoding=encoding)
        (folder / f"{name}.dat").write_bytes(b"\x00\x01\xff")
        (folder / f"{name}.u8").unlink(missing_ok=True)
        (folder / f"{name}.u8").symlink_to(name)
        return tmp_path

    return write_file


@pytest.fixture(autouse=True)
def read_afresh():
    fortunes._documents.cache_clear()


def read(tree):
    """Documents by split, and reasons why sentences are left out."""
    corpus = open_corpus(tree)
    found = [each for unit in corpus.units() for each in corpus.read(unit)]
    splits = {split: [] for split in corpus.outputs}
    for each in found:
        if isinstance(each, Item):
            splits[each.output].append(each.texts[0].removesuffix("\n\n").split("\n"))
    return splits, [each.reason for each in found if isinstance(each, Dropped)]


def documents(tree):
    splits, _ = read(tree)
    return sorted(splits["train"] + splits["valid"])


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
    assert read(tree)[1] == [reason]


def test_one_bad_sentence_leaves_the_rest_of_its_document(write):
    tree = write("a", "Dobrá věta zde. Zbylo 5 korun. Dobrá věta tam.")
    assert documents(tree) == [["dobrá věta zde", "dobrá věta tam"]]


def texts_of(letters):
    return [f"Věta {a}{b}{c} zde. Další {a}{b}{c}." for a in letters for b in letters for c in letters]


def test_split_is_stable_disjoint_and_about_one_in_25(write):
    texts = texts_of("abcdefghijkl")
    splits, _ = read(write("a", *texts))
    assert 0.02 < len(splits["valid"]) / len(texts) < 0.06
    assert not {s for d in splits["valid"] for s in d} & {s for d in splits["train"] for s in d}
    # A document stays in its split if others come or go.
    fortunes._documents.cache_clear()
    fewer, _ = read(write("a", *texts[::3]))
    for split, found in fewer.items():
        assert found == [each for each in splits[split] if each in found] != []


def test_the_same_however_the_work_is_shared(write, tmp_path):
    texts = texts_of("abcde")
    write("a", *texts[:50])
    write("b", *texts[40:])
    tree = write("c", "Zbylo 5 korun.", *texts[:9])
    folder = check_sharing(open_corpus(tree), tmp_path)
    found = [each for split in ("train", "valid") for each in read_documents(folder / f"{split}.txt")]
    assert sorted(found) == documents(tree) and len(found) == 125
    left_out = (folder / "dropped.tsv").read_text(encoding="utf-8").splitlines()
    # Two sentences of ten fortunes that are in a and b, and of nine that are in a and c.
    assert len(left_out) == 1 + 20 + 1 + 18
    assert "b, fortune 1\tsentence that occurred before" in left_out
    assert "c, fortune 1\tsentence with digits or no letters" in left_out


def test_faults_are_named(write, tmp_path, capsys):
    with pytest.raises(DataError, match="expected the files of the package fortunes-cs"):
        open_corpus(tmp_path)
    tree = write("old", "Příliš žluťoučký", encoding="iso-8859-2")
    with pytest.raises(DataError, match="old: expected UTF-8"):
        read(tree)
    assert run_command(fortunes.main, "--tree", tree, "--out", tmp_path / "out") == 1
    assert "old: expected UTF-8" in capsys.readouterr().err
