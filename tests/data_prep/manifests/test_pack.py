"""Packed features against the original features. The state after an error or a kill. Packing again."""

import errno
import os
import signal
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import soundfile
import torch

from data_prep.manifests import pack, volumes
from data_prep.manifests.pack import main, pack_manifests
from data_prep.manifests.places import place_of
from slam_plugin.data.audio import frames_in, load_features, read_audio
from slam_plugin.data.errors import DataError
from slam_plugin.data.manifests.manifest import Manifest, write_manifest
from tests.data_prep.layouts.packing import COLUMNS, all_rows, contents, make, seen
from tests.data_prep.layouts.sounds import cut_short


@pytest.fixture
def manifests(tmp_path):
    return make(tmp_path / "data")


@pytest.mark.parametrize("jobs", [1, 3])
def test_rows_keep_all_but_their_audio_and_features_are_equal(manifests, jobs):
    before = {path: all_rows(path) for path in manifests}
    out = manifests[0].parents[1] / "features.zip"
    assert pack_manifests(manifests, out, jobs=jobs) == 12
    for path in manifests:
        for old, new in zip(before[path], all_rows(path), strict=True):
            assert new["audio"].startswith("../features.zip:")
            assert old | {"audio": ""} == new | {"audio": ""}
            expected = load_features(old["audio"], path.parent)
            assert torch.equal(load_features(new["audio"], path.parent), expected.half().float())
            assert len(expected) == new["n_frames"]


