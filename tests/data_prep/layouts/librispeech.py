"""LibriSpeech in its publisher's layout: capitals, ``trans.txt`` for each chapter, three subsets."""

from pathlib import Path

from tests.data_prep.layouts.sounds import write_sound

CHAPTERS = {
    "train-clean-100/103/1240": ["CHAPTER ONE MISSUS RACHEL LYNDE IS SURPRISED", "THAT HAD ITS SOURCE AWAY BACK"],
    "train-clean-100/103/1241": ["MATTHEW CUTHBERT IS SURPRISED", "WHAT IS IT SHE SAID", "IT'S A GIRL"],
    "train-clean-360/19/198": ["NORTHANGER ABBEY", "THIS LITTLE WORK WAS FINISHED"],
    "dev-clean/84/121123": ["GO DO YOU HEAR", "BUT IN LESS THAN FIVE MINUTES"],
    "test-other/367/130732": ["LOBSTERS AND LOBSTERS", "MANY OF THESE ARE SHIPPED"],
}


def write_librispeech(root: Path) -> Path:
    """Write a tree without faults and return ``root/LibriSpeech``."""
    top = root / "LibriSpeech"
    for seed, (chapter, texts) in enumerate(CHAPTERS.items()):
        _, speaker, number = chapter.split("/")
        lines = []
        for place, text in enumerate(texts):
            key = f"{speaker}-{number}-{place:04d}"
            write_sound(top / chapter / f"{key}.flac", 0.4 + 0.1 * place, seed=10 * seed + place)
            lines.append(f"{key} {text}\n")
        (top / chapter / f"{speaker}-{number}.trans.txt").write_text("".join(lines), encoding="utf-8")
    (top / "SPEAKERS.TXT").write_text("; ID | SEX | SUBSET | MINUTES | NAME\n", encoding="utf-8")
    return top
