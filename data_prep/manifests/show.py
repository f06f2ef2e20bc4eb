"""Show a manifest as one HTML page: numbers, histograms, extremes, and samples to listen to.

    slam show data/train.tsv --out train.html --samples 20

The page is one file that loads nothing else: it holds the samples as FLAC at 16 kHz, whether they are in a file, a part
of a file or a zip. Features have no sound and are shown as pictures. The same manifest and seed give the same page.

A page may be passed on, and a manifest may come from elsewhere: audio outside of its folder, or of ``--audio-root``, is
not shown. For manifests of one's own that name such files there is ``--no-inside-root``.
"""

import argparse
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from data_prep.manifests.pack import sound_of
from data_prep.manifests.places import place_of
from data_prep.manifests.show_numbers import (
    GROUPS,
    TEXT_COLUMNS,
    characters_of,
    extremes,
    groups_of,
    histogram,
    sample,
    seconds_of,
    text_column,
    words_of,
)
from data_prep.manifests.show_page import (
    Sample,
    Text,
    bars,
    charts,
    duration,
    group_table,
    page,
    sample_list,
    sound_uri,
    spectrogram_uri,
    text_of,
    utterance_table,
)
from slam_plugin.data.audio import load_features
from slam_plugin.data.constants import FRAMES_PER_SECOND
from slam_plugin.data.errors import DataError
from slam_plugin.data.files import atomic_write
from slam_plugin.data.locations import Location, outside, read_bytes
from slam_plugin.data.manifests.manifest import Manifest, line_of
from slam_plugin.program import Program, UsageError
from slam_plugin.reporting.figures import Chart

EXTREMES = 8
_SHOWN_GROUPS = 12


def write_page(
    manifest: Manifest,
    out: str | Path,
    audio_root: str | Path | None = None,
    samples: int = 12,
    seed: int = 1,
    inside_root: bool = True,
) -> list[str]:
    """Write the page and return the faults of its samples, which the page shows too.

    Relative audio paths are under ``audio_root``, by default the manifest's folder. With ``inside_root``, audio that is
    not below it is a fault and not shown.
    """
    problems: list[str] = []
    root = Path(audio_root or manifest.path.parent)
    seconds, spoken = seconds_of(manifest), text_column(manifest)
    words = {column: words_of(manifest, column) for column in TEXT_COLUMNS if column in manifest.columns}
    characters = characters_of(manifest, spoken) if spoken else None
    rows = sample(len(manifest), samples, seed)
    heard = sample_list([_sample(manifest, row, root, inside_root, problems) for row in rows])
    sections = [
        (
            "Samples",
            f"{len(rows):,} of {len(manifest):,} utterances, drawn with seed {seed}. Check that the sound matches the "
            "text, from the first word to the last.",
            heard,
        ),
        (
            "How much there is",
            "Spikes and gaps show how the corpus was cut or filtered.",
            _charts(manifest, seconds, words, spoken, characters),
        ),
        *_groups(manifest),
        *_extremes(manifest, seconds, spoken, characters),
    ]
    with atomic_write(out) as file:
        file.write(page(manifest.path.name, _facts(manifest, seconds, words.get(spoken)), sections))
    return problems


def _facts(manifest: Manifest, seconds: np.ndarray, words: np.ndarray | None) -> list[tuple[str, str]]:
    facts = [
        ("utterances", f"{len(manifest):,}"),
        ("of sound", duration(float(seconds.sum()) / 3600)),
        ("on average", f"{seconds.mean():.1f} s"),
    ]
    if words is not None:
        facts.append(("words", f"{int(words.sum()):,}"))
    return facts + [
        (many, f"{len(manifest.codes(column)[1]):,}") for column, many in GROUPS.items() if column in manifest.columns
    ]


def _charts(
    manifest: Manifest,
    seconds: np.ndarray,
    words: Mapping[str, np.ndarray],
    spoken: str | None,
    characters: np.ndarray | None,
) -> str:
    frames, minutes = manifest.column("n_frames"), "minutes of sound by frames of 10 ms"
    drawn = [
        Chart("utterances by length", bars(histogram(seconds), "utterances by length", "seconds")),
        Chart(minutes, bars(histogram(frames, seconds / 60, whole=True), minutes, "frames", "minutes")),
    ]
    for column, counts in words.items():
        title = f"utterances by words of {column}"
        drawn.append(Chart(title, bars(histogram(counts, whole=True), title, "words")))
    if spoken:
        title = f"utterances by characters of {spoken} a second"
        drawn.append(Chart(title, bars(histogram(characters / seconds), title, "characters a second")))
    return charts(drawn)


