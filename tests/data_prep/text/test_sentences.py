import numpy as np
import pytest
from fairseq import options, tasks
from fairseq.data import Dictionary, data_utils
from sentencepiece import SentencePieceProcessor

from data_prep.text import sentences
from data_prep.text.labeled import Row, write_rows
from data_prep.text.sentences import write_sentences
from data_prep.text.vocab import train_vocabulary
from slam_plugin.data.errors import DataError

WORDS = ("alma", "bela", "cila", "dana", "ema")


def rows_of(seed, count, labels=("bad", "good"), texts=1):
    random = np.random.default_rng(seed)
    return [
        Row(str(random.choice(labels)), tuple(" ".join(random.choice(WORDS, 4)) for _ in range(texts)))
        for _ in range(count)
    ]


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vocabulary")
    train_vocabulary([row.texts[0] for row in rows_of(9, 50)], folder, 40)
    return folder


def decoded(folder, split, vocabulary):
    dictionary = Dictionary.load(str(vocabulary / "dict.txt"))
    pieces = SentencePieceProcessor(model_file=str(vocabulary / "spm.model"))
    items = data_utils.load_indexed_dataset(str(folder / split), dictionary, "mmap")
    assert all(item[-1] == dictionary.eos() for item in items)
    return [pieces.decode([dictionary[i] for i in item[:-1]]) for item in items]


def test_pairs_with_classes(tmp_path, vocabulary):
    splits = {"train": rows_of(0, 20, texts=2), "valid": rows_of(1, 5, texts=2), "valid1": rows_of(2, 5, texts=2)}
    done = write_sentences(splits, vocabulary, tmp_path)
    labels = Dictionary.load(str(tmp_path / "label/dict.txt"))
    assert labels.symbols[labels.nspecial :] == ["bad", "good"]
    assert labels.count[labels.nspecial :] == [
        sum(r.label == name for r in splits["train"]) for name in ("bad", "good")
    ]
    for split, rows in splits.items():
        for number in (0, 1):
            assert decoded(tmp_path / f"input{number}", split, vocabulary) == [row.texts[number] for row in rows]
            assert done[split][number].lines == len(rows)
        items = data_utils.load_indexed_dataset(str(tmp_path / "label" / split), labels, "mmap")
        assert [labels.string(item) for item in items] == [row.label for row in rows]
    for name in ("dict.txt", "spm.model"):
        assert (tmp_path / name).read_bytes() == (vocabulary / name).read_bytes()
    assert not [path.name for path in tmp_path.rglob(".*")]


def test_fairseqs_own_task_reads_it(tmp_path, vocabulary):
    rows = rows_of(0, 10, texts=2)
    write_sentences({"train": rows}, vocabulary, tmp_path)
    arguments = ["--task", "sentence_prediction", "--num-classes", "2", "--init-token", "0", "--separator-token", "2"]
    arguments += ["--arch", "roberta_base", "--criterion", "sentence_prediction"]
    task = tasks.setup_task(options.parse_args_and_arch(options.get_training_parser(), [str(tmp_path), *arguments]))
    data = task.load_dataset("train")
    batch = data.collater([data[i] for i in range(10)])
    ids = {name: number for number, name in enumerate(("bad", "good"))}
    by_id = {int(i): int(target) for i, target in zip(batch["id"], batch["target"], strict=True)}
    assert by_id == {i: ids[row.label] for i, row in enumerate(rows)}


def test_regression(tmp_path, vocabulary):
    rows = [Row(label, ("alma ema",)) for label in ("1", "-2.5", "3e-1")]
    write_sentences({"train": rows}, vocabulary, tmp_path, regression=True)
    assert (tmp_path / "label/train.label").read_text() == "1.0\n-2.5\n0.3\n"
    assert [path.name for path in (tmp_path / "label").iterdir()] == ["train.label"]
    for wrong in ("good", "nan"):
        with pytest.raises(DataError, match=rf"train, row 4: found the label '{wrong}', expected a number"):
            write_sentences({"train": [*rows, Row(wrong, ("ema",))]}, vocabulary, tmp_path, regression=True)


def test_the_order_of_labels_is_the_one_asked_for(tmp_path, vocabulary):
    rows = rows_of(0, 10)
    write_sentences({"train": rows}, vocabulary, tmp_path, labels=["good", "never", "bad"])
    lines = (tmp_path / "label/dict.txt").read_text().split("\n")
    assert [line.split(" ")[0] for line in lines] == ["good", "never", "bad", ""] and lines[1] == "never 0"


def test_faults(tmp_path, vocabulary):
    rows = rows_of(0, 10)
    with pytest.raises(DataError, match=r"valid, row 2: found the label 'odd', expected one of bad, good"):
        write_sentences({"train": rows, "valid": [rows[0], Row("odd", ("ema",))]}, vocabulary, tmp_path)
    with pytest.raises(DataError, match=r"found rows of \[1, 2\] texts"):
        write_sentences({"train": rows, "valid": rows_of(1, 2, texts=2)}, vocabulary, tmp_path)


def test_command(tmp_path, vocabulary, capsys):
    for seed, split in enumerate(("train", "valid", "test")):
        write_rows(tmp_path / f"{split}.tsv", rows_of(seed, 6))
    files = [word for s in ("train", "valid", "test") for word in (f"--{s}", str(tmp_path / f"{s}.tsv"))]
    assert sentences.main(["--vocab", str(vocabulary), "--out", str(tmp_path / "out"), *files]) == 0
    assert "train 6, valid 6, test 6" in capsys.readouterr().out
    write_sentences({s: rows_of(i, 6) for i, s in enumerate(("train", "valid", "test"))}, vocabulary, tmp_path / "api")
    made = {path.relative_to(tmp_path / "api") for path in (tmp_path / "api").rglob("*") if path.is_file()}
    for path in made:
        assert (tmp_path / "api" / path).read_bytes() == (tmp_path / "out" / path).read_bytes()
    assert len(made) == 2 + 1 + 3 * 2 + 1 + 3 * 2
    missing = ["--vocab", str(vocabulary), "--out", str(tmp_path / "none"), "--train", str(tmp_path / "none.tsv")]
    assert sentences.main(missing) == 1 and "none.tsv" in capsys.readouterr().err
