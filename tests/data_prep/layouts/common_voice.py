"""Common Voice in its publisher's layout: tables without quoting, and clips that are MP3 at 48 kHz."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.data_prep.layouts.sounds import write_sound

HEADER = ("client_id", "path", "sentence", "up_votes", "down_votes", "age", "gender", "accent")
# client_id is 128 hexadecimal digits.
SPEAKERS = tuple(digit * 128 for digit in "0a7")
SENTENCES = {
    "en": [
        "The party's over, isn't it?",
        '"Hello," she said, "what is it?"',
        "Ferries cross the river at noon.",
        "Nobody answered.",
        "Café tables stood in a row.",
        'He said: "Wait!"',
        "It's a girl.",
        "Go do you hear?",
    ],
    "fr": ["Où est la gare ?", "Il fait beau aujourd’hui.", "« Attends ! » dit-elle."],
}


def clip_name(language: str, number: int) -> str:
    """Return the name of a clip's file, as in releases since 2019."""
    return f"common_voice_{language}_{17000000 + number}.mp3"


def write_common_voice(root: Path, languages: Sequence[str] = ("en",)) -> Path:
    """Write ``LANG/{validated,train,other}.tsv`` and ``LANG/clips`` without faults, and return ``root``."""
    for language in languages:
        rows = []
        for number, sentence in enumerate(SENTENCES[language]):
            name = clip_name(language, number)
            seconds = 0.4 + 0.1 * (number % 3)
            write_sound(root / language / "clips" / name, seconds, 48000, seed=number, format="MP3")
            speaker = SPEAKERS[number % len(SPEAKERS)]
            fields = (speaker, name, sentence, 2, number % 2, "", "female" if number % 2 else "", "")
            rows.append(dict(zip(HEADER, map(str, fields), strict=True)))
        for table, some in {"validated": rows, "train": rows[:-1], "other": []}.items():
            write_table(root / language / f"{table}.tsv", HEADER, some)
    return root


def write_table(path: Path, header: Sequence[str], rows: Sequence[Mapping[str, str]]) -> None:
    """Write a table in the publishers' format: tabs, no quoting, a backslash before quotation marks."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(
            file, header, delimiter="\t", quoting=csv.QUOTE_NONE, escapechar="\\", lineterminator="\n"
        )
        writer.writeheader()
        writer.writerows(rows)
