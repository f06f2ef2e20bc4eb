"""JSON files of others: their fields, or an error that names the file."""

import os

import pytest

from slam_plugin.data import json_files
from slam_plugin.data.errors import DataError
from slam_plugin.data.json_files import read_json


def test_fields(tmp_path):
    (tmp_path / "a.json").write_text('{"ř": [1, null]}', encoding="utf-8")
    assert read_json(tmp_path / "a.json") == {"ř": [1, None]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "is not JSON"),
        (b'{"a": "\xff"}', "is not JSON"),
        (b"[" * 200_000, "is not JSON"),
        (b"[1]", "found list, expected fields by name"),
        (b'{"a":  1}', "found more than 8 bytes"),
    ],
)
def test_another_content_is_refused(tmp_path, monkeypatch, content, message):
    if message.startswith("found more"):
        monkeypatch.setattr(json_files, "MAX_JSON", 8)
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.json: {message}"):
        read_json(tmp_path / "a.json")


def test_what_is_no_file_is_refused(tmp_path):
    """A pipe too, which would block."""
    os.mkfifo(tmp_path / "pipe.json")
    for name in ("pipe.json", "gone.json", "."):
        with pytest.raises(DataError, match="there is no such file"):
            read_json(tmp_path / name)
