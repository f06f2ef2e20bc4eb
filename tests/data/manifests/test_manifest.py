"""The Arrow copy against the TSV: equal, fresh, shared, and built in a writable place."""

import logging
import os
import pickle
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from slam_plugin.data.errors import DataError
from slam_plugin.data.manifests import manifest as module
from slam_plugin.data.manifests import tsv
from slam_plugin.data.manifests.manifest import Manifest, line_of, write_manifest

COLUMNS = ("id", "audio", "n_frames", "tgt_text", "speaker")


def rows(count: int) -> list[dict]:
    return [
        {
            "id": f"u{i}",
            "audio": f"a/{i}.wav",
            "n_frames": 7 * i % 90 + 1,
            "tgt_text": f"žluť {i}" * (i % 3),
            "speaker": "x",
        }
        for i in range(count)
    ]


@pytest.fixture
def path(tmp_path):
    write_manifest(tmp_path / "m.tsv", rows(500), COLUMNS)
    return tmp_path / "m.tsv"


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(tsv, "_CHUNK_BYTES", 1 << 10)


def test_rows_columns_and_values(path, small_chunks):
    manifest = Manifest.open(path)
    expected = rows(500)
    assert len(manifest) == 500 and manifest.columns == COLUMNS and manifest.path == path
    assert len(manifest._batches) > 5
    assert [manifest.row(i) for i in range(500)] == expected
    assert manifest.column("n_frames").tolist() == [row["n_frames"] for row in expected]
    assert manifest.value(499, "tgt_text") == expected[499]["tgt_text"]
    assert manifest.blank("tgt_text").tolist() == [i for i in range(500) if i % 3 == 0]
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[line_of(123) - 1].startswith("u123\t")


def test_misuse_is_named(path):
    manifest = Manifest.open(path)
    for index in (-1, 500):
        with pytest.raises(IndexError, match=f"row {index} of 500"):
            manifest.row(index)
    with pytest.raises(ValueError, match="tgt_text holds text"):
        manifest.column("tgt_text")
    with pytest.raises(DataError, match="no column src_text, only id"):
        manifest.blank("src_text")
    with pytest.raises(ValueError, match="read-only"):
        manifest.column("n_frames")[0] = 1
    with pytest.raises(DataError, match="gone.tsv: there is no such manifest"):
        Manifest.open(path.with_name("gone.tsv"))


def test_one_batch_is_the_map_itself(path):
    manifest = Manifest.open(path)
    address = manifest._batches[0].column("n_frames").buffers()[1].address
    assert manifest.column("n_frames").ctypes.data == address


def test_faults_name_lines_and_leave_no_copy(path):
    with path.open("a") as file:
        file.write("u3\tb\t5\tt\tx\nnew\tb\tfive\tt\tx\n")
    with pytest.raises(DataError, match=r"m\.tsv:503: n_frames is 'five'"):
        Manifest.open(path)
    path.write_text(path.read_text().replace("\tfive\t", "\t5\t"))
    with pytest.raises(DataError, match=r"m\.tsv:502: id 'u3' occurs already in line 5"):
        Manifest.open(path)
    assert sorted(os.listdir(path.parent)) == ["m.tsv"]


def test_the_copy_is_built_once_and_again_after_a_change(path, monkeypatch):
    built = []
    build = module._build
    monkeypatch.setattr(module, "_build", lambda *arguments: (built.append(1), build(*arguments)))
    first = Manifest.open(path)
    assert Manifest.open(path).fingerprint == first.fingerprint and len(built) == 1
    changed = rows(500)
    changed[7]["tgt_text"] = changed[7]["tgt_text"].upper()
    size = path.stat().st_size
    write_manifest(path, changed, COLUMNS)
    assert path.stat().st_size == size
    second = Manifest.open(path)
    assert len(built) == 2 and second.row(7) == changed[7] and second.fingerprint != first.fingerprint
    assert first.row(7) == rows(8)[7]


def test_a_manifest_with_other_content_of_the_same_size_and_time_is_noticed(path):
    Manifest.open(path)
    before, text = path.stat(), path.read_text(encoding="utf-8")
    path.write_text(text.replace("a/3.wav", "b/3.wav"), encoding="utf-8")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert Manifest.open(path).value(3, "audio") == "b/3.wav"


