"""Sound files whose headers lie give the waveform that was encoded, however they are read."""

import io
import re
import struct
import sys
from fractions import Fraction

import numpy as np
import pytest
import soundfile

from data_prep.formats.recordings import decode_recording
from data_prep.formats.sound import decode_sound
from slam_plugin.data import audio
from slam_plugin.data.errors import DataError
from slam_plugin.data.locations import parse_location
from slam_plugin.data.sound import ffmpeg, reading
from tests.data_prep.layouts.sphere import sphere_header
from tests.support import lying_sounds as lies

VOICE = lies.voice(4.0)
RATE = lies.RATE
OTHER = lies.voice(1.5, seed=1)
FLAC, WAV = lies.encode(VOICE, "FLAC"), lies.encode(VOICE, "WAV", "PCM_16")
MP3 = lies.encode(VOICE, "MP3")
FULL = (1 << 32) - 1


def as_16_bits(samples: np.ndarray) -> np.ndarray:
    return np.round(np.float64(samples) * 32768) / 32768


def wav(length: int, riff: int | None = None, tail: bytes = b"") -> bytes:
    data = lies.after(WAV, b"data", 0, struct.pack("<I", length)) + tail
    return data if riff is None else lies.replaced(data, 4, struct.pack("<I", riff))


def layered(kind: str, mark: bytes, distance: int, content: bytes) -> bytes:
    return lies.after(lies.encode(VOICE, kind, "PCM_16"), mark, distance, content)


LIST = b"LIST" + struct.pack("<I", 26) + b"INFOISFT" + struct.pack("<I", 14) + b"a recorder 1.0"
# Name -> (bytes, the waveform that was encoded). Lossless, so that every sample must be the same.
EXACT = {
    "flac from a pipe": (lies.flac(FLAC, 0, keep_md5=False), VOICE),
    "flac of total 0": (lies.flac(FLAC, 0), VOICE),
    "flac of total 1": (lies.flac(FLAC, 1), VOICE),
    "flac that promises too little": (lies.flac(FLAC, 10_000), VOICE),
    "flac that promises too much": (lies.flac(FLAC, 64_001), VOICE),
    "flac that promises too much without md5": (lies.flac(FLAC, 100_000, keep_md5=False), VOICE),
    "flac with a huge claim": (lies.flac(FLAC, (1 << 36) - 1), VOICE),
    "flac of 24 bits with a huge claim": (lies.flac(lies.encode(as_16_bits(VOICE), "FLAC", "PCM_24"), 1 << 35), VOICE),
    "flac after an ID3 tag": (b"ID3\x04\0\0\0\0\0\x0a" + bytes(10) + lies.flac(FLAC, 0), VOICE),
    "flac before a tag": (FLAC + b"TAG" + b"a" * 125, VOICE),
    "flac before other bytes": (FLAC + b"\1" * 50_000, VOICE),
    "flacs in one": (FLAC + lies.encode(OTHER, "FLAC"), np.concatenate((VOICE, OTHER))),
    "flacs from pipes in one": (lies.flac(FLAC, 0) * 3, np.concatenate((VOICE, VOICE, VOICE))),
    "wav of length 0": (wav(0), VOICE),
    "wav of length 0, and of the file": (wav(0, 0), VOICE),
    "wav of length 0 in an odd file": (wav(0, 36, b"\0"), VOICE),
    "wav that promises too little": (wav(1000), VOICE),
    "wav that promises a half": (wav(64_000, 64_036), VOICE),
    "wav that promises too much": (wav(150_000), VOICE),
    "wav from a pipe": (wav(FULL, FULL), VOICE),
    "wav with a huge claim": (wav(0x7FFFFF00), VOICE),
    "wav with chunks after it": (wav(128_000, tail=LIST), VOICE),
    "wav with large chunks after it": (
        wav(128_000, tail=b"id3 " + struct.pack("<I", 9000) + bytes(range(250)) * 36),
        VOICE,
    ),
    "wav with a tag after it": (wav(128_000, tail=b"TAG" + b"a" * 125), VOICE),
    "wav with zeros after it": (wav(128_000, tail=bytes(20_000)), VOICE),
    "au of length 0": (layered("AU", b".snd", 4, bytes(4)), VOICE),
    "au that promises too little": (layered("AU", b".snd", 4, struct.pack(">I", 1000)), VOICE),
    "au from a pipe": (layered("AU", b".snd", 4, b"\xff" * 4), VOICE),
    "caf of unknown length": (layered("CAF", b"data", 0, b"\xff" * 8), VOICE),
    "caf of length 0": (layered("CAF", b"data", 0, bytes(8)), VOICE),
    "caf with a huge claim": (layered("CAF", b"data", 0, struct.pack(">q", 1 << 60)), VOICE),
    "caf that promises too little": (layered("CAF", b"data", 0, struct.pack(">q", 1000)), VOICE),
    "rf64 without lengths": (layered("RF64", b"ds64", 4, bytes(24)), VOICE),
    "rf64 from a pipe": (layered("RF64", b"ds64", 4, b"\xff" * 24), VOICE),
    "w64 of length 0": (layered("W64", b"data", 12, bytes(8)), VOICE),
    "aiff without lengths": (
        lies.after(layered("AIFF", b"SSND", 0, bytes(4)), b"COMM", 6, bytes(4)),
        VOICE,
    ),
    "sphere of 0 samples": (lies.encode(VOICE, "NIST").replace(b"-i 64000\n", b"-i 0\n    "), VOICE),
}


