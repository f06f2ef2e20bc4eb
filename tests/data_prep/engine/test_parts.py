"""Parts of a corpus: the same bytes however the work is shared, duplicates across parts, kills, locks, full disks."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from data_prep.engine import command, merging, parts
from data_prep.engine.contents import contents_of
from data_prep.engine.units import Corpus, Dropped, Item, Noted, Output, Unit, document, lines, row
from slam_plugin.data.errors import DataError
from tests.data_prep.preparing import check_sharing, contents, dropped

ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Words(Corpus):
    """A folder of text files, one unit each: documents without duplicates, and each line with its length."""

    root: Path
    pause: float = 0.0

    @property
    def recipe(self):
        return {"command": "words", "names": ("a", "b")}

    @property
    def outputs(self):
        return {"text": Output(("train.txt",), unique=True), "pairs": Output(("sub/all.left", "sub/all.right"))}

    def units(self) -> Iterator[Unit]:
        for path in sorted(self.root.glob("*.txt")):
            yield Unit(path.name, path.stat().st_size)

    def read(self, unit: Unit) -> Iterator[Item | Dropped | Noted]:
        for number, line in enumerate((self.root / unit.key).read_text(encoding="utf-8").splitlines(), 1):
            time.sleep(self.pause)
            if not line:
                yield Dropped(f"{unit.key}:{number}", f"line {number} is empty")
                continue
            if line.isupper():
                yield Noted("capitals")
            yield document("text", line.split(";"))
            yield lines("pairs", line, str(len(line)))


TEXTS = {
    "1.txt": "a b;c\n\nHELLO\nsame\n",
    "2.txt": "same\nother;same\n\n\nä ö\n",
    "3.txt": "HELLO\nlast\n",
    "4.txt": "a b;c\n",
}


@pytest.fixture
def corpus(tmp_path: Path) -> Words:
    (tmp_path / "root").mkdir()
    for name, text in TEXTS.items():
        (tmp_path / "root" / name).write_text(text, encoding="utf-8")
    return Words(tmp_path / "root")


def test_however_the_work_is_shared(corpus, tmp_path):
    made = check_sharing(corpus, tmp_path)
    written = [line for text in TEXTS.values() for line in text.splitlines() if line]
    first = list(dict.fromkeys(written))
    expected = "".join("".join(f"{sentence}\n" for sentence in line.split(";")) + "\n" for line in first)
    assert (made / "train.txt").read_text(encoding="utf-8") == expected
    assert (made / "sub/all.left").read_text(encoding="utf-8").splitlines() == written
    assert (made / "sub/all.right").read_text().splitlines() == [str(len(line)) for line in written]
    assert not (made / ".parts").exists() and not (made / ".merged").exists()
    stats = json.loads((made / "stats.json").read_text())
    assert stats["dropped"] == {"line # is empty": 3, "occurs before (in text)": len(written) - len(first)}
    assert stats["noted"] == {"capitals": 2}
    assert stats["outputs"]["train.txt"]["documents"] == len(first)
    assert dropped(made) == {"1.txt:2": "line 2 is empty", "2.txt:3": "line 3 is empty", "2.txt:4": "line 4 is empty"}


def test_the_size_of_parts_changes_nothing(corpus, tmp_path):
    one, other = (check_sharing(corpus, tmp_path / str(size), size) for size in (1, 40))
    assert contents(one) == contents(other)


def test_duplicates_are_found_in_shares_of_the_hashes(corpus, tmp_path, monkeypatch):
    command.prepare(corpus, tmp_path / "whole")
    monkeypatch.setattr(merging, "_HASHES_AT_ONCE", 1)
    command.prepare(corpus, tmp_path / "shares")
    assert contents(tmp_path / "whole") == contents(tmp_path / "shares")


def test_a_finished_folder_is_left_alone(corpus, tmp_path, monkeypatch):
    stats = command.prepare(corpus, tmp_path / "out")
    monkeypatch.setattr(Words, "read", None)
    assert command.prepare(corpus, tmp_path / "out") == json.loads(json.dumps(stats))
    assert command.prepare(corpus, tmp_path / "out", shard=parts.WorkShard(1, 2)) is not None


def test_parts_of_another_recipe_are_refused(corpus, tmp_path, monkeypatch):
    command.prepare(corpus, tmp_path / "out", shard=parts.WorkShard(1, 2))
    monkeypatch.setattr(Words, "recipe", {"command": "words", "names": ("c",)})
    with pytest.raises(DataError, match=r"of another recipe \(names: found \['a', 'b'\], expected \['c'\]\); remove"):
        command.prepare(corpus, tmp_path / "out")


@pytest.mark.parametrize("state", ["finished", "unfinished", "failed"])
def test_a_corpus_that_changed_is_prepared_again(corpus, tmp_path, monkeypatch, capsys, state):
    """The other line has the same length: size and number of the units are the same, and so is the time."""
    monkeypatch.setattr(Words, "contents", lambda self: contents_of(self.root))
    out, path = tmp_path / "out", corpus.root / "2.txt"
    if state == "finished":
        command.prepare(corpus, out)
    elif state == "unfinished":
        command.prepare(corpus, out, shard=parts.WorkShard(1, 1 + len(TEXTS)))
    else:
        with monkeypatch.context() as patch, pytest.raises(DataError, match="found no item"):
            patch.setattr(merging, "_is_empty", lambda *_: True)
            command.prepare(corpus, out)
    path.write_text(path.read_text(encoding="utf-8").replace("other", "OTHER"), encoding="utf-8")
    if state != "finished":
        with pytest.raises(DataError, match="its parts were made from other files"):
            command.merge(corpus, out)
    with parts.locked(out, parts.fcntl.LOCK_SH), pytest.raises(DataError, match="another run is using"):
        if state != "finished":
            command.prepare(corpus, out)
        command.prepare(corpus, out)
    command.prepare(corpus, out)
    command.prepare(corpus, tmp_path / "again")
    assert contents(out) == contents(tmp_path / "again")
    assert "OTHER" in (out / "train.txt").read_text(encoding="utf-8")
    expected = "prepared again" if state == "finished" else "its parts are made again"
    assert expected in capsys.readouterr().err
    assert command.prepare(corpus, out) is not None and not (out / ".parts").exists()
    assert capsys.readouterr().err == ""


def test_other_folders_are_refused(corpus, tmp_path, monkeypatch):
    command.prepare(corpus, tmp_path / "made")
    monkeypatch.setattr(Words, "recipe", {"command": "words", "names": ("c",)})
    with pytest.raises(DataError, match=r"another recipe \(names: found \['a', 'b'\], expected \['c'\]\); remove"):
        command.prepare(corpus, tmp_path / "made")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/note").write_text("mine")
    with pytest.raises(DataError, match="so it is not finished"):
        command.prepare(corpus, tmp_path / "other")


def test_merging_names_the_parts_that_are_missing(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(Words, "part_bytes", 1)
    with pytest.raises(DataError, match="found no parts"):
        command.merge(corpus, tmp_path / "none")
    command.prepare(corpus, tmp_path / "out", shard=parts.WorkShard(2, 3))
    with pytest.raises(DataError, match=r"3 of 4 parts are missing: 1, 3, 4; a shard did not finish"):
        command.merge(corpus, tmp_path / "out")
    command.prepare(corpus, tmp_path / "out", shard=parts.WorkShard(1, 1))
    assert command.merge(corpus, tmp_path / "out")["noted"] == {"capitals": 2}


def test_an_output_without_items_is_an_error_that_says_why(corpus, tmp_path):
    for name in TEXTS:
        (corpus.root / name).write_text("\n\n")
    expected = r"found no item for train\.txt, .*; left out: 8 such as \S+ \(line 1 is empty\)"
    for _ in range(2):  # the second call finds what the first one has left
        with pytest.raises(DataError, match=expected):
            command.prepare(corpus, tmp_path / "out")
        assert (tmp_path / "out/dropped.tsv").read_text().count("is empty\n") == 8
    for name in TEXTS:
        (corpus.root / name).unlink()
    with pytest.raises(DataError, match="found nothing to read"):
        command.prepare(corpus, tmp_path / "out2")


def test_one_run_alone_may_merge(corpus, tmp_path):
    out = tmp_path / "out"
    command.prepare(corpus, out, shard=parts.WorkShard(1, 2))
    with parts.locked(out, parts.fcntl.LOCK_SH):
        command.prepare(corpus, out, shard=parts.WorkShard(2, 2))
        with pytest.raises(DataError, match="another run is using"):
            command.merge(corpus, out)
    command.merge(corpus, out)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_full_disk_leaves_finished_parts_alone(corpus, tmp_path, monkeypatch, jobs):
    monkeypatch.setattr(Words, "part_bytes", 1)
    out = tmp_path / "out"

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "train.txt")

    with monkeypatch.context() as patch:
        if jobs == 1:
            command.prepare(corpus, out, shard=parts.WorkShard(1, 2))
            patch.setattr(parts._PartWriter, "write", full)
        else:
            patch.setattr(parts, "_make_by_processes", full)
        with pytest.raises(OSError, match="No space left"):
            command.prepare(corpus, out, jobs=jobs)
    assert not [path for path in (out / ".parts").iterdir() if path.name.startswith(".")]
    command.prepare(corpus, out)
    command.prepare(corpus, tmp_path / "again")
    assert contents(out) == contents(tmp_path / "again")


def test_a_full_disk_while_merging(corpus, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    out = tmp_path / "out"
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(merging, "_concatenate", full)
        command.prepare(corpus, out)
    assert [path.name for path in out.iterdir() if not path.name.startswith(".")] == []
    command.prepare(corpus, out)
    command.prepare(corpus, tmp_path / "again")
    assert contents(out) == contents(tmp_path / "again")


KILLED = """
import sys
from pathlib import Path
from data_prep.engine import command
from tests.data_prep.engine.test_parts import Words
Words.part_bytes = 1
if __name__ == "__main__":
    command.prepare(Words(Path(sys.argv[1]), 0.03), sys.argv[2], jobs=int(sys.argv[3]))
