"""Roles of the games' utterances: held-out sentences, subsets with labels, rows of translations."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import NamedTuple

from data_prep.engine.splits import SPLITS
from slam_plugin.data.constants import FRAMES_PER_MINUTE
from slam_plugin.data.manifests.manifest import Manifest

# Of recognition with transcripts. The smaller sets are parts of the larger.
LABEL_MINUTES = (10, 30, 100)
PAIRS = "amazon_queen"

Row = Mapping[str, str | int]
Splits = Mapping[str, Sequence[Row]]
# Rows by game and split.
Games = Mapping[str, Splits]


class Roles(NamedTuple):
    """The rows of each role.

    Attributes:
        train, dev, test: recognition and translation.
        speech: all speech to train on, without text.
        held_out: sentences that may be in no training data.
        dropped: number of rows left out, by reason.
    """

    train: list[Row]
    dev: list[Row]
    test: list[Row]
    speech: list[Row]
    pairs: list[Row]
    pairs_valid: list[Row]
    held_out: set[str]
    dropped: Counter[str]


def read_games(folder: Path, names: Iterable[str], limit: int | None) -> Games:
    """Return the rows of the games' manifests below ``folder``, with their audio relative to it.

    ``limit`` is the maximum number of rows of each split.
    """
    return {
        name: {path.stem: _rows(path, name, limit) for path in sorted((folder / name).glob("*.tsv")) if _is_split(path)}
        for name in names
    }


def _is_split(path: Path) -> bool:
    return path.stem in SPLITS


def _rows(path: Path, name: str, limit: int | None) -> list[Row]:
    manifest = Manifest.open(path)
    rows = (manifest.row(index) for index in range(len(manifest)))
    found = [{**row, "audio": f"{name}/{row['audio']}", "game": name} for row in rows]
    chosen = {row["id"] for row in first_by_hash(found)[:limit]}
    return [row for row in found if row["id"] in chosen]


def first_by_hash(rows: Sequence[Row]) -> list[Row]:
    """Return the rows in the order of the hashes of their ids."""
    return sorted(rows, key=lambda row: hashlib.md5(row["id"].encode()).digest())


def choose(games: Games, clauses: Set[str]) -> Roles:
    """Return the rows of each role. Training has no held-out sentence, pairs have no sentence of recognition.

    One game is for pairs, the others are for recognition and translation, and all of them for speech. ``clauses`` are
    the sentences of the clauses' dev and test sets, which are held out as well.
    """
    dropped: Counter[str] = Counter()
    of_split = {
        split: [row for name, rows in games.items() if name != PAIRS for row in rows[split]] for split in SPLITS
    }
    tested = _sentences(of_split["dev"], of_split["test"])
    # A line of the dev set may not be tested as well.
    dev = _without(of_split["dev"], _sentences(of_split["test"]), "dev, of a sentence of test", dropped)
    train = _without(of_split["train"], tested, "training, of a sentence of dev or test", dropped)
    recognized = _sentences(train, dev, of_split["test"])
    valid = _without(games[PAIRS]["dev"], recognized, "valid pair, of a sentence of recognition", dropped)
    held_out = tested | _sentences(valid)
    train = _without(train, held_out, "training, of a sentence of the valid pairs", dropped)
    train = _without(train, clauses, "training, of a held-out clause", dropped)
    spoken = _without(games[PAIRS]["train"], held_out, "speech, of a held-out sentence", dropped)
    spoken = _without(spoken, clauses, "speech, of a held-out clause", dropped)
    pairs = _without(spoken, recognized, "pair, of a sentence of recognition", dropped)
    return Roles(train, dev, of_split["test"], [*train, *spoken], pairs, valid, held_out | clauses, dropped)


def _sentences(*rows: Sequence[Row]) -> set[str]:
    return {row["tgt_text"] for each in rows for row in each}


def keep_clauses_apart(clauses: Splits, held_out: Set[str], dropped: Counter[str]) -> Splits:
    """Return the clauses by split, without training clauses whose English is a sentence of ``held_out``."""
    reason = "training clause that is a held-out sentence"
    train = _without(clauses["train"], held_out, reason, dropped, "src_text")
    return {"train": train, "dev": clauses["dev"], "test": clauses["test"]}


def _without(
    rows: Sequence[Row], sentences: Set[str], reason: str, dropped: Counter[str], column: str = "tgt_text"
) -> list[Row]:
    kept = [row for row in rows if row[column] not in sentences]
    dropped[reason] += len(rows) - len(kept)
    return kept


def labeled(rows: Sequence[Row], minutes: float) -> list[Row]:
    """Return ``minutes`` of the rows, in proportion to the minutes of each game: the first by the hashes of their ids.

    If a game has too few rows, all of them are returned.
    """
    total = sum(row["n_frames"] for row in rows)
    chosen: set[str | int] = set()
    for game in sorted({row["game"] for row in rows}):
        own = [row for row in rows if row["game"] == game]
        left = minutes * FRAMES_PER_MINUTE * sum(row["n_frames"] for row in own) / total
        for row in first_by_hash(own):
            if left <= 0:
                break
            chosen.add(row["id"])
            left -= row["n_frames"]
    return [row for row in rows if row["id"] in chosen]


def translated(rows: Sequence[Row], languages: Sequence[str]) -> list[Row]:
    """Return a row for each translation: the id gets the language at its end, the transcript becomes ``src_text``."""
    return [
        {
            **row,
            "id": f"{row['id']}-{language}",
            "tgt_text": row[f"{language}_text"],
            "src_text": row["tgt_text"],
            "tgt_lang": language,
        }
        for row in rows
        for language in languages
        if row[f"{language}_text"]
    ]
