"""Folders of sound as users have them: what can be read is prepared whole, the rest is left out by name."""

import numpy as np
import pytest

from data_prep.engine.command import prepare
from data_prep.formats.recordings import Utterance, decode_recording, rows_of_recording, sounds_below
from data_prep.formats.sound import UnusableSound, decode_sound
from data_prep.own import command as own
from slam_plugin.commands.inputs import inputs_of
from slam_plugin.data.lengths import frames_in
from slam_plugin.data.manifests.manifest import Manifest
from slam_plugin.data.manifests.validate import find_faults
from tests.data_prep.preparing import dropped, rows_of
from tests.support import lying_sounds as lies

VOICE = lies.voice(2.0)
FLAC = lies.encode(VOICE, "FLAC")
WAV = lies.encode(VOICE, "WAV", "PCM_16")
STEREO = np.stack((VOICE, VOICE), 1)
# Name -> (bytes, samples that were encoded)
GOOD = {
    "pipe.FLAC": (lies.flac(FLAC, 0, keep_md5=False), 32_000),
    "huge.flac": (lies.flac(FLAC, 1 << 35), 32_000),
    "dead.Wav": (lies.after(WAV, b"data", 0, bytes(4)), 32_000),
    "two.MP3": (lies.encode(VOICE, "MP3") * 2, 64_000),
    "counted.mp3": (lies.with_count(lies.encode(VOICE, "MP3"), 1), 32_000),
    "chained.oga": (lies.encode(VOICE, "OGG") * 2, 64_000),
    "voice.opus": (lies.encode(VOICE, "OGG", "OPUS"), 32_000),
    "apple.aiff": (lies.encode(VOICE, "AIFF"), 32_000),
}
BAD = {
    "cut.flac": (FLAC[:9000], "cannot be decoded to its end"),
    "empty.wav": (b"", "cannot be decoded as WAV"),
    "page.mp3": (b"<html>404</html>" * 50, "cannot be decoded as WAV"),
    "inverted.wav": (lies.encode(STEREO * [1, -1], "WAV"), "its 2 channels have opposite phase"),
    "rate.wav": (lies.replaced(WAV, 24, b"\1\0\0\0"), "has a sample rate of 1 Hz"),
    "clip.m4a": (b"\0\0\0\x1cftypM4A " + bytes(500), "is MP4 or M4A"),
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mine").mkdir()
    for name, (data, _) in {**GOOD, **BAD}.items():
        (tmp_path / "mine" / name).write_bytes(data)
    return tmp_path / "mine"


def test_bad_files_are_left_out_by_name(tmp_path, folder):
    stats = prepare(own.open_corpus(folder, "speech", valid_share=0.0), tmp_path / "out")
    found = {row["id"]: row["n_frames"] for row in rows_of(tmp_path / "out/train.tsv")}
    assert found == {name: frames_in(samples) for name, (_, samples) in GOOD.items()}
    left_out = dropped(tmp_path / "out")
    assert left_out.keys() == BAD.keys() and sum(stats["dropped"].values()) == len(BAD)
    for name, (_, reason) in BAD.items():
        assert left_out[name].startswith(reason)
    manifest = Manifest.open(tmp_path / "out/train.tsv")
    assert list(find_faults(manifest, tmp_path / "out", 1, 10_000)) == []


def test_every_command_finds_the_same_files(folder):
    inputs, faults = inputs_of([str(folder)], are_texts=False, pairs=False)
    names = {item.source.rpartition("/")[2] for item in inputs}
    assert names == {*GOOD, *BAD} == {path.name for path in sounds_below(folder).values()} and not faults


def test_a_recording_whose_channels_cancel_is_used_by_channel_alone(tmp_path):
    path = tmp_path / "call.wav"
    path.write_bytes(BAD["inverted.wav"][0])

    def rows(channel: int | None) -> list:
        return list(rows_of_recording("train", path, "call", [Utterance("a", "1", 0, 1, "x", "s", channel)], 30.0))

    assert [item.reason for item in rows(None)] == [
        "its 2 channels have opposite phase and cancel each other when they are averaged; name one of them, as "
        "FILE:BEGIN:SAMPLES:CHANNEL"
    ]
    assert len(rows(1)) == 1


@pytest.mark.parametrize("decode", [decode_sound, decode_recording])
def test_a_name_with_a_zero_byte_is_no_file(tmp_path, decode):
    with pytest.raises(UnusableSound, match="has a name with a zero byte, there is no such file"):
        decode(tmp_path / "a\0.wav")