def _groups(manifest: Manifest) -> Iterator[tuple[str, str, str]]:
    for column, words in GROUPS.items():
        if column in manifest.columns:
            found = groups_of(manifest, column)
            summary = f"{len(found.names):,} {words}, those with most sound first."
            if len(found.names) > 1:
                yield words.capitalize(), summary, group_table(found, words, _SHOWN_GROUPS)


def _extremes(
    manifest: Manifest, seconds: np.ndarray, spoken: str | None, characters: np.ndarray | None
) -> Iterator[tuple[str, str, str]]:
    """Yield the tables of the longest, shortest, fastest and slowest utterances."""

    def table(rows: Sequence[int]) -> str:
        head = ["line", "seconds"] + (["characters a second"] if spoken else [])
        body = []
        for row in rows:
            numbers = [f"{line_of(row):,}", f"{seconds[row]:.2f}"]
            if spoken:
                numbers.append(f"{characters[row] / seconds[row]:.1f}")
            body.append((manifest.value(row, "id"), numbers, _texts(manifest, row)))
        return utterance_table(head, body)

    yield "The longest", "Often several sentences that were not cut.", table(extremes(seconds, EXTREMES, True))
    yield "The shortest", "Often a click or a truncated word.", table(extremes(seconds, EXTREMES, False))
    if spoken:
        rate = characters / seconds
        fast = "Nobody speaks 30 characters a second: such a transcript holds more than its sound."
        yield "The fastest", fast, table(extremes(rate, EXTREMES, True))
        slow = "Long silence, or an incomplete transcript."
        yield "The slowest", slow, table(extremes(rate, EXTREMES, False))


def _texts(manifest: Manifest, row: int) -> list[Text]:
    """Return a row's texts: the transcript, and the translation if there is one."""
    spoken = text_column(manifest)
    if spoken is None:
        return []
    values = {name: str(manifest.value(row, name)) for name in manifest.columns if name in (*TEXT_COLUMNS, *GROUPS)}
    texts = [text_of(values[spoken], "", values.get("lang", ""))]
    if spoken == "src_text" and "tgt_text" in values:
        texts.append(text_of(values["tgt_text"], "translation", values.get("tgt_lang", "")))
    return texts


def _sample(manifest: Manifest, row: int, root: Path, inside_root: bool, problems: list[str]) -> Sample:
    audio, seconds = manifest.value(row, "audio"), manifest.column("n_frames")[row] / FRAMES_PER_SECOND
    about = [f"line {line_of(row):,}", manifest.value(row, "id"), f"{seconds:.2f} s"]
    about += [value for name in GROUPS if name in manifest.columns and (value := manifest.value(row, name))]
    try:
        place = place_of(audio, root)
        if inside_root and (stray := outside(place, root)):
            raise DataError(f"{stray}, or --no-inside-root")
        shown = _audio(place)
    except (DataError, OSError) as error:
        problems.append(f"{manifest.path}:{line_of(row)}: {error}")
        shown = {"fault": str(error)}
    return Sample(_texts(manifest, row), " · ".join(about), **shown)


def _audio(place: Location) -> dict[str, str]:
    """Return the sound, or the picture if the row names features, by its name in :class:`Sample`."""
    is_part = place.offset is not None and not place.is_packed
    if not is_part and read_bytes(place).startswith(np.lib.format.MAGIC_PREFIX):
        return {"picture": spectrogram_uri(load_features(str(place), "/").numpy())}
    flac, _ = sound_of(place)
    return {"sound": sound_uri(flac)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    parser.add_argument("manifest", type=Path, metavar="MANIFEST", help="the manifest to show")
    parser.add_argument("--out", type=Path, metavar="FILE.html", help="the page (default: MANIFEST with .html)")
    parser.add_argument("--samples", type=int, default=12, help="number of samples to listen to (default: 12)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the draw of samples (default: 1)")
    parser.add_argument(
        "--audio-root", type=Path, help="folder of relative audio paths (default: the manifest's folder)"
    )
    parser.add_argument(
        "--no-inside-root",
        dest="inside_root",
        action="store_false",
        help="also show audio outside of that folder, for manifests of your own",
    )


def run(options: argparse.Namespace) -> None:
    """Write the page and print its path."""
    logging.getLogger("slam_plugin").setLevel(logging.WARNING)
    torch.set_num_threads(1)
    if options.samples < 0:
        raise UsageError(f"--samples is {options.samples}, expected at least 0")
    out = options.out or options.manifest.with_suffix(".html")
    if out == options.manifest:
        raise UsageError(f"--out: found the manifest itself, {out}, expected another file")
    manifest = Manifest.open(options.manifest)
    problems = write_page(
        manifest, out, options.audio_root, options.samples, options.seed, inside_root=options.inside_root
    )
    for problem in problems:
        print(f"warning: {problem}", file=sys.stderr)
    print(out)


main = Program("slam show", __doc__, add_arguments, run)
