"""Texts: normalization, notations, web pages, numbers; lists of inputs, generated text, labeled rows, logs."""

import io
import json
import sys
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from types import SimpleNamespace

from data_prep.text import transcripts, web
from data_prep.text.binarize import binarize
from data_prep.text.labeled import read_rows
from data_prep.text.normalize import foreign_letters, is_spelled_out, join_clitics
from data_prep.text.numbers import kinds_of, speak
from data_prep.text.vocab import train_vocabulary
from data_prep.text.word_alignment import fit, mean_log_probability, number_words, vocabulary_of
from slam_plugin.commands import score
from slam_plugin.commands.inputs import inputs_of
from slam_plugin.data.lines import lines_in
from slam_plugin.data.text.normalization import NORMALIZATIONS, find_normalization, normalize, tidy
from slam_plugin.data.text.vocabulary import Vocabulary
from slam_plugin.inference.inputs import Limits, read_sentences, read_text
from slam_plugin.reporting.logs import read_log
from slam_plugin.scoring.comparison import join, read_output
from slam_plugin.scoring.text import METRICS, score_file
from tests.data_prep.layouts.mc4 import PAGES
from tests.data_prep.layouts.switchboard import FISHER, ISIP, STM
from tests.data_prep.layouts.tedlium import TALKS
from tests.data_prep.layouts.wsj import DOTS
from tests.fuzz.of_plugin import LINES, write_vocabulary
from tests.fuzz.reader import Reader

_MAX_CHARACTERS = 50_000  # some of these functions take a second for a million characters
_ANYTHING = ("",)  # functions of a text: whoever calls them knows where it stands
_TEXTS = [
    "Chceš-li „to“?",
    "Cæsar’s Café, l·l ŀ",
    "İstanbul'da ILIK",
    "हिन्दी क‍ष",
    "Due on 3/4! $3,500.50 (in 1999)",
    *LINES,
]

_NOTATIONS = [*STM[:6], *FISHER[3:6], *ISIP["A"][1:], *sum(TALKS.values(), []), *sum(DOTS.values(), [])]
_NUMBERS = ["12/5/2005", "$3,500.50", "3/4", "1987", "1980s", "5%", "12:30", "1,000", "3rd", "5km", "555-1234"]


def _text_of(path: Path) -> str:
    """Return a text as readers have it: half characters of JSON and of file names are in it."""
    return path.read_bytes().decode("utf-8", "surrogatepass" if b"\xed" in path.read_bytes() else "surrogateescape")


def _of_lines(function, folder: Path) -> None:
    try:
        text = _text_of(folder / "a.txt")
    except UnicodeDecodeError:
        text = (folder / "a.txt").read_bytes().decode("utf-8", "surrogateescape")
    text = text[:_MAX_CHARACTERS]
    function(text)
    for line in text.split("\n")[:20]:
        function(line)


def _normalized(text: str) -> None:
    for name, function in NORMALIZATIONS.items():
        once = function(text)
        assert function(once) == once or name == "english forms", f"{name} changes {once[:80]!r} again"
    normalize(text, "tr"), tidy(text)
    find_normalization([text], ["a"])
    join_clitics(text), is_spelled_out(text), foreign_letters(text, frozenset("ab"))


def _notations(text: str) -> None:
    for function in (
        transcripts.switchboard,
        transcripts.fisher,
        transcripts.hub5,
        transcripts.tedlium,
        transcripts.wsj,
    ):
        function(text)
    transcripts.ami(text.split()), transcripts.common_notation(text)


def _web(text: str) -> None:
    for language in ("en", "de"):
        web.clean(text, language), web.clean(text, language, True, True)
    list(web.sentences_of(text))


def _numbers(text: str) -> None:
    for word in text.split()[:50]:
        for kind in kinds_of(word):
            speak(word, kind)


def _write_lines(lines: list[str], folder: Path) -> None:
    (folder / "a.txt").write_text("\n".join(lines) + "\n")


def of_lines(name: str, lines: list[str], function, weight: int = 4) -> Reader:
    """Return the reader that calls a function with each line of a file, and with all of it."""
    return Reader(f"text.{name}", partial(_write_lines, lines), partial(_of_lines, function), ("*",), _ANYTHING, weight)


# ---------------------------------------------------------------------------------------------------------------------
# files


_SCORED = ("generate-test.txt", "classes.txt")  # if they do not fit each other, either may be named


def _write_generated(folder: Path) -> None:
    rows = [
        f"S-{n}\tx\nT-{n}\t{line}\nH-{n}\t-0.5\t▁a\nD-{n}\t-0.5\t{line[::-1]}\nP-{n}\t-0.1"
        for n, line in enumerate(LINES)
    ]
    (folder / "generate-test.txt").write_text(
        "2026 | INFO | loading\n" + "\n".join(rows) + "\nGenerate test with beam=5\n"
    )
    (folder / "classes.txt").write_text("\n".join("date" if n % 2 else "plain" for n in range(len(LINES))) + "\n")