"""


@pytest.mark.parametrize("jobs", [1, 3])
def test_a_run_that_was_killed_goes_on(corpus, tmp_path, monkeypatch, jobs):
    """SIGKILL after the first part: no worker survives, and the next run ends with the same bytes."""
    out, script = tmp_path / "out", tmp_path / "killed.py"
    script.write_text(KILLED)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, script, corpus.root, out, str(jobs)], env=environment)
    first = out / ".parts/000000"
    deadline = time.monotonic() + 60
    while not first.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert first.exists() and not (out / "stats.json").exists()
    while _alive(script) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _alive(script)
    monkeypatch.setattr(Words, "part_bytes", 1)
    command.prepare(corpus, out)
    command.prepare(corpus, tmp_path / "again")
    assert contents(out) == contents(tmp_path / "again")


def _alive(script: Path) -> list[str]:
    """Return the processes that were started with ``script``, and their descendants."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "environ").read_bytes() + (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if str(script).encode() in words and folder.name != str(os.getpid()):
            found.append(folder.name)
    return found


def test_rows_hold_no_tabs(tmp_path):
    columns = ("id", "audio", "n_frames", "tgt_text")
    fields = {"id": "a", "audio": "a  b.wav", "n_frames": 3, "tgt_text": " two\twords\n"}
    assert row("train", columns, fields).texts == ("a\ta  b.wav\t3\ttwo words\n",)
    for name in ("a\tb.wav", "a\rb.wav", "a\n.wav"):
        found = row("train", columns, fields | {"audio": name})
        assert found == Dropped("a", "holds a tab or a line break in audio, which a manifest cannot hold")
    assert row("train", columns, fields | {"audio": "\udcff.wav"}) == Dropped(
        "a", "is not UTF-8 in audio, which a manifest cannot hold"
    )


