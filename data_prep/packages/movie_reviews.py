"""Movie reviews with human ratings: the snippets in the sources of vaderSentiment (PyPI), as positive and negative.

    slam prepare movie-reviews --tree TREE --out FOLDER

writes ``train.tsv``, ``dev.tsv`` and ``test.tsv`` with ``label<TAB>text`` a line. The publisher's layout:
``vaderSentiment-*/additional_resources/hutto_ICWSM_2014.tar.gz`` holds ``movieReviewSnippets_GroundTruth.txt`` with
``number<TAB>rating<TAB>snippet`` a line; the rating, from -4 to 4, is the mean of twenty people's (Hutto and Gilbert,
2014). A snippet's number says nothing of the review it is from, so a snippet's split is told by its own text.
"""

import argparse
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from data_prep.engine.splits import SPLITS, split_of
from data_prep.packages.command import left_out, writing
from data_prep.text.labeled import Row, write_rows
from data_prep.text.normalize import normalize_english
from slam_plugin.data.errors import DataError

ARCHIVE = "vaderSentiment-*/additional_resources/hutto_ICWSM_2014.tar.gz"
MEMBER = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"
LABELS = ("negative", "positive")
# A mean nearer to 0 is neither: of twenty ratings it may lie there by chance.
NEUTRAL = 0.5
# A tenth of the texts is held out for each evaluation.
TEXT_PARTS = 10


class Reviews(NamedTuple):
    """Normalised snippets by split, and why others are left out."""

    splits: dict[str, list[Row]]
    dropped: Counter[str]


def read_reviews(tree: str | Path) -> Reviews:
    """Read the snippets under ``tree``; no text occurs twice.

    Raises :class:`DataError` where the archive is absent or damaged, or a line is not as the publisher's are.
    """
    reviews = Reviews({split: [] for split in SPLITS}, Counter())
    seen = set()
    for rating, snippet in _read(Path(tree)):
        text = normalize_english(snippet)
        if text in seen:
            reviews.dropped["text that occurred before"] += 1
        elif not any(map(str.isalpha, text)):
            reviews.dropped["no letters"] += 1
        elif abs(rating) < NEUTRAL:
            reviews.dropped[f"neutral: a mean rating within {NEUTRAL:g} of 0"] += 1
        else:
            reviews.splits[split_of(text, TEXT_PARTS)].append(Row(LABELS[rating > 0], (text,)))
        seen.add(text)
    return reviews


def _read(tree: Path) -> Iterator[tuple[float, str]]:
    """Rating and snippet of each line."""
    found = sorted(tree.glob(ARCHIVE))
    if len(found) != 1:
        raise DataError(f"{tree}: found {len(found)} files {ARCHIVE}, expected one, of the sources of vaderSentiment")
    try:
        with tarfile.open(found[0]) as archive, archive.extractfile(MEMBER) as file:
            lines = file.read().decode("utf-8-sig").replace("\r\n", "\n").removesuffix("\n").split("\n")
    except (tarfile.TarError, EOFError, KeyError, UnicodeDecodeError) as error:
        raise DataError(f"{found[0]}: expected a tar archive with {MEMBER} in UTF-8 ({error})") from error
    for number, line in enumerate(lines, start=1):
        fields = line.split("\t")
        try:
            _, rating, snippet = fields
            yield float(rating), snippet
        except ValueError as error:
            raise DataError(
                f"{found[0]}: {MEMBER}:{number}: found {line!r}, expected a number, a rating and a snippet between tabs"
            ) from error


def _write(arguments: argparse.Namespace) -> Iterator[str]:
    reviews = read_reviews(arguments.tree)
    for split, rows in reviews.splits.items():
        write_rows(arguments.out / f"{split}.tsv", rows)
        counts = Counter(row.label for row in rows)
        yield f"{split}: " + ", ".join(f"{counts[label]} {label}" for label in LABELS)
    yield from left_out(reviews.dropped)


main = writing("movie-reviews", __doc__, _write)
