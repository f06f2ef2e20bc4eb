"""A long recording of joined clips through ``slam transcribe``: CPU time, memory, times of words, word errors.

    python -m benchmarks.recordings --checkpoint FILE --manifest MANIFEST [--minutes 60] [--clips 100] [--m4a]

The clips of ``MANIFEST`` are joined, with pauses of 0.8 to 1.6 s, to a recording of ``--minutes`` and to one of a
minute. Each is transcribed in a process of its own. The bounds of words are compared with the places of the clips, and
the word errors of the first ``--clips`` clips with those of the clips alone. ``--m4a`` also encodes both recordings as
AAC, writes subtitles of them, and transcribes the first half of the short file, which must be an error.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import jiwer
import numpy as np
import soundfile

from slam_plugin.data.audio import read_audio
from slam_plugin.data.constants import SAMPLE_RATE
from slam_plugin.data.manifests.manifest import Manifest

ROOT = Path(__file__).resolve().parent.parent
PAUSES = 0.8, 1.6  # seconds
KIB, MB = 1024, 1e6


class Clip(NamedTuple):
    """A clip in a joined recording: its location, its text, and its times in seconds."""

    location: str
    text: str
    begin: float
    end: float


class Run(NamedTuple):
    """The output of ``slam transcribe``, its CPU seconds, and its peak resident bytes."""

    records: list[dict]
    cpu: float
    peak: int


class Process(NamedTuple):
    """Exit status, standard output, standard error, CPU seconds and peak resident bytes of a process."""

    status: int
    output: str
    errors: str
    cpu: float
    peak: int


def join(manifest: Manifest, seconds: float, path: Path) -> list[Clip]:
    """Write clips with pauses between them, at 16 kHz, until there are ``seconds``, and return them."""
    rng = random.Random(0)
    clips: list[Clip] = []
    done = 0
    with soundfile.SoundFile(path, "w", SAMPLE_RATE, 1, "PCM_16") as file:
        for location, text, samples in _clips(manifest):
            pause = np.zeros(round(SAMPLE_RATE * rng.uniform(*PAUSES)), np.float32)
            file.write(pause)
            file.write(samples)
            begin, done = done + len(pause), done + len(pause) + len(samples)
            clips.append(Clip(location, text, begin / SAMPLE_RATE, done / SAMPLE_RATE))
            if done >= seconds * SAMPLE_RATE:
                return clips
    raise AssertionError("the clips do not end")


def _clips(manifest: Manifest) -> Iterator[tuple[str, str, np.ndarray]]:
    """Yield (location, text, samples at 16 kHz) of the manifest's rows, again and again."""
    while True:
        for row in range(len(manifest)):
            location = str(manifest.path.parent / manifest.value(row, "audio"))
            yield location, manifest.value(row, "tgt_text"), read_audio(location).numpy()