def test_the_zip_is_one_that_others_read(manifests):
    out = manifests[0].parent / "features.zip"
    pack_manifests(manifests, out)
    with zipfile.ZipFile(out) as archive:
        assert archive.testzip() is None
        assert [member.filename for member in archive.infolist()] == [f"{index:08d}.npy" for index in range(12)]
        assert {member.compress_type for member in archive.infolist()} == {zipfile.ZIP_STORED}
        assert {member.date_time for member in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        with archive.open("00000003.npy") as member:
            features = np.load(member)
    row = Manifest.open(manifests[0]).row(3)
    assert row["audio"].startswith("features.zip:")
    assert features.dtype == np.float16
    np.testing.assert_array_equal(features.astype(np.float32), load_features(row["audio"], manifests[0].parent))


def test_equal_input_gives_equal_bytes(tmp_path):
    results = []
    for name, jobs in (("one", 1), ("two", 4)):
        paths = make(tmp_path / name)
        pack_manifests(paths, tmp_path / name / "features.zip", jobs=jobs)
        results.append(contents(tmp_path / name))
    assert results[0] == results[1]


def test_an_audio_root_holds_before_and_after(manifests, tmp_path):
    top = tmp_path / "data"
    rows = [row | {"audio": row["audio"].removeprefix("../")} for row in all_rows(manifests[0])]
    write_manifest(manifests[0], rows, COLUMNS)
    pack_manifests(manifests[:1], top / "features.zip", audio_root=top)
    audio = Manifest.open(manifests[0]).row(5)["audio"]
    assert audio.startswith("features.zip:")
    assert len(load_features(audio, top)) == rows[5]["n_frames"]


def test_packing_again_changes_nothing(manifests, tmp_path):
    out = tmp_path / "data/features.zip"
    pack_manifests(manifests, out)
    before = contents(tmp_path)
    assert pack_manifests(manifests, out) == 0
    assert contents(tmp_path) == before


def test_a_zip_that_exists_stays_and_another_is_made_beside_it(manifests, tmp_path):
    out = tmp_path / "data/features.zip"
    assert pack_manifests(manifests[:1], out) == 8
    first, before = all_rows(manifests[0]), contents(tmp_path)
    assert pack_manifests(manifests, out) == 8
    assert {name: contents(tmp_path)[name] for name in before if name != "data/pairs/train.tsv"} == {
        name: data for name, data in before.items() if name != "data/pairs/train.tsv"
    }
    assert all_rows(manifests[0]) == first
    for row in all_rows(manifests[1]):
        assert row["audio"].startswith("../features-01.zip:")
        assert len(load_features(row["audio"], manifests[1].parent)) == row["n_frames"]


def test_a_full_disk_while_manifests_are_written_changes_nothing(manifests, tmp_path, monkeypatch, capsys):
    out = tmp_path / "data/features.zip"
    expected = contents(tmp_path)
    lines = pack._rewritten

    def full(manifest, *rest):
        if manifest.path == manifests[1]:
            raise OSError(errno.ENOSPC, "No space left on device", str(manifest.path))
        return lines(manifest, *rest)

    monkeypatch.setattr(pack, "_rewritten", full)
    assert main([*map(str, manifests), "--out", str(out)]) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert seen(tmp_path) == expected
    monkeypatch.undo()
    monkeypatch.setattr(pack, "load_features", None)  # all are there: none is computed again
    assert pack_manifests(manifests, out) == 12
    assert all("features.zip" in row["audio"] for path in manifests for row in all_rows(path))


def test_a_disk_that_takes_no_more_changes_nothing_and_the_next_run_goes_on(manifests, tmp_path):
    """A limit on files' sizes stands for a full disk: writing fails in the middle of the seventh member."""
    out = tmp_path / "data/features.zip"
    expected = contents(tmp_path / "data")
    code = (
        "import resource, signal, sys, data_prep.manifests.pack as pack, data_prep.manifests.volumes as volumes\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))\n"
        "volumes._SYNC_BYTES = 1\n"
        "sys.exit(pack.main(sys.argv[1:]))"
    )
    words = [*map(str, manifests), "--out", str(out)]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    assert done.returncode == 1
    assert "File too large" in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert "run the same command again to resume" in done.stderr
    assert seen(tmp_path / "data") == expected
    assert main(words) == 0
    whole = make(tmp_path / "whole")
    pack_manifests(whole, tmp_path / "whole/features.zip")
    assert contents(tmp_path / "data") == contents(tmp_path / "whole")


def test_every_unusable_utterance_is_named_and_nothing_changes(manifests, tmp_path):
    top = tmp_path / "data"
    (top / "clips/2.flac").write_bytes(b"rubbish")
    (top / "clips/9.flac").unlink()
    soundfile.write(top / "clips/11.flac", np.zeros(300), 16000)
    before = contents(top)
    with pytest.raises(DataError) as error:
        pack_manifests(manifests, top / "features.zip")
    lines = str(error.value).splitlines()
    assert len(lines) == 3
    assert lines[0].startswith(f"{manifests[0]}:4: ") and "2.flac: cannot be decoded" in lines[0]
    assert lines[1].startswith(f"{manifests[1]}:7: ") and "9.flac: there is no such file" in lines[1]
    assert lines[2].startswith(f"{manifests[1]}:9: ") and "25 ms" in lines[2]
    assert seen(top) == before


def test_a_run_with_faults_is_ended_without_what_is_at_fault(tmp_path):
    results = []
    for name in ("mended", "never"):
        paths = make(tmp_path / name)
        out = tmp_path / name / "features.zip"
        good = [row for row in all_rows(paths[0]) if row["id"] != "u-2"]
        if name == "mended":
            (tmp_path / name / "clips/2.flac").write_bytes(b"rubbish")
            with pytest.raises(DataError, match="train.tsv:4: .*2.flac"):
                pack_manifests(paths, out)
        write_manifest(paths[0], good, COLUMNS)
        pack_manifests(paths, out)
        (tmp_path / name / "clips/2.flac").unlink()
        results.append(contents(tmp_path / name))
    assert results[0] == results[1]


def test_lengths_that_do_not_fit_are_named(manifests, tmp_path):
    rows = all_rows(manifests[1])
    rows[0]["n_frames"] += 1
    rows[7]["n_frames"] += 1
    write_manifest(manifests[1], rows, COLUMNS)
    with pytest.raises(DataError, match=rf"{manifests[1]}:2: .* for the same audio in {manifests[0]}:6"):
        pack_manifests(manifests, tmp_path / "features.zip")
    rows[0]["n_frames"] -= 1
    write_manifest(manifests[1], rows, COLUMNS)
    with pytest.raises(DataError, match=rf"{manifests[1]}:9: .*11\.flac: has .* frames, but n_frames is"):
        pack_manifests(manifests, tmp_path / "features.zip")


def test_a_file_that_is_no_zip_is_not_overwritten(manifests, tmp_path):
    (tmp_path / "notes.zip").write_text("precious")
    with pytest.raises(DataError, match="notes.zip: exists and is no zip"):
        pack_manifests(manifests, tmp_path / "notes.zip")
    assert (tmp_path / "notes.zip").read_text() == "precious"


def test_a_killed_run_leaves_nothing_half_written(tmp_path):
    paths = make(tmp_path / "data")
    before = contents(tmp_path / "data")
    # The ninth utterance never comes to an end, so that the kill falls into the middle of the work.
    code = (
        "import sys, time, data_prep.manifests.pack as pack\n"
        "load, seen = pack.load_features, []\n"
        "def stuck(*a):\n"
        "    seen.append(a)\n"
        "    if len(seen) == 9: print('stuck', flush=True); time.sleep(600)\n"
        "    return load(*a)\n"
        "pack.load_features = stuck\n"
        "pack.main(sys.argv[1:])"
    )
    arguments = [*map(str, paths), "--out", str(tmp_path / "data/features.zip")]
    with subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "stuck\n"
        process.send_signal(signal.SIGKILL)
    after = contents(tmp_path / "data")
    hidden = {name for name in after if name.startswith(".features.zip.")}
    assert {name: data for name, data in after.items() if name not in hidden} == before
    assert hidden
    assert main(arguments) == 0
    whole = make(tmp_path / "whole")
    pack_manifests(whole, tmp_path / "whole/features.zip")
    assert contents(tmp_path / "data") == contents(tmp_path / "whole")


def test_the_command_names_faults_and_returns_1(manifests, tmp_path, capsys):
    assert main([*map(str, manifests), "--out", str(tmp_path / "f.zip"), "--jobs", "2"]) == 0
    assert "12 utterances packed" in capsys.readouterr().out
    assert main([str(tmp_path / "gone.tsv"), "--out", str(tmp_path / "f.zip")]) == 1
    assert "gone.tsv: there is no such manifest" in capsys.readouterr().err


# ---------------------------------------------------------------------------------------------------------------------
# volumes


@pytest.mark.parametrize("members", [1, 3, 5, 8, 11])
def test_a_run_goes_on_from_any_member_and_gives_the_same_volumes(tmp_path, monkeypatch, members):
    """A run that was killed after any member, whatever was written after it, ends like one that was not killed."""
    results = []
    for name in ("whole", "ended"):
        paths = make(tmp_path / name)
        out = tmp_path / name / "features.zip"
        if name == "ended":
            monkeypatch.setattr(volumes, "_SYNC_BYTES", 1)
            add, count = volumes.Volumes.add, []

            def ending(self, *member, add=add, count=count):
                add(self, *member)
                count.append(member)
                if len(count) == members:
                    raise KeyboardInterrupt

            monkeypatch.setattr(volumes.Volumes, "add", ending)
            with pytest.raises(KeyboardInterrupt):
                pack_manifests(paths, out, zip_bytes=20_000)
            monkeypatch.undo()
            last = sorted(tmp_path.glob("ended/.features.zip.*.partial"))[-1]
            last.write_bytes(last.read_bytes() + b"half of a member")
            with (tmp_path / "ended/.features.zip.journal").open("ab") as journal:
                journal.write(b"half of a record")
            monkeypatch.setattr(pack, "load_features", counted := Counted(pack.load_features))
        pack_manifests(paths, out, zip_bytes=20_000)
        results.append(contents(tmp_path / name))
    assert len(counted.calls) == 12 - members
    assert results[0] == results[1]
    zips = sorted(name for name in results[0] if name.endswith(".zip"))
    assert zips == [f"features-{number:02d}.zip" for number in range(len(zips))] and len(zips) > 3
    for name in zips:
        with zipfile.ZipFile(tmp_path / "whole" / name) as archive:
            assert archive.testzip() is None
            sizes = [member.file_size for member in archive.infolist()]
            assert sum(sizes) <= 20_000 or len(sizes) == 1


class Counted:
    def __init__(self, function):
        self.function, self.calls = function, []

    def __call__(self, *arguments):
        self.calls.append(arguments)
        return self.function(*arguments)


def test_what_the_journal_names_and_the_disk_lost_is_made_again(tmp_path, monkeypatch):
    paths = make(tmp_path / "data")
    expected = make(tmp_path / "whole")
    pack_manifests(expected, tmp_path / "whole/features.zip")
    monkeypatch.setattr(volumes.Volumes, "publish", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        pack_manifests(paths, tmp_path / "data/features.zip")
    monkeypatch.undo()
    partial = tmp_path / "data/.features.zip.00.partial"
    partial.write_bytes(partial.read_bytes()[:30_000])
    pack_manifests(paths, tmp_path / "data/features.zip")
    assert contents(tmp_path / "data") == contents(tmp_path / "whole")


def test_two_runs_at_once_are_refused(manifests, tmp_path):
    with (
        volumes.Volumes(tmp_path / "features.zip", ".npy", 1 << 20),
        pytest.raises(DataError, match="another run is packing"),
    ):
        pack_manifests(manifests, tmp_path / "features.zip")


def test_rows_and_members_are_planned_by_arrays(tmp_path):
    """A second name for a file is the same piece. Each part of a file is its own piece."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    soundfile.write(tmp_path / "real/a.wav", np.zeros(4000), 16000)
    names = ["real/a.wav", "link/a.wav", "real/../real/a.wav", "real/a.wav:0:2000", "link/a.wav:0:2000"]
    frames = [frames_in(4000)] * 3 + [frames_in(2000)] * 2
    rows = [{"id": i, "audio": name, "n_frames": n} for i, (name, n) in enumerate(zip(names, frames, strict=True))]
    write_manifest(tmp_path / "m.tsv", rows, ["id", "audio", "n_frames"])
    assert pack_manifests([tmp_path / "m.tsv"], tmp_path / "f.zip") == 2
    assert len({row["audio"] for row in all_rows(tmp_path / "m.tsv")[:3]}) == 1


# ---------------------------------------------------------------------------------------------------------------------
# sound


def sounds(top):
    """A manifest of sound of other rates, channels and formats, of whole files and of parts."""
    noise = np.random.default_rng(1).standard_normal(32000) * 0.1
    for name, rate, channels in (("a.wav", 16000, 1), ("b.flac", 8000, 1), ("c.ogg", 44100, 2)):
        soundfile.write(top / name, np.stack([noise] * channels, axis=1), rate)
    names = ["a.wav", "b.flac", "c.ogg", "a.wav:1600:8000", "c.ogg:4410:22050:1"]
    rows = [{"id": name, "audio": name, "n_frames": len(load_features(name, top))} for name in names]
    write_manifest(top / "m.tsv", rows, ["id", "audio", "n_frames"])
    return top / "m.tsv"


def test_sound_is_packed_as_training_hears_it(tmp_path):
    path = sounds(tmp_path)
    expected = [read_audio(str(place_of(row["audio"], tmp_path))) for row in all_rows(path)]
    assert pack_manifests([path], tmp_path / "audio.zip", audio=True, jobs=2) == 5
    with zipfile.ZipFile(tmp_path / "audio.zip") as archive:
        infos = [soundfile.info(archive.open(name)) for name in archive.namelist()]
        assert {(each.format, each.subtype, each.samplerate, each.channels) for each in infos} == {
            ("FLAC", "PCM_16", 16000, 1)
        }
    for row, waveform in zip(all_rows(path), expected, strict=True):
        packed = read_audio(str(place_of(row["audio"], tmp_path)))
        assert len(packed) == len(waveform) and frames_in(len(packed)) == row["n_frames"]
        torch.testing.assert_close(packed, waveform.clamp(-1, 1 - 2**-15), rtol=0, atol=0.51 / 32768)
    assert torch.equal(read_audio(str(place_of(all_rows(path)[0]["audio"], tmp_path))), expected[0])


def test_features_cannot_become_sound(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((50, 80), np.float16))
    write_manifest(tmp_path / "m.tsv", [{"id": "a", "audio": "a.npy", "n_frames": 50}], ["id", "audio", "n_frames"])
    with pytest.raises(DataError, match=r"m\.tsv:2: .*a\.npy: holds features, expected sound"):
        pack_manifests([tmp_path / "m.tsv"], tmp_path / "a.zip", audio=True)


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda path: cut_short(path), "cannot be decoded|is cut short"),
        (lambda path: path.unlink(), "there is no such file"),
        (lambda path: path.chmod(0), "cannot be read"),
    ],
    ids=["cut", "gone", "no permission"],
)
def test_sound_that_cannot_be_used_is_named(manifests, tmp_path, spoil, message, request):
    if "no permission" in request.node.name and os.geteuid() == 0:
        pytest.skip("root may read everything")
    spoil(tmp_path / "data/clips/3.flac")
    with pytest.raises(DataError, match=rf"train\.tsv:5: .*3\.flac: .*({message})"):
        pack_manifests(manifests[:1], tmp_path / "a.zip", audio=True)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"id\taudio\tn_frames\n", "holds no rows"),
        (b"id\taudio\tn_frames\nu\t\xff.wav\t9\n", "m.tsv:2: not UTF-8"),
        (b"", "header lacks"),
    ],
)
def test_bad_manifests_are_named(tmp_path, capsys, content, message):
    (tmp_path / "m.tsv").write_bytes(content)
    assert main([str(tmp_path / "m.tsv"), "--out", str(tmp_path / "f.zip")]) == 1
    assert message in capsys.readouterr().err


def test_flags_that_mean_nothing_are_refused(manifests, tmp_path, capsys):
    path = str(manifests[0])
    for words in (["--out", "f.zip", "--zip-bytes", "many"], ["--out", "f.zip", "--jobs", "0"], []):
        with pytest.raises(SystemExit):
            main([path, *words])
    assert main([path, "--out", str(tmp_path / "f.tar")]) == 1
    assert "expected a name that ends in .zip" in capsys.readouterr().err
