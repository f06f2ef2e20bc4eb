"""Sentences of transcripts as people lay them out, and texts in other encodings."""

import pytest

from slam_plugin.data.errors import DataError
from slam_plugin.recordings.sentences import read_text, sentences_of


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("one sentence a line\nwithout any signs\n", ["one sentence a line", "without any signs"]),
        ("Yes.\nNo!\nWhat?", ["Yes.", "No!", "What?"]),
        ("Yes. No! What?", ["Yes.", "No!", "What?"]),
        ("A text\nwrapped at a\nwidth. Then it\ngoes on.\n", ["A text wrapped at a width.", "Then it goes on."]),
        ("Wrapped. And\nended by no sign\nat all", ["Wrapped.", "And ended by no sign at all"]),
        ("first paragraph\n\nsecond one\n", ["first paragraph", "second one"]),
        ("It is 3.5 e.g. in U.S. dollars. Mr. J. Hill paid.", ["It is 3.5 e.g. in U.S. dollars.", "Mr. J. Hill paid."]),
        ('He said: "Stop." "Why?" (Pause.) So…  he did', ['He said: "Stop."', '"Why?"', "(Pause.)", "So… he did"]),
        ("¿Qué? Ésa no. Él sí.", ["¿Qué?", "Ésa no.", "Él sí."]),
        ("你好。我很好。", ["你好。", "我很好。"]),
        ("\n \n\t\n", []),
        ("", []),
    ],
)  # fmt: skip
def test_sentences(text, expected):
    assert sentences_of(text) == expected
    assert " ".join(" ".join(expected).split()).replace(" ", "") == "".join(text.split())


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_text_is_read_whatever_its_marks_and_line_ends(tmp_path, encoding, end):
    (tmp_path / "a.txt").write_bytes(f"Žluťoučký kůň.{end}Ano.{end}".encode(encoding))
    assert read_text(tmp_path / "a.txt") == "Žluťoučký kůň.\nAno.\n"


def test_another_encoding_is_named_with_its_line(tmp_path):
    (tmp_path / "a.txt").write_bytes("plain\nfrançais\n".encode("cp1252"))
    with pytest.raises(DataError, match=r"a\.txt:2: expected text in UTF-8 \(invalid continuation byte at byte 10"):
        read_text(tmp_path / "a.txt")
    with pytest.raises(DataError, match="absent.txt: cannot be read"):
        read_text(tmp_path / "absent.txt")
