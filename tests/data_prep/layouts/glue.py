"""GLUE in its publisher's layout: four tasks, their columns, quotation marks that are characters, no test labels."""

from collections.abc import Sequence
from pathlib import Path

_MNLI = ("index", "promptID", "pairID", "genre", "sentence1_binary_parse", "sentence2_binary_parse")
_MNLI += ("sentence1_parse", "sentence2_parse", "sentence1", "sentence2")
MNLI_HEADERS = {
    "train": (*_MNLI, "label1", "gold_label"),
    "dev": (*_MNLI, *(f"label{number}" for number in range(1, 6)), "gold_label"),
    "test": _MNLI,
}
ENTAILED = [
    ("Conceptually cream skimming has two basic dimensions - product and geography.", "Product and geography."),
    ('He said "no', "He agreed, didn't he?"),
    ("Café life isn't dear.", "it 's cheap"),
    ("One of our number will carry out your instructions.", "A member of my team will."),
]
LABELS = ("neutral", "contradiction", "entailment", "neutral")
QUESTIONS = [
    ("When did the third Digimon series begin?", "Unlike the two seasons before it, it was darker.", "not_entailment"),
    ("What came into force after the new constitution was herald?", "As of that day, it did.", "entailment"),
    ("Who was the first?", 'The "first" was Anne.', "entailment"),
]
DUPLICATES = [
    ("How is the life of a math student?", "Which level of prepration is enough?", "0"),
    ("How do I control my emotions?", "How do you control your emotions?", "1"),
    ('What causes "stool" color to change?', "What can cause it?", "1"),
]
REVIEWS = [
    ("hide new secretions from the parental units ", "0"),
    ("it 's a charming and often affecting journey ", "1"),
]


def write_glue(root: Path) -> Path:
    """Write a tree without faults and return ``root/GLUE``."""
    top = root / "GLUE"
    for name in ("train", "dev_matched", "dev_mismatched", "test_matched", "test_mismatched"):
        header = MNLI_HEADERS[name.partition("_")[0]]
        _write(top / f"MNLI/{name}.tsv", header, [mnli_row(name, index) for index in range(len(ENTAILED))])
    for name in ("train", "dev"):
        rows = [(str(index), *row) for index, row in enumerate(QUESTIONS)]
        _write(top / f"QNLI/{name}.tsv", ("index", "question", "sentence", "label"), rows)
        rows = [(str(133273 + index), "213221", "213222", *row) for index, row in enumerate(DUPLICATES)]
        _write(top / f"QQP/{name}.tsv", ("id", "qid1", "qid2", "question1", "question2", "is_duplicate"), rows)
        _write(top / f"SST-2/{name}.tsv", ("sentence", "label"), REVIEWS)
    _write(top / "QNLI/test.tsv", ("index", "question", "sentence"), _numbered([row[:2] for row in QUESTIONS]))
    _write(top / "QQP/test.tsv", ("id", "question1", "question2"), _numbered([row[:2] for row in DUPLICATES]))
    _write(top / "SST-2/test.tsv", ("index", "sentence"), _numbered([row[:1] for row in REVIEWS]))
    return top


def mnli_row(name: str, index: int) -> tuple[str, ...]:
    """Return a row of the file ``name`` with all of its columns."""
    first, second = ENTAILED[index]
    row = (str(index), "31193", f"31193n{index}", "government", f"( {first} )", f"( {second} )")
    row += (f"(ROOT {first})", f"(ROOT {second})", first, second)
    votes = {"train": 1, "dev_matched": 5, "dev_mismatched": 5}.get(name, 0)
    return row + (LABELS[index],) * (votes + 1 if votes else 0)


def _numbered(rows: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    return [(str(index), *row) for index, row in enumerate(rows)]


def _write(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join("\t".join(row) + "\n" for row in (header, *rows)), encoding="utf-8")
