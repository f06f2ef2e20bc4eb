"""LibriLM in its publisher's layout: one gzip of sentences in capitals, sorted, without duplicates."""

import gzip
from itertools import product
from pathlib import Path

SUBJECTS = ("THE MILLER'S WIFE", "AN OLD SAILOR", "HER BROTHER", "A B C", "NOBODY IN THE VILLAGE")
VERBS = ("LAUGHED", "WENT DOWN TO THE SHORE", "HAD SEEN IT", "SAID THAT 'TWAS LATE", "COULDN'T SLEEP")
ENDS = ("", "AND SO DID THE BOYS'", "AT LAST", "THAT NIGHT", "IN EIGHTEEN HUNDRED AND FORTY")

SENTENCES = sorted(" ".join(words).strip() for words in product(SUBJECTS, VERBS, ENDS))


def write_librilm(root: Path, text: bytes | None = None) -> Path:
    """Write the archive of ``text`` (default: :data:`SENTENCES`) and return its path."""
    root.mkdir(parents=True, exist_ok=True)
    path = root / "librispeech-lm-norm.txt.gz"
    path.write_bytes(gzip.compress(text or "".join(f"{sentence}\n" for sentence in SENTENCES).encode(), mtime=0))
    return path