def run(checkpoint: Path, sources: Sequence[str], flags: Sequence[str]) -> Process:
    """Run ``slam transcribe`` over the sources, named on its standard input."""
    command = [sys.executable, "-m", "slam_plugin.commands.cli", "transcribe", "--checkpoint", str(checkpoint)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    with ExitStack() as stack:
        written, output, errors = (stack.enter_context(tempfile.TemporaryFile("w+")) for _ in range(3))
        written.write("\n".join(sources))
        written.seek(0)
        process = subprocess.Popen(
            [*command, *flags, "-"], stdin=written, stdout=output, stderr=errors, env=environment
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        cpu, peak = used.ru_utime + used.ru_stime, used.ru_maxrss * KIB
        return Process(process.returncode, output.read(), errors.read(), cpu, peak)


def transcribe(checkpoint: Path, sources: Sequence[str], flags: Sequence[str]) -> Run:
    """Run ``slam transcribe``, which prints JSON by ``flags``, over the sources."""
    found = run(checkpoint, sources, flags)
    if found.status:
        raise RuntimeError(f"slam transcribe: found exit status {found.status}, expected 0\n{found.errors}")
    return Run([json.loads(line) for line in found.output.splitlines()], found.cpu, found.peak)


def encode_m4a(sound: Path, path: Path, index_first: bool = False) -> None:
    """Encode a sound file as AAC in an MP4 file, which has its index at the end, or else at the begin."""
    import av

    options = {"movflags": "faststart"} if index_first else {}
    with av.open(str(path), "w", format="mp4", options=options) as output:
        with av.open(str(sound)) as source:
            stream = output.add_stream("aac", rate=SAMPLE_RATE, layout="mono", bit_rate=64_000)
            for frame in source.decode(audio=0):
                frame.pts = None
                output.mux(stream.encode(frame))
            output.mux(stream.encode(None))


def report_m4a(checkpoint: Path, short: Path, long: Path) -> None:
    """Print CPU time and memory of subtitles of both sounds as m4a, and the error of the first half of the short."""
    flags = ["--format", "srt"]
    for name, sound in (("a minute", short), ("all", long)):
        path = sound.with_suffix(".m4a")
        encode_m4a(sound, path)
        found = run(checkpoint, [str(path)], flags)
        words = f"{path.stat().st_size / MB:.1f} MB, {found.output.count(' --> ')} subtitles"
        print(f"m4a, {name}: {words}, CPU {found.cpu:.1f} s, peak {found.peak / MB:.0f} MB, exit {found.status}")
    for words, index_first in (("the index at its end", False), ("the index at its begin", True)):
        half = short.with_name("half.m4a")
        encode_m4a(short, half, index_first)
        os.truncate(half, half.stat().st_size // 2)
        found = run(checkpoint, [str(half)], flags)
        named = [line for line in found.errors.splitlines() if half.name in line]  # without the progress
        print(f"the first half of an m4a with {words}: exit {found.status}, {' '.join(named)}")


def bounds(clips: Sequence[Clip], words: Sequence[dict]) -> tuple[float, float, int]:
    """Return the mean distance in seconds of the first words' starts and of the last words' ends from their clips'.

    A word belongs to the clip in which its middle lies. The third value is the number of clips with words.
    """
    starts, ends = [], []
    middles = [(word["start"] + word["end"]) / 2 for word in words]
    for clip in clips:
        inside = [word for word, middle in zip(words, middles, strict=True) if clip.begin <= middle < clip.end]
        if inside:
            starts.append(abs(inside[0]["start"] - clip.begin))
            ends.append(abs(inside[-1]["end"] - clip.end))
    return float(np.mean(starts)), float(np.mean(ends)), len(starts)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recordings", description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, required=True, help="a CTC or transducer model")
    parser.add_argument("--manifest", type=Path, required=True, help="manifest of clips with texts")
    parser.add_argument("--minutes", type=float, default=60.0, help="length of the long recording (%(default)s)")
    parser.add_argument("--clips", type=int, default=100, help="clips whose word errors are counted (%(default)s)")
    parser.add_argument("--m4a", action="store_true", help="also subtitles of m4a files")
    options = parser.parse_args(arguments)
    manifest = Manifest.open(options.manifest)
    timed = ["--format", "json"]
    with tempfile.TemporaryDirectory() as folder:
        short, long = Path(folder, "minute.wav"), Path(folder, "long.wav")
        join(manifest, 60.0, short)
        clips = join(manifest, 60.0 * options.minutes, long)
        of_minute = transcribe(options.checkpoint, [str(short)], timed)
        of_long = transcribe(options.checkpoint, [str(long)], timed)
        if options.m4a:
            report_m4a(options.checkpoint, short, long)
    few = clips[: options.clips]
    alone = transcribe(options.checkpoint, [clip.location for clip in few], ["--json"])
    (record,) = of_long.records
    words = [word for segment in record["segments"] for word in segment["words"]]
    first, last, count = bounds(clips, words)
    said = " ".join(clip.text for clip in few)
    found = " ".join(word["word"] for word in words if word["start"] < few[-1].end)
    errors = [jiwer.wer(said, found), jiwer.wer(said, " ".join(item["text"] for item in alone.records))]
    seconds = record["duration"]
    print(f"{len(clips)} clips, {seconds / 60:.1f} minutes, {len(record['segments'])} segments, {len(words)} words")
    print(f"CPU: {of_long.cpu:.1f} s, {of_long.cpu / seconds:.4f} of the recording; a minute's: {of_minute.cpu:.1f} s")
    print(f"peak memory: {of_long.peak / MB:.0f} MB; a minute's: {of_minute.peak / MB:.0f} MB")
    print(f"first words start {first:.2f} s from their clips', last words end {last:.2f} s ({count} clips with words)")
    print(f"word errors of {len(few)} clips: joined {100 * errors[0]:.1f} %, alone {100 * errors[1]:.1f} %")


if __name__ == "__main__":
    main()
