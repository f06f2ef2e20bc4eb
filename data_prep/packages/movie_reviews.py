"""Movie reviews with human ratings: the snippets in the sources of vaderSentiment (PyPI), as positive and negative.

    slam prepare movie-reviews --tree TREE --out FOLDER [--jobs N] [--shard I/N | --merge]

writes ``train.tsv``, ``dev.tsv`` and ``test.tsv`` with ``label<TAB>text`` a line; no text occurs twice. The
publisher's layout: ``vaderSentiment-*/additional_resources/hutto_ICWSM_2014.tar.gz`` holds
``movieReviewSnippets_GroundTruth.txt`` with ``number<TAB>rating<TAB>snippet`` a line. The rating, from -4 to 4, is the
mean of twenty people's (Hutto and Gilbert, 2014). The numbers do not say which snippets are of one review, so the split
depends on the snippet's text alone.
"""

import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep.engine.splits import SPLITS, split_of
from data_prep.engine.units import Corpus, Dropped, Item, Noted, Output, Unit, lines
from data_prep.formats.compressed import damage_named
from data_prep.packages.command import package_preparation
from data_prep.text.normalize import normalize_english
from slam_plugin.data.errors import DataError

ARCHIVE = "vaderSentiment-*/additional_resources/hutto_ICWSM_2014.tar.gz"
MEMBER = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"
LABELS = ("negative", "positive")
# A mean closer to 0 is neutral: the mean of twenty ratings may lie there by chance.
NEUTRAL = 0.5
# A tenth of the texts is held out for each evaluation.
TEXT_PARTS = 10


@dataclass(frozen=True)
class MovieReviews(Corpus):
    """The snippets in the tar file ``archive``. It is the only unit, as a text may repeat any text before it."""

    archive: Path

    @property
    def recipe(self) -> Mapping[str, Any]:
        return {"corpus": "movie_reviews", "layout": 1, "archive": str(self.archive)}

    @property
    def outputs(self) -> Mapping[str, Output]:
        return {split: Output((f"{split}.tsv",)) for split in SPLITS}

    def units(self) -> Iterator[Unit]:
        yield Unit(self.archive.name, self.archive.stat().st_size)

    def read(self, unit: Unit) -> Iterator[Item | Dropped | Noted]:
        seen = set()
        for number, rating, snippet in read_snippets(self.archive):
            text = normalize_english(snippet)
            fault = "text that occurred before" if text in seen else _fault(text, rating)
            seen.add(text)
            if fault:
                yield Dropped(f"snippet {number}", fault)
            else:
                yield lines(split_of(text, TEXT_PARTS), f"{LABELS[rating > 0]}\t{text}")


def _fault(text: str, rating: float) -> str | None:
    """Return why a normalized snippet is not used, None if it is."""
    if not any(map(str.isalpha, text)):
        return "no letters"
    return f"neutral: a mean rating within {NEUTRAL:g} of 0" if abs(rating) < NEUTRAL else None


def read_snippets(archive: Path) -> Iterator[tuple[str, float, str]]:
    """Yield number, rating and text of each snippet.

    Raises :class:`DataError` if the archive is damaged, or a line is not as the publisher's are.
    """
    expected = f"expected a tar archive with {MEMBER} in UTF-8"
    try:
        with damage_named(archive, expected), tarfile.open(archive) as opened, opened.extractfile(MEMBER) as file:
            rows = file.read().decode("utf-8-sig").replace("\r\n", "\n").removesuffix("\n").split("\n")
    except (tarfile.TarError, KeyError, UnicodeDecodeError) as error:
        raise DataError(f"{archive}: {expected} ({error})") from error
    for place, row in enumerate(rows, start=1):
        try:
            number, rating, snippet = row.split("\t")
            yield number, float(rating), snippet
        except ValueError as error:
            raise DataError(
                f"{archive}: {MEMBER}:{place}: found {row!r}, expected a number, a rating and a snippet between tabs"
            ) from error


def open_corpus(tree: Path) -> MovieReviews:
    """Return the reviews below ``tree``. Raises :class:`DataError` unless there is one archive."""
    found = sorted(tree.glob(ARCHIVE))
    if len(found) != 1:
        raise DataError(f"{tree}: found {len(found)} files {ARCHIVE}, expected one, of the sources of vaderSentiment")
    return MovieReviews(found[0])


main = package_preparation("movie-reviews", __doc__, lambda options: open_corpus(options.tree))
