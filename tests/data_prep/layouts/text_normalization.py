"""Sproat and Jaitly's corpus in the formats of Kaggle's challenge and of Google's release, and a table of pairs."""

import csv
from pathlib import Path

SENTENCES = [
    [("PLAIN", "Brillantaisia", "Brillantaisia"), ("PLAIN", "is", "is"), ("PLAIN", "new", "new"), ("PUNCT", ".", ".")],
    [
        ("PLAIN", "The", "the"),
        ("PLAIN", "company 's", "company's"),
        ("DATE", "12 May 2005", "the twelfth of may two thousand five"),
        ("PUNCT", ",", ","),
    ],
    [
        ("PLAIN", "He", "he"),
        ("PLAIN", "paid", "paid"),
        ("MONEY", "$3,500.50", "three thousand five hundred dollars and fifty cents"),
        ("PLAIN", "in", "in"),
        ("DATE", "1987", "nineteen eighty seven"),
        ("PUNCT", '"', '"'),
    ],
    [("PLAIN", "See", "see"), ("ELECTRONIC", "Zim.com", "z_letter i_letter m_letter dot c_letter o_letter m_letter")],
    [("LETTERS", "USA", "u s a"), ("VERBATIM", "&", "and"), ("LETTERS", "UK", "u k")],
]
# How the sentences are to come out: written, spoken, class.
EXPECTED = [
    ("brillantaisia is new", "brillantaisia is new", "plain"),
    ("the company's 12 may 2005", "the company's the twelfth of may two thousand five", "date"),
    (
        "he paid $3,500.50 in 1987",
        "he paid three thousand five hundred dollars and fifty cents in nineteen eighty seven",
        "mixed",
    ),
    ("see zim.com", "see z i m dot c o m", "electronic"),
    ("usa & uk", "u s a and u k", "mixed"),
]
FILLER = 30  # more sentences, so that each split has some


def fillers() -> list[list[tuple[str, str, str]]]:
    """Return distinct sentences with a number."""
    words = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    names = [f"word{'abcdefghij'[tens]}{'klmnopqrst'[ones]}" for tens in range(FILLER // 10) for ones in range(10)]
    return [
        [("PLAIN", name, name), ("CARDINAL", str(number % 10), words[number % 10]), ("PUNCT", ".", ".")]
        for number, name in enumerate(names)
    ]


def write_challenge(root: Path) -> Path:
    """Write ``en_train.csv`` with all strings in quotes and a table without classes. Return the folder."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / "en_train.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
        writer.writerow(["sentence_id", "token_id", "class", "before", "after"])
        for sentence, tokens in enumerate([*SENTENCES, *fillers()]):
            for number, token in enumerate(tokens):
                writer.writerow([sentence, number, *token])
    (root / "en_test.csv").write_text('"sentence_id","token_id","before"\n0,0,"Another"\n')
    return root


def write_release(root: Path) -> Path:
    """Write two files of the release and return the folder."""
    root.mkdir(parents=True, exist_ok=True)
    sentences = [*SENTENCES, *fillers()]
    for number, chosen in enumerate((sentences[:20], sentences[20:])):
        lines = []
        for tokens in chosen:
            for kind, written, spoken in tokens:
                said = "sil" if kind == "PUNCT" else "<self>" if written.lower() == spoken.lower() else spoken
                lines.append(f"{kind}\t{written}\t{said}\n")
            lines.append("<eos>\t<eos>\n")
        (root / f"output-{number:05d}-of-00100").write_text("".join(lines), encoding="utf-8")
    return root


def write_pairs(root: Path) -> Path:
    """Write ``pairs.tsv`` and return it."""
    rows = [(" ".join(t[1] for t in tokens[:-1]) + ".", " ".join(t[2] for t in tokens[:-1])) for tokens in fillers()]
    rows += [
        ("It cost $5.50, he said (in 1999).", "It cost five dollars and fifty cents he said in nineteen ninety nine")
    ]
    rows += [("“Nothing” – changes here!", "Nothing changes here.")]
    root.mkdir(parents=True, exist_ok=True)
    (root / "pairs.tsv").write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")
    return root / "pairs.tsv"
