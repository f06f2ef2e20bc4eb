"""Align transcripts with long recordings, and cut these into utterances to train on.

    slam align --checkpoint checkpoint_best.pt talk.mp3 talk.txt --out data/talk
    slam align --checkpoint checkpoint_best.pt recordings/ --out data/talks

The checkpoint is a recognizer trained with CTC, of the language of the recordings. Inputs are recordings, each followed
by its transcript, or folders of recordings with transcripts beside them (``talk.mp3``, ``talk.txt``). A recording may
last hours: speech is found by Silero VAD (the extra ``recordings``) and its posteriors are computed by pieces.

A transcript is a text in UTF-8 with a line per sentence, or wrapped lines with ``.``, ``?`` or ``!`` after sentences.
The text of the output is that of the transcript. For the alignment, words are normalized as the model's training text
was. A word with a unit that the model's vocabulary lacks, such as a digit, stands for any speech. Speech between two
sentences that the transcript lacks is left out.

``--out`` gets these files:

- ``utterances.tsv``, a manifest: the parts of the recordings that hold the sentences, with their ``confidence``: how
  likely each is per unit, beside what the model itself would write, from 0 to 1. The sound is not copied. Sentences
  longer than ``--max-seconds`` are split at pauses.
- ``left_out.tsv``: the sentences whose confidence is below ``--min-confidence``: badly read, absent or wrong
- for each recording ``NAME.json``, ``NAME.srt`` and ``NAME.vtt``, the times of sentences and words

A recording is left out, with an error and exit code 1, if fewer than a tenth of its sentences are kept: the transcript
is that of another recording, or the model does not know the language.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tqdm import tqdm

from slam_plugin.commands.inputs import add_device
from slam_plugin.data.constants import MAX_SECONDS, MIN_SECONDS, SAMPLE_RATE, SOUND_SUFFIXES
from slam_plugin.data.errors import DataError
from slam_plugin.data.extras import require_packages
from slam_plugin.data.files import atomic_write
from slam_plugin.data.folders import files_below
from slam_plugin.data.locations import parse_location
from slam_plugin.program import Program, UsageError
from slam_plugin.recordings.alignment import DEFAULT_MIN_CONFIDENCE, MIN_KEPT, Alignment, Sentence
from slam_plugin.recordings.sentences import read_text, sentences_of

if TYPE_CHECKING:
    from slam_plugin.hub import Slam

UTTERANCES, LEFT_OUT = "utterances.tsv", "left_out.tsv"
COLUMNS = ("id", "audio", "n_frames", "tgt_text", "confidence")
TRANSCRIPT = ".txt"
_SUBTITLES = ("srt", "vtt")


class Pair(NamedTuple):
    """A recording, its transcript, and the name of the files that are written of it."""

    recording: Path
    transcript: Path
    name: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="RECORDING TRANSCRIPT",
        help="recordings, each followed by its transcript, or folders of both",
    )
    parser.add_argument("--checkpoint", type=Path, required=True, metavar="FILE", help="recognizer trained with CTC")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="folder to write")
    parser.add_argument(
        "--min-confidence",
        type=float,
        default=DEFAULT_MIN_CONFIDENCE,
        metavar="P",
        help="leave out sentences that are aligned worse, from 0 to 1 (%(default)s)",
    )
    parser.add_argument(
        "--max-seconds", type=float, default=MAX_SECONDS, metavar="S", help="longest utterance (%(default)s)"
    )
    add_device(parser)


def run(options: argparse.Namespace) -> int:
    """Align all pairs and write the folder. Return 1 if an input had an error, else 0."""
    if not 0 <= options.min_confidence <= 1:
        raise UsageError(f"--min-confidence {options.min_confidence}: expected 0 to 1")
    if not options.max_seconds >= 1:
        raise UsageError(f"--max-seconds {options.max_seconds}: expected at least 1")
    pairs, faults = pairs_of(options.inputs)
    _check_names(pairs)
    for fault in faults:
        _report(fault)
    if not pairs:
        raise DataError("found no recording with a transcript")
    texts = dict(_texts(pairs, faults))
    require_packages("slam align", "recordings", "pysubs2")
    # Imported here: torch takes seconds, and a wrong argument should be reported at once.
    from slam_plugin.hub import Slam

    slam = Slam.load(options.checkpoint, options.device, options.bf16)
    kept: list[dict] = []
    left_out: list[dict] = []
    for pair, text in texts.items():
        try:
            alignment = _aligned(slam, pair, text, options)
            kept += _rows(pair, alignment, options)
        except DataError as error:
            faults.append(str(error))
            _report(faults[-1])
            continue
        left_out += [
            {"id": pair.name, **_rounded(sentence)}
            for sentence in alignment.sentences
            if sentence.confidence < options.min_confidence
        ]
        _write_files(pair, alignment, options)
    if not kept:
        return 1
    _write_table(options.out / UTTERANCES, COLUMNS, kept)
    _write_table(options.out / LEFT_OUT, ("id", "number", "start", "end", "confidence", "text"), left_out)
    print(f"{options.out / UTTERANCES}: {len(kept)} utterances; left out {len(left_out)}, see {LEFT_OUT}")
    return 1 if faults else 0


def pairs_of(arguments: Sequence[str]) -> tuple[list[Pair], list[str]]:
    """Return the recordings with their transcripts, and a message for each recording of a folder without one.

    Raises :class:`UsageError` if a recording is not followed by a transcript, or by one with times.
    """
    pairs: list[Pair] = []
    faults: list[str] = []
    waiting = list(arguments)
    while waiting:
        first = waiting.pop(0)
        if os.path.isdir(first):
            found, absent = _pairs_in(Path(first))
            pairs, faults = pairs + found, faults + absent
            continue
        if not waiting or os.path.isdir(waiting[0]):
            raise UsageError(f"{first}: found no transcript after it, expected RECORDING TRANSCRIPT, or a folder")
        transcript = Path(waiting.pop(0))
        if transcript.suffix.lower() in (".srt", ".vtt"):
            raise UsageError(f"{transcript}: has times of its own, which slam prepare own reads; expected a plain text")
        if transcript.suffix.lower() in SOUND_SUFFIXES:
            raise UsageError(f"{transcript}: found a sound file, expected the transcript of {first}")
        pairs.append(Pair(Path(first), transcript, Path(first).stem))
    return pairs, faults


def _pairs_in(folder: Path) -> tuple[list[Pair], list[str]]:
    sounds = sorted(path for path in files_below(folder) if path.suffix.lower() in SOUND_SUFFIXES)
    pairs = [
        Pair(path, path.with_suffix(TRANSCRIPT), str(path.relative_to(folder).with_suffix("")))
        for path in sounds
        if path.with_suffix(TRANSCRIPT).is_file()
    ]
    faults = [
        f"{path}: found no transcript {path.stem}{TRANSCRIPT} beside it"
        for path in sounds
        if not path.with_suffix(TRANSCRIPT).is_file()
    ]
    return pairs, faults or ([] if pairs else [f"{folder}: found no sound file in the folder"])


def _check_names(pairs: Iterable[Pair]) -> None:
    first: dict[str, Path] = {}
    for pair in pairs:
        other = first.setdefault(pair.name, pair.recording)
        if other is not pair.recording:
            raise DataError(f"{other} and {pair.recording} have the same name {pair.name}; use two runs")


def _texts(pairs: Iterable[Pair], faults: list[str]) -> Iterator[tuple[Pair, list[str]]]:
    """Yield the sentences of each transcript. Report a faulty one, and add it to ``faults``."""
    for pair in pairs:
        try:
            _check_recording(pair.recording)
            sentences = sentences_of(read_text(pair.transcript))
            if not sentences:
                raise DataError(f"{pair.transcript}: holds no text, expected the transcript of {pair.recording}")
            yield pair, sentences
        except DataError as error:
            faults.append(str(error))
            _report(faults[-1])


def _check_recording(path: Path) -> None:
    if not path.is_file():
        raise DataError(f"{path}: there is no such file")
    if parse_location(f"{path}:0:1", "").offset is None:
        raise DataError(f"{path}: found the ending {path.suffix!r}, expected one of sound files to name a part of it")
    if not {"\t", "\n", "\r"}.isdisjoint(str(path.absolute())):
        raise DataError(f"{str(path)!r}: has a tab or a line break in its name, which a manifest cannot hold")


def _aligned(slam: "Slam", pair: Pair, text: list[str], options: argparse.Namespace) -> Alignment:
    """Return the alignment of a pair. Raises :class:`DataError` if the transcript is that of another recording."""
    from slam_plugin.commands.recordings import Progress
    from slam_plugin.inference.alignment import align

    progress = Progress()
    try:
        alignment = align(slam, str(pair.recording), text, options.max_seconds, report=progress)
    finally:
        progress.close()
    kept, total = len(alignment.kept(options.min_confidence)), len(alignment.sentences)
    if kept < MIN_KEPT * total:
        mean = sum(sentence.confidence for sentence in alignment.sentences) / total
        raise DataError(
            f"{pair.transcript}: found {kept} of {total} sentences in {pair.recording} with a confidence of at least "
            f"{options.min_confidence:g} (mean {mean:.2f}); expected the transcript of this recording, and a model of "
            "its language"
        )
    return alignment


def _rows(pair: Pair, alignment: Alignment, options: argparse.Namespace) -> list[dict]:
    """Return the rows of the manifest: parts of the recording in samples at its own rate."""
    from slam_plugin.data.lengths import frames_of
    from slam_plugin.data.sound.reading import blocks_of

    with pair.recording.open("rb") as file:
        _, rate = next(blocks_of(file, str(pair.recording)))
    total = int(round(alignment.duration * SAMPLE_RATE) * rate // SAMPLE_RATE)
    rows = []
    for count, sentence in enumerate(alignment.kept(options.min_confidence), 1):
        begin, end = round(sentence.begin * rate), min(round(sentence.finish * rate), total)
        # Margins may make it a little longer than --max-seconds, which the words alone are not.
        excess = max(0, end - begin - int(options.max_seconds * rate))
        begin, end = begin + excess // 2, end - (excess - excess // 2)
        if end - begin >= MIN_SECONDS * rate:
            rows.append(
                {
                    "id": f"{pair.name}-{count:05d}",
                    "audio": f"{pair.recording.absolute()}:{begin}:{end - begin}",
                    "n_frames": frames_of(end - begin, rate),
                    "tgt_text": sentence.text,
                    "confidence": f"{sentence.confidence:.3f}",
                }
            )
    return rows


def _write_files(pair: Pair, alignment: Alignment, options: argparse.Namespace) -> None:
    """Write the times of a recording's sentences as JSON and as subtitles."""
    from slam_plugin.recordings.subtitles import subtitles

    records = [
        {**sentence.record(), "kept": sentence.confidence >= options.min_confidence} for sentence in alignment.sentences
    ]
    record = {"duration": round(alignment.duration, 3), "sentences": records}
    transcript = alignment.transcript(options.min_confidence)
    # Names may hold dots: an ending is added, never replaced.
    contents = {"json": json.dumps(record, ensure_ascii=False, indent=1) + "\n"}
    contents |= {name: subtitles(transcript, name) for name in _SUBTITLES}
    for ending, content in contents.items():
        with atomic_write(options.out / f"{pair.name}.{ending}") as file:
            file.write(content)


def _rounded(sentence: Sentence) -> dict:
    record = sentence.record()
    return {name: record[name] for name in ("number", "start", "end", "confidence", "text")}


def _write_table(path: Path, columns: Sequence[str], rows: Iterable[dict]) -> None:
    with atomic_write(path) as file:
        file.write("\t".join(columns) + "\n")
        for row in rows:
            file.write("\t".join(str(row[column]) for column in columns) + "\n")


def _report(message: str) -> None:
    tqdm.write(f"slam align: {message}", file=sys.stderr)


main = Program("slam align", __doc__, add_arguments, run)