def read_every_way(tmp_path, data: bytes, suffix: str = ".wav") -> np.ndarray:
    """Return the waveform at 16 kHz, once all ways to read the file agree on it."""
    path = tmp_path / f"sound{suffix}"
    path.write_bytes(data)
    samples = audio.read_audio(path).numpy()
    blocks: list[np.ndarray] = []
    recording = decode_recording(path, lambda block, rate: blocks.append(block.copy()))
    assert recording == decode_sound(path)
    found = np.concatenate(blocks)
    if recording.rate == 16000:
        np.testing.assert_array_equal(found if found.ndim == 1 else found.mean(axis=1), samples)
        assert len(samples) == recording.samples
    assert audio.count_frames(path.name, tmp_path) == len(audio.load_features(path.name, tmp_path)) == recording.frames
    return samples


@pytest.mark.parametrize("case", EXACT)
def test_the_whole_waveform_is_read(tmp_path, case):
    data, waveform = EXACT[case]
    found = read_every_way(tmp_path, data)
    np.testing.assert_allclose(found, waveform, atol=1.01 / 32768)


@pytest.mark.parametrize("case", EXACT)
def test_parts_are_read_wherever_the_header_ends(tmp_path, case):
    data, waveform = EXACT[case]
    (tmp_path / "a.wav").write_bytes(data)
    for begin, samples in ((0, 400), (500, 5000), (60_000, 4000)):
        found = audio.read_audio(f"{tmp_path}/a.wav:{begin}:{samples}").numpy()
        np.testing.assert_allclose(found, waveform[begin : begin + samples], atol=1.01 / 32768)
    with pytest.raises(DataError, match=rf"a\.wav:{len(waveform)}:1: reaches beyond the end of the file, which has"):
        audio.read_audio(f"{tmp_path}/a.wav:{len(waveform)}:1")


