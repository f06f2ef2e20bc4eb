"""Tables and folders of users: quotes, line breaks, other names, sound in sub-folders."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.data_prep.layouts.sounds import write_sound

TEXTS = ["Good morning!", 'She said "no", twice.', "It's\nlate.", "Two words", "Čau, světe", "Last one."]
CLEAN = ["good morning", "she said no twice", "it's late", "two words", "čau světe", "last one"]


def write_sounds(folder: Path, count: int = len(TEXTS)) -> list[str]:
    """Write sound files of half a second and more in two formats, and return their paths below ``folder``."""
    names = [f"clips/{number}.{'wav' if number % 2 else 'flac'}" for number in range(count)]
    for number, name in enumerate(names):
        write_sound(folder / name, 0.5 + 0.05 * number, seed=number)
    return names


def write_csv(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    """Write a CSV with a byte order mark, as spreadsheets do."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_tsv(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    """Write a TSV without quotes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [list(rows[0]), *([" ".join(str(value).split()) for value in row.values()] for row in rows)]
    path.write_text("".join("\t".join(line) + "\n" for line in lines), encoding="utf-8")
    return path


def write_jsonl(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    """Write one JSON object per line, without escaping letters beyond ASCII."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def write_beside(folder: Path) -> Path:
    """Write sound files in two folders, each with a text of the same name beside it."""
    for number, text in enumerate(TEXTS):
        path = folder / f"day{number % 2}" / f"{number}.wav"
        write_sound(path, 0.5, seed=number)
        path.with_suffix(".txt").write_text(text + "\n", encoding="utf-8")
    return folder


def write_folders(folder: Path, count: int = 24) -> None:
    """Write ``recordings``, ``read`` with transcripts beside the sound, and ``books``, as the manual has them."""
    write_sounds(folder / "recordings", count)
    for number, name in enumerate(write_sounds(folder / "read", count)):
        text = f"{'the good old word '.split()[number % 4]} number {'abcdefghijkl'[number % 12]}"
        (folder / "read" / name).with_suffix(".txt").write_text(text)
    (folder / "books").mkdir()
    for number in range(count // 2):
        (folder / f"books/{number}.txt").write_text(f"book {number} begins\nand goes on with {'ab' * number}\n")