def _score(folder: Path) -> None:
    # Few metrics: each has a bootstrap.
    options = SimpleNamespace(generated=folder / "generate-test.txt", metrics=["cer", "accuracy"], json=True)
    options.normalizer, options.language, options.worst, options.classes = "none", None, None, folder / "classes.txt"
    with redirect_stdout(io.StringIO()) as printed:
        score.run(options)
    json.loads(printed.getvalue())
    score_file(folder / "generate-test.txt", METRICS)
    output = read_output(folder / "generate-test.txt")
    assert len(join(output, output).rows) == len(output.hypotheses)


def _write_labeled(folder: Path) -> None:
    (folder / "a.tsv").write_text("good\tone\ttwo\nbad\tthree\tfour\n")


def _write_inputs(folder: Path) -> None:
    write_vocabulary(folder)
    _write_lines(["the cat sat", "on the mat\ta dog", "a.wav", "sub"], folder)


def _inputs(folder: Path) -> None:
    """Read standard input as the commands do, and encode what it holds."""
    vocabulary = Vocabulary.load(folder)
    before = sys.stdin
    try:
        for are_texts in (True, False):
            sys.stdin = io.TextIOWrapper(io.BytesIO((folder / "a.txt").read_bytes()), "utf-8")
            inputs, _ = inputs_of(["-"], are_texts, pairs=are_texts)
            for item in inputs[:5] if are_texts else ():
                _encoded(item, vocabulary)
    finally:
        sys.stdin = before


def _encoded(item, vocabulary: Vocabulary) -> None:
    from slam_plugin.data.errors import DataError

    for normalization in NORMALIZATIONS:
        try:
            if isinstance(item.source, tuple):
                read_sentences(item.source, f"input {item.id}", vocabulary, Limits(1, 100), normalization)
            else:
                read_text(item.source, f"input {item.id}", vocabulary, Limits(1, 100), normalization)
        except DataError as error:
            assert f"input {item.id}" in str(error)


def _write_texts(folder: Path) -> None:
    write_vocabulary(folder)
    _write_lines(LINES, folder)


def _binarize(folder: Path) -> None:
    binarize(folder / "a.txt", folder, "a")


def _train_vocabulary(folder: Path) -> None:
    train_vocabulary(lines_in(folder / "a.txt"), "made", 40, "char")


def _write_log(folder: Path) -> None:
    stats = (
        '{"epoch": 1, "update": 0.5, "loss": "3.1", "num_updates": "10", "lr": "0.001", "contrastive_accuracy": "0.5"}'
    )
    lines = [f"2026-01-01 | INFO | {name} | {stats}" for name in ("train_inner", "valid", "train")]
    (folder / "train.log").write_text("\n".join([*lines, "2026 | INFO | fairseq.trainer | begin"]) + "\n")


def _write_aligned(folder: Path) -> None:
    _write_lines([f"word {'abc'[n % 3] * 2} x{n}" for n in range(12)], folder)


def _align(folder: Path) -> None:
    lines = list(lines_in(folder / "a.txt"))
    sides = lines[::2], lines[1::2]
    count = min(map(len, sides))
    if not count or not all(line.split() for side in sides for line in side[:count]):
        return
    words = [vocabulary_of(side[:count]) for side in sides]
    source, target = (number_words(side[:count], known) for side, known in zip(sides, words, strict=True))
    table = fit(source, target, len(words[0]) * len(words[1]))
    mean_log_probability(table, source, target)


READERS = (
    of_lines("normalization", _TEXTS, _normalized, 2.5),
    of_lines("notations", _NOTATIONS, _notations, 2),
    of_lines("web", list(PAGES.values()), _web, 3),
    of_lines("numbers", _NUMBERS, _numbers, 4),
    Reader("generated", _write_generated, _score, _SCORED, _SCORED, 6),
    Reader("labeled", _write_labeled, lambda folder: read_rows(folder / "a.tsv"), weight=4),
    Reader("inputs", _write_inputs, _inputs, ("a.txt",), ("standard input",), 1),
    Reader("text.binarize", _write_texts, _binarize, ("a.txt",), weight=4),
    Reader("text.vocabulary", _write_texts, _train_vocabulary, ("a.txt",), ("made",), 2),
    Reader("text.alignment", _write_aligned, _align),
    Reader("report.log", _write_log, lambda folder: read_log(folder / "train.log"), weight=3),
)  # fmt: skip
