"""2,000 cases over all readers, and the harness itself: it finds planted faults, and a case is the same each time."""

import gzip
import json
import multiprocessing
import os
import sys
from collections import Counter
from pathlib import Path
from random import Random
from typing import NoReturn

import pytest

from tests.fuzz import __main__ as program
from tests.fuzz import batch, cases, containers, mutations
from tests.fuzz.batch import ERROR, FINDING, RESULT, outcomes
from tests.fuzz.planted import FAULTS, READERS, REFUSING, SOUND
from tests.fuzz.table import READERS as ALL
from tests.support.commands import PRELOADED

CASES = 2000


def test_every_reader_ends_in_a_result_or_in_an_error_that_names_the_file(tmp_path):
    """``python -m tests.fuzz --cases 2000``, in a fork of a process that has imported the readers' packages."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    process = context.Process(target=_fuzz, args=(tmp_path / "log", tmp_path / "kept"))
    process.start()
    process.join()
    printed = (tmp_path / "log").read_text(errors="replace")
    assert process.exitcode == 0, printed
    total = printed.splitlines()[-1].split()
    assert total[0] == "total" and int(total[1]) >= CASES * 0.9
    # The damage is neither none nor such that all is refused.
    assert int(total[2]) > 0.2 * CASES and int(total[3]) > 0.2 * CASES


def _fuzz(log: Path, kept: Path) -> NoReturn:
    with log.open("wb") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    sys.exit(program.main(["--cases", str(CASES), "--jobs", "1", "--kept", str(kept)]))


def found(reader, numbers, tmp_path, monkeypatch):
    # Only the reader that sleeps is waited for.
    monkeypatch.setattr(batch, "_GRACE", 1.0 if reader is READERS["did not end"] else 60.0)
    work = tmp_path / "work"
    work.mkdir()
    return list(outcomes(reader, numbers, work, tmp_path / "kept"))


@pytest.mark.parametrize("text", FAULTS)
def test_planted_faults_are_found(text, tmp_path, monkeypatch):
    """Case 0, which is valid, is read. The cases after one that ends its process are run all the same."""
    results = found(READERS[text], [0, 1, 0], tmp_path, monkeypatch)
    assert [each.kind for each in results] == [RESULT, FINDING, RESULT]
    assert text in results[1].text
    assert cases.tree_of(tmp_path / f"kept/{READERS[text].name}-1").keys() == {"a.txt"}


def test_what_is_right_is_no_finding(tmp_path, monkeypatch):
    results = found(SOUND, range(20), tmp_path, monkeypatch)
    assert [each.number for each in results] == list(range(20))
    kinds = Counter(each.kind for each in results)
    assert kinds[RESULT] >= 1 and kinds[ERROR] >= 15 and not kinds[FINDING]
    assert not (tmp_path / "kept").exists()


def test_valid_input_that_is_refused_is_a_finding(tmp_path, monkeypatch):
    (result,) = found(REFUSING, [0], tmp_path, monkeypatch)
    assert result.kind == FINDING and "valid input is refused" in result.text


def test_a_case_is_the_same_each_time():
    tree = {"a.txt": b"one 1\ntwo 2\n", "b.bin": bytes(range(256)), "c.jsonl": b'{"a": 1}\n'}
    first = [cases.changed_files(SOUND, tree, number) for number in range(60)]
    assert first == [cases.changed_files(SOUND, tree, number) for number in range(60)]
    assert first[0] == {} and len({json.dumps(list(map(repr, each.items()))) for each in first}) > 50


def test_names_of_readers_are_unique():
    names = [reader.name for reader in ALL]
    assert len(set(names)) == len(names) > 90


def test_damage_is_bounded():
    random = Random(1)
    for _ in range(300):
        assert len(mutations.mutated(b"some text 12\n" * 50, b"other", random)) <= mutations.MAX_BYTES


def test_damage_within_a_container_has_a_true_checksum(tmp_path):
    packed = containers.damaged_within("a.json.gz", gzip.compress(b"text"), lambda content: content + b"!", Random(1))
    assert gzip.decompress(packed) == b"text!"
    assert containers.damaged_within("a.gz", b"no gzip", lambda content: content, Random(1)) is None
    assert containers.damaged_within("a.txt", b"text", lambda content: content, Random(1)) is None


def test_the_table_counts_what_was_found(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(program, "READERS", (READERS["ValueError"], SOUND))
    assert program.main(["--cases", "8", "--jobs", "1", "--kept", str(tmp_path)]) == 1
    printed = capsys.readouterr().out
    assert "FINDING python -m tests.fuzz --reader planted.0 --case 1\n" in printed
    rows = {line.split()[0]: line.split()[1:5] for line in printed.splitlines()[-4:]}
    assert rows == {
        "reader": ["cases", "results", "errors", "findings"], "planted.0": ["4", "1", "0", "3"],
        "planted.sound": ["4", "1", "3", "0"], "total": ["8", "2", "3", "3"],
    }  # fmt: skip