def test_what_is_left_out_keeps_its_name(corpus, tmp_path, monkeypatch):
    names = ["two  blanks", "no\u00a0break\u202f", " ahead", "a\tb\nc\u2028", "\udcff"]

    def read(self, unit):
        yield from (Dropped(name, "is  bad\n") for name in names)
        yield lines("pairs", "\ud83d", "1")
        yield lines("pairs", "good", "1")
        yield document("text", ["good"])

    monkeypatch.setattr(Words, "read", read)
    monkeypatch.setattr(Words, "recipe", {"command": "words", "root": "\udcff"})
    (corpus.root / "2.txt").unlink(), (corpus.root / "3.txt").unlink(), (corpus.root / "4.txt").unlink()
    stats = command.prepare(corpus, tmp_path / "out")
    shown = ["two  blanks", "no\u00a0break\u202f", " ahead", "a\\tb\\nc\\u2028", "\\udcff"]
    expected = [*((name, "is bad") for name in shown), ("1.txt", "holds '\\ud83d\\n 1\\n', which is not UTF-8")]
    assert list(dropped(tmp_path / "out").items()) == expected
    assert (tmp_path / "out/sub/all.left").read_text() == "good\n"
    assert command.prepare(corpus, tmp_path / "out") == stats and stats["recipe"]["root"] == "\udcff"


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1]", b'{"dropped": {"a": "b"}}', b'{"dropped": 1}', b'{"other": {}}', b"\xff"]
)
def test_damaged_counts_of_a_part_are_named(corpus, tmp_path, content):
    parts.make_parts(corpus, tmp_path / "out")
    (tmp_path / "out/.parts/000000/counts.json").write_bytes(content)
    with pytest.raises(DataError, match=r"000000/counts\.json: expected counts as JSON"):
        command.merge(corpus, tmp_path / "out")


@pytest.mark.parametrize(
    "damage", [lambda data: data[:60], lambda data: data[:-8], lambda data: b"", lambda data: b"PK"]
)
def test_damaged_items_of_a_part_are_named(corpus, tmp_path, damage):
    parts.make_parts(corpus, tmp_path / "out")
    path = tmp_path / "out/.parts/000000/items.text.npy"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=r"000000/items\.text\.npy: cannot be read"):
        command.merge(corpus, tmp_path / "out")


@pytest.mark.parametrize("text", ["{}", "[]", "3", '{"recipe": []}', '{"recipe": {}, "parts": "2"}', "{", "[" * 5000])
def test_a_damaged_plan_of_parts_is_named(corpus, tmp_path, text):
    parts.make_parts(corpus, tmp_path / "out")
    (tmp_path / "out/.parts/plan.json").write_text(text)
    for resume in (command.prepare, command.merge):
        with pytest.raises(DataError, match=r"plan\.json: (is not JSON|expected a recipe and a number of parts)"):
            resume(corpus, tmp_path / "out")
