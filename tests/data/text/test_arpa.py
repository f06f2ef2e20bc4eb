"""ARPA files: what KenLM would not read, or would crash on, is an error that names the line."""

import pytest

from slam_plugin.data.errors import DataError
from slam_plugin.data.text.arpa import is_binary, read_arpa, write_arpa

UNIGRAMS = ["-99\t<s>\t-0.3", "-0.7\t</s>", "-1\t<unk>", "-0.5\ta\t-0.2", "-0.6\tb\u00a0c\t-0.1"]
BIGRAMS = ["-0.2\t<s> a", "-0.3\ta b\u00a0c", "-0.4\tb\u00a0c </s>"]


def written(path, old="", new=""):
    write_arpa(path, [len(UNIGRAMS), len(BIGRAMS)], [UNIGRAMS, BIGRAMS])
    text = path.read_text()
    assert old in text
    path.write_bytes(text.replace(old, new, 1).encode())
    return path


@pytest.mark.parametrize(("old", "new"), [("", ""), ("-0.3\ta", "-0.3  a"), ("\\data\\", "\n\n\\data\\")])
def test_a_sound_file(tmp_path, old, new):
    found = read_arpa(written(tmp_path / "lm.arpa", old, new))
    assert found.words == ["<s>", "</s>", "<unk>", "a", "b\u00a0c"] and found.counts == [5, 3]
    path = tmp_path / "lm.arpa"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert read_arpa(path) == found
    assert not is_binary(path)


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("\\data\\", "data", 1, "expected .data., the first line"),
        ("ngram 1=5", "ngram 1=4", 12, "found 5 1-grams before this line, expected 4"),
        ("ngram 2=3", "ngram 2=-3", 3, "expected ngram 2=COUNT"),
        ("ngram 2=3", "ngram 2=99999999999999", 17, "found 3 2-grams before this line, expected 99999999999999"),
        ("ngram 2=3", "ngram 3=3", 3, "expected ngram 2=COUNT"),
        ("ngram 2=3\n", "", 4, "expected counts of 2 to 6 orders before this line, found 1"),
        ("\\2-grams:", "\\3-grams:", 12, "expected .2-grams:"),
        ("-0.3\ta", "x\ta", 14, "expected a log10 probability"),
        ("-0.3\ta", "nan\ta", 14, "expected a log10 probability"),
        ("-0.3\ta", "0.3\ta", 14, "expected a log10 probability"),
        ("-0.3\ta", "-inf\ta", 14, "expected a log10 probability"),
        ("\ta b", "\tc b", 14, "found a word that is not among the 1-grams"),
        ("\ta b", "\ta a b", 14, "expected a number as the backoff"),
        ("\ta b", "\ta a a a b", 14, "expected a log-probability, 2 words"),
        ("<s> a", "<s> a\t-0.5", 13, "found a backoff in the highest order"),
        ("a\t-0.2", "a\tq", 9, "expected a number as the backoff"),
        ("-0.5\ta\t", "-0.5\t</s>\t", 9, "found the word a second time"),
        ("\t<s>\t", "\tq\t", 12, "found no <s> among the 1-grams"),
        ("\\end\\", "", 18, "expected .end."),
    ],
)
def test_a_fault_is_named_with_its_line(tmp_path, old, new, line, message):
    path = written(tmp_path / "lm.arpa", old, new)
    with pytest.raises(DataError, match=f"lm.arpa:{line}: found .*; {message}"):
        read_arpa(path)


def test_every_beginning_of_a_file_is_refused(tmp_path):
    path = written(tmp_path / "lm.arpa")
    whole = path.read_bytes()
    for size in range(len(whole) - len(b"\\\n")):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match="lm.arpa:"):
            read_arpa(path)


def test_bytes_that_are_no_text(tmp_path):
    path = written(tmp_path / "lm.arpa")
    path.write_bytes(path.read_bytes().replace(b"\ta\t", b"\t\xff\t"))
    with pytest.raises(DataError, match="lm.arpa:9: .*expected UTF-8"):
        read_arpa(path)