@pytest.mark.parametrize("subtype", ["GSM610", "IMA_ADPCM", "MS_ADPCM", "ULAW"])
@pytest.mark.parametrize("length", [None, 0, FULL])
def test_telephone_codecs_are_read_to_their_end(tmp_path, subtype, length):
    samples = lies.voice(4.0, 8000)
    data = lies.encode(samples, "WAV", subtype, 8000)
    if length is not None:
        data = lies.after(data, b"data", 0, struct.pack("<I", length))
    read_every_way(tmp_path, data)
    (tmp_path / "a.wav").write_bytes(data)
    decoded = reading.read_waveform(data, "a").samples
    # Blocks of a codec are padded.
    assert 0 <= len(decoded) - len(samples) <= 512
    assert np.corrcoef(decoded[: len(samples)], samples)[0, 1] > 0.97
    found = reading.read_waveform(parse_location("a.wav:20000:8000", tmp_path), "a").samples
    np.testing.assert_array_equal(found, decoded[20000:28000])


def vbr(samples: np.ndarray, **options: object) -> bytes:
    return lies.encode(samples, "MP3", bitrate_mode="VARIABLE", compression_level=0.5, **options)


def uneven(first: float, second: float) -> np.ndarray:
    """Return two seconds and four, one quiet and one loud, so that the first frames say little of the others."""
    noise = np.random.default_rng(2).uniform(-1, 1, 96_000).astype(np.float32)
    return noise * np.repeat([first, second], [32_000, 64_000]).astype(np.float32)


@pytest.mark.parametrize("waveform", [uneven(0.001, 0.5), uneven(0.5, 0.001)], ids=["quiet first", "loud first"])
def test_mp3_of_variable_rate_is_read_to_its_end(tmp_path, waveform):
    whole = vbr(waveform)
    reference = read_every_way(tmp_path, whole, ".mp3")
    assert len(reference) == len(waveform)
    for more in (1, -1, -80, 1 << 28):
        np.testing.assert_array_equal(read_every_way(tmp_path, lies.with_count(whole, more), ".mp3"), reference)
    counted = lies.with_count(whole, 1, has_bytes=False)
    np.testing.assert_allclose(read_every_way(tmp_path, counted, ".mp3"), reference, atol=1e-6)
    # Without a count, nothing says how much the encoder put before the sound: all frames are read.
    bare = read_every_way(tmp_path, lies.without_count(whole), ".mp3")
    assert len(bare) == 576 * 169
    begin = int(np.argmax(np.correlate(bare[:40_000], reference[2000:34_000], "valid"))) - 2000
    assert 1000 < begin < 1300
    np.testing.assert_allclose(bare[begin : begin + 90_000], reference[:90_000], atol=1e-4)


def test_mp3s_in_one_are_read_to_the_end_of_the_last(tmp_path):
    parts = [vbr(uneven(0.001, 0.5)), MP3, lies.encode(OTHER, "MP3")]
    expected = [reading.read_waveform(part, "a").samples for part in parts]
    tag = b"ID3\x04\0\0\0\0\x01\x00" + b"\xff\xf3\x20\xc4" * 32
    found = read_every_way(tmp_path, parts[0] + tag + parts[1] + b"TAG" + b"a" * 125 + parts[2], ".mp3")
    np.testing.assert_array_equal(found, np.concatenate(expected))
    # A file without a count after one with a count
    bare = lies.without_count(parts[0])
    found = read_every_way(tmp_path, MP3 + bare, ".mp3")
    np.testing.assert_array_equal(found, np.concatenate((expected[1], reading.read_waveform(bare, "a").samples)))
    found = read_every_way(tmp_path, bare + bare, ".mp3")
    assert len(found) == 2 * 576 * 169


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_chained_ogg_is_read_to_the_end_of_the_last(tmp_path, subtype):
    first, second = (lies.encode(part, "OGG", subtype) for part in (VOICE, OTHER))
    expected = np.concatenate([soundfile.read(io.BytesIO(part), dtype="float32")[0] for part in (first, second)])
    assert len(expected) == len(VOICE) + len(OTHER)
    second = b"".join(lies.with_granule(page, lies.granule(page), 77) for page in lies.pages(second))
    for between in (b"", b"\1" * 100):
        np.testing.assert_array_equal(read_every_way(tmp_path, first + between + second, ".ogg"), expected)
    found = audio.read_audio(f"{tmp_path}/sound.ogg:60000:10000").numpy()
    np.testing.assert_array_equal(found, expected[60_000:70_000])
    assert len(reading.read_waveform(first * 3, "a").samples) == 3 * len(VOICE)


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
@pytest.mark.parametrize("position", [0, 1000, -1, 1 << 50, 9_000_000])
def test_a_wrong_last_position_of_ogg_does_not_cut_it(tmp_path, subtype, position):
    data = lies.encode(VOICE, "OGG", subtype)
    *others, last = lies.pages(data)
    found = read_every_way(tmp_path, b"".join((*others, lies.with_granule(last, position))), ".ogg")
    # The position of the last sample is lost: up to one block of the codec more may be decoded.
    assert 0 <= len(found) - len(VOICE) <= 400
    np.testing.assert_array_equal(found[: len(VOICE)], soundfile.read(io.BytesIO(data), dtype="float32")[0])