def test_a_copy_that_is_cut_short_is_rebuilt(path, caplog):
    Manifest.open(path)
    copy = path.with_name("m.tsv.arrow")
    whole = copy.read_bytes()
    for end in (0, 1, 8, len(whole) // 2, len(whole) - 50, len(whole) - 1):
        copy.write_bytes(whole[:end])
        caplog.clear()
        assert Manifest.open(path).row(3) == rows(4)[3]
        assert "m.tsv.arrow: is damaged and will be built again" in caplog.text
        assert copy.read_bytes() == whole


def test_a_copy_with_other_bits_is_rebuilt_or_gives_the_same_rows(path):
    """Padding between columns may change, a value may not."""
    expected = Manifest.open(path)
    copy = path.with_name("m.tsv.arrow")
    whole = bytearray(copy.read_bytes())
    drawn = random.Random(1)
    for _ in range(200):
        damaged = bytearray(whole)
        damaged[drawn.randrange(len(whole))] ^= 1 << drawn.randrange(8)
        copy.write_bytes(damaged)
        found = Manifest.open(path)
        assert found.fingerprint == expected.fingerprint
        assert [found.row(index) for index in range(0, 500, 50)] == rows(500)[::50]


def test_a_worker_refuses_a_copy_that_was_replaced(path):
    manifest = pickle.dumps(Manifest.open(path))
    write_manifest(path, rows(300), COLUMNS)
    Manifest.open(path)
    with pytest.raises(DataError, match=r"m\.tsv: changed since this run opened it"):
        pickle.loads(manifest)


def test_the_fingerprint_is_of_the_content_alone(path, monkeypatch):
    expected = Manifest.open(path).fingerprint
    os.utime(path, ns=(1, 1))
    assert Manifest.open(path).fingerprint == expected
    monkeypatch.setattr(tsv, "_CHUNK_BYTES", 300)
    other = path.with_name("other.tsv")
    other.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert Manifest.open(other).fingerprint == expected
    write_manifest(other, rows(500), COLUMNS[::-1])
    assert Manifest.open(other).fingerprint == expected


@pytest.mark.parametrize("column", COLUMNS)
def test_the_fingerprint_sees_every_column(path, column):
    expected = Manifest.open(path).fingerprint
    changed = rows(500)
    changed[250][column] = 77 if column == "n_frames" else "other"
    write_manifest(path, changed, COLUMNS)
    assert Manifest.open(path).fingerprint != expected


def test_the_fingerprint_sees_where_one_text_ends_and_the_next_begins(tmp_path):
    prints = set()
    for texts in (("ab", "c"), ("a", "bc"), ("", "abc")):
        content = [{"id": f"u{i}", "audio": "a", "n_frames": 1, "tgt_text": text} for i, text in enumerate(texts)]
        write_manifest(tmp_path / "m.tsv", content, COLUMNS[:4])
        prints.add(Manifest.open(tmp_path / "m.tsv").fingerprint)
    assert len(prints) == 3


def test_concurrent_readers_all_get_the_manifest(path):
    imports = "import sys; from slam_plugin.data.manifests.manifest import Manifest"
    code = f"{imports}; print(Manifest.open(sys.argv[1]).fingerprint)"
    ranks = [
        subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    with ThreadPoolExecutor(4) as pool:
        here = {manifest.fingerprint for manifest in pool.map(Manifest.open, [path] * 4)}
    assert {rank.communicate()[0].strip() for rank in ranks} == here and len(here) == 1
    assert sorted(os.listdir(path.parent)) == ["m.tsv", "m.tsv.arrow"]


def test_a_read_only_folder_uses_the_users_cache_and_says_so(path, tmp_path, monkeypatch, caplog):
    # A superuser may write everywhere, so the folder's permission is mocked.
    may = os.access
    monkeypatch.setattr(os, "access", lambda place, mode: place != path.parent and may(place, mode))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with caplog.at_level(logging.INFO):
        manifest = Manifest.open(path)
    assert manifest.row(3) == rows(4)[3]
    assert not path.with_name("m.tsv.arrow").exists()
    assert len(list((tmp_path / "cache" / "slam_plugin").glob("*-m.tsv.arrow"))) == 1
    assert any("is read-only" in record.message for record in caplog.records)
    monkeypatch.setattr(module, "_build", None)
    assert Manifest.open(path).fingerprint == manifest.fingerprint


def test_a_copy_beside_a_read_only_manifest_is_used(path, monkeypatch):
    expected = Manifest.open(path).fingerprint
    monkeypatch.setattr(os, "access", lambda place, mode: False)
    monkeypatch.setattr(module, "_build", None)
    assert Manifest.open(path).fingerprint == expected


def test_a_manifest_that_changes_while_it_is_read_is_refused(path, monkeypatch):
    class Growing(tsv.TsvReader):
        def __iter__(self):
            yield from super().__iter__()
            with path.open("a") as file:
                file.write("late\ta\t1\tt\tx\n")

    monkeypatch.setattr(module, "TsvReader", Growing)
    with pytest.raises(DataError, match="changed while it was read"):
        Manifest.open(path)


def test_pickling_opens_the_same_file(path):
    manifest = Manifest.open(path)
    data = pickle.dumps(manifest)
    assert len(data) < 500
    assert pickle.loads(data).row(42) == manifest.row(42)


def test_importing_needs_neither_torch_nor_fairseq():
    code = (
        "import sys, slam_plugin.data.manifests.manifest as m; print('torch' in sys.modules, 'fairseq' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_memory_does_not_grow_with_rows(tmp_path):
    """300,000 rows as Python objects would take over 200 MB. Building the copy may take a few chunks."""
    with (tmp_path / "m.tsv").open("w") as file:
        file.write("id\taudio\tn_frames\ttgt_text\n")
        file.writelines(f"utterance-{i}\tspeech/{i}.flac\t{i % 900 + 1}\tsome words {i}\n" for i in range(300_000))
    code = (
        "import sys, resource, slam_plugin.data.manifests.manifest as m\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024\n"
        "m.pa.RecordBatch; import pyarrow.csv; before = peak(); manifest = m.Manifest.open(sys.argv[1])\n"
        "print(peak() - before, len(manifest), int(manifest.column('n_frames').sum()))"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "m.tsv"], capture_output=True, text=True, check=True)
    grown, count, frames = map(int, done.stdout.split())
    assert (count, frames) == (300_000, sum(i % 900 + 1 for i in range(300_000)))
    assert grown < 150
    assert np.int32 == Manifest.open(tmp_path / "m.tsv").column("n_frames").dtype