def test_ogg_that_lost_a_page_is_named():
    *others, last = lies.pages(lies.encode(VOICE, "OGG"))
    damaged = bytearray(others[3])
    damaged[500] ^= 1
    for broken in ((*others[:3], *others[4:], last), (*others[:3], bytes(damaged), *others[4:], last)):
        with pytest.raises(DataError, match=r"^a: is cut short, \d+ of the 64000 samples of its header can be decoded"):
            reading.read_waveform(b"".join(broken), "a")


def at_block(data: bytes, number: int) -> bytes:
    """Return FLAC up to a block: it begins with 14 bits, two bytes on its form and its number."""
    return data[: re.search(rb"\xff\xf8.." + bytes([number]), data, re.DOTALL).start()]


CUT = {
    "flac": FLAC[: len(FLAC) // 2],
    "flac by three bytes": FLAC[:-3],
    "flac from a pipe": lies.flac(FLAC, 0, keep_md5=False)[: len(FLAC) // 2],
    "flac at a block": at_block(FLAC, 8),
    "flac in one": FLAC + FLAC[: len(FLAC) // 2],
    "mp3": MP3[: len(MP3) // 2],
    "mp3 by a frame": MP3[:-200],
    "mp3 in one": MP3 + MP3[: len(MP3) // 2],
    "sphere": lies.encode(VOICE, "NIST")[:-2],
}


@pytest.mark.parametrize("case", CUT)
def test_what_is_cut_is_named(tmp_path, case):
    path = tmp_path / "a.wav"
    path.write_bytes(CUT[case])
    reasons = set()
    for read in (audio.read_audio, audio.load_features, audio.count_frames, decode_sound, decode_recording):
        with pytest.raises(DataError, match=rf"^{path}: (is cut short, \d+ of|cannot be decoded to its end)") as caught:
            read(path) if read in (audio.read_audio, decode_sound, decode_recording) else read(path.name, tmp_path)
        reasons.add(str(caught.value))
    # The same sentence everywhere
    assert len(reasons) == 1


def test_wholly_empty_files_are_named():
    for empty in (wav(0)[:44], wav(0)[:44] + LIST, lies.encode(VOICE[:0], "AU")):
        with pytest.raises(DataError, match="a: holds no samples"):
            reading.read_waveform(empty, "a")


def test_the_length_of_what_is_decoded_is_bounded(monkeypatch):
    """A small file can decode to days of silence."""
    silence = lies.flac(lies.encode(np.zeros(160_000, np.float32), "FLAC"), 0)
    assert len(silence) < 5000
    monkeypatch.setattr(reading, "MAX_WAVEFORM", 100_000)
    with pytest.raises(DataError, match="a: has more than 100,000 samples; name parts of it"):
        reading.read_waveform(silence, "a")
    assert reading.measure(silence, "a").samples == 160_000
    monkeypatch.setattr(reading, "MAX_HOURS", 9 / 3600)
    with pytest.raises(DataError, match="a: goes on after .* hours"):
        reading.measure(silence, "a")


def test_streams_of_different_kinds_in_one_file_are_named(tmp_path):
    for other in (
        lies.encode(lies.voice(1.0, 24000), "MP3", rate=24000),
        lies.encode(VOICE[:, None] * [1, 0.5], "MP3"),
    ):
        with pytest.raises(DataError, match=r"a: changes from 1 channels at 16000 Hz to \d channels at \d+ Hz"):
            reading.read_waveform(MP3 + other, "a")


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    class Failing(io.BytesIO):
        def read(self, size: int = -1) -> bytes:
            if self.tell() > 20_000:
                raise OSError(5, "Input/output error")
            return super().read(size)

    with pytest.raises(DataError, match=r"a: cannot be (read \(Input/output error\)|decoded to its end)"):
        list(reading.blocks_of(Failing(WAV), "a"))


# ---------------------------------------------------------------------------------------------------------------------
# PyAV


def shortened(samples: np.ndarray, count: int | None = None) -> bytes:
    whole = np.int16(np.round(samples * 32768))
    header = sphere_header(len(whole) if count is None else count, RATE, 1, 2, "pcm,embedded-shorten-v2.00")
    return header + lies.shorten(whole)


FOREIGN = {
    "mp4": (b"\0\0\0\x1cftypisom" + bytes(2000), "is MP4 or M4A"),
    "webm": (b"\x1aE\xdf\xa3" + bytes(2000), "is WebM or Matroska"),
    "aac": (b"\xff\xf1`@" + bytes(2000), "is AAC"),
    "shorten": (shortened(VOICE[:500]), "is SPHERE compressed by shorten"),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_without_pyav_the_extra_is_named(monkeypatch, case):
    monkeypatch.setitem(sys.modules, "av", None)
    data, expected = FOREIGN[case]
    cure = ", or decompress it with sph2pipe -f wav" if case == "shorten" else ""
    needs = rf"which needs av: pip install 'av>=12' \(the extra \[av\]\){cure}$"
    with pytest.raises(DataError, match=f"^a: {expected}, {needs}"):
        reading.read_waveform(data, "a")


@pytest.mark.parametrize("case", FOREIGN)
def test_damaged_files_of_pyav_are_named(case):
    pytest.importorskip("av")
    data = FOREIGN[case][0]
    with pytest.raises(DataError, match="^a: (is .* that cannot be decoded|is cut short|holds no samples)"):
        reading.read_waveform(data[: len(data) - 200], "a")


def by_ffmpeg(samples: np.ndarray, format: str, codec: str, rate: int) -> bytes:
    """Return a file that FFmpeg wrote."""
    av = pytest.importorskip("av")
    buffer, done = io.BytesIO(), 0
    with av.open(buffer, "w", format=format) as file:
        stream = file.add_stream(codec, rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts = rate, None
        fifo = av.AudioFifo()
        for converted in av.AudioResampler(stream.codec_context.format, "mono", rate).resample(frame):
            fifo.write(converted)
        while (part := fifo.read(stream.codec_context.frame_size or 1024, partial=True)) is not None:
            part.pts, part.time_base = done, Fraction(1, rate)
            done += part.samples
            file.mux(stream.encode(part))
        file.mux(stream.encode(None))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("suffix", "format", "codec", "rate", "delay"),
    [
        (".m4a", "ipod", "aac", 16000, 0),
        (".mp4", "mp4", "aac", 44100, 0),
        (".mov", "mov", "alac", 16000, 0),
        (".webm", "webm", "libopus", 48000, 0),
        (".mka", "matroska", "libopus", 48000, 0),
        (".mkv", "matroska", "pcm_s16le", 22050, 0),
        (".oga", "ogg", "flac", 16000, 0),
        # Nothing in it says how much the encoder put before and after the sound.
        (".aac", "adts", "aac", 16000, 1024),
    ],
)
def test_pyav_reads_what_was_encoded(tmp_path, suffix, format, codec, rate, delay):
    waveform = lies.voice(2.0, rate)
    data = by_ffmpeg(waveform, format, codec, rate)
    samples = read_every_way(tmp_path, data, suffix)
    found, found_rate, _ = reading.read_waveform(data, "a")
    assert found_rate == rate and 0 <= len(found) - len(waveform) - delay <= (1024 if delay else 0)
    assert len(samples) == -(-len(found) * 16000 // rate)
    found = found[delay : delay + len(waveform)]
    assert np.corrcoef(found[2000:-2000], waveform[2000:-2000])[0, 1] > 0.98
    part = reading.read_waveform(parse_location(f"sound{suffix}:9000:5000", tmp_path), "a").samples
    np.testing.assert_array_equal(part, reading.read_waveform(data, "a").samples[9000:14000])


@pytest.mark.parametrize("second", [1, 2, 4, 6])  # the code of the number of channels
def test_aac_that_changes_its_channels_is_named(second):
    """Each frame of ADTS says its own number of channels."""
    data = by_ffmpeg(VOICE, "adts", "aac", RATE)
    other = bytearray(data)
    begin = 0
    while begin < len(other):  # bits 23 to 25 of each frame's header
        size = (other[begin + 3] & 3) << 11 | other[begin + 4] << 3 | other[begin + 5] >> 5
        other[begin + 2] = other[begin + 2] & 0xFE | second >> 2
        other[begin + 3] = other[begin + 3] & 0x3F | (second & 3) << 6
        begin += size
    if second == 1:
        assert len(reading.read_waveform(data + bytes(other), "a").samples) > 1.9 * len(VOICE)
        return
    with pytest.raises(DataError, match="^a: (changes its sample rate or channels|is AAC that cannot be decoded)"):
        reading.read_waveform(data + bytes(other), "a")


def test_mp4_that_is_cut_is_named():
    data = by_ffmpeg(VOICE, "mp4", "aac", RATE)
    with pytest.raises(
        DataError, match=r"^a: (is cut short, \d+ of the \d+ packets|is MP4 or M4A that cannot be decoded)"
    ):
        reading.read_waveform(data[: len(data) // 2], "a")


def test_pyav_reads_shortened_sphere(tmp_path):
    pytest.importorskip("av")
    found = read_every_way(tmp_path, shortened(VOICE), ".sph")
    np.testing.assert_allclose(found, VOICE, atol=0.51 / 32768)
    with pytest.raises(DataError, match="^a: is cut short, 64000 of the 64500 samples of its header can be decoded"):
        reading.read_waveform(shortened(VOICE, 64_500), "a")


def test_pyav_opens_no_other_file(tmp_path):
    """FFmpeg would take a text for a list of files to open, and play them."""
    pytest.importorskip("av")
    (tmp_path / "secret.wav").write_bytes(WAV)
    for text in (
        f"#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\n{tmp_path}/secret.wav\n#EXT-X-ENDLIST\n",
        f"ffconcat version 1.0\nfile {tmp_path}/secret.wav\n",
    ):
        with pytest.raises(DataError, match="^a: cannot be decoded as WAV"):
            reading.read_waveform(text.encode(), "a")
    assert ffmpeg.foreign(b"#EXTM3U") is None


@pytest.mark.parametrize(("suffix", "format"), [(".mov", "mov"), (".avi", "avi")])
def test_pcm_whose_header_counts_samples(tmp_path, suffix, format):
    """QuickTime and AVI count samples of PCM, not packets."""
    samples = read_every_way(tmp_path, by_ffmpeg(VOICE, format, "pcm_s16le", RATE), suffix)
    np.testing.assert_allclose(samples, VOICE, atol=1 / 32768)
