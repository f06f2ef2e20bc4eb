"""Steps that the commands of whole data folders share: text to numbers, the check of every utterance, statistics."""

from collections.abc import Sequence
from pathlib import Path

from data_prep.packages.documents import Documents, write_documents
from data_prep.packages.game import MAX_SECONDS, MIN_SECONDS
from data_prep.text.binarize import binarize
from slam_plugin.data.constants import FRAMES_PER_MINUTE, FRAMES_PER_SECOND
from slam_plugin.data.manifests.manifest import Manifest
from slam_plugin.data.manifests.validate import ensure_valid

# More than any alphabet here has: every character that occurs becomes a symbol.
MAX_SYMBOLS = 200
MIN_FRAMES, MAX_FRAMES = int(MIN_SECONDS * FRAMES_PER_SECOND), int(MAX_SECONDS * FRAMES_PER_SECOND)

_TEXT_COLUMNS = ("tgt_text", "src_text")


def texts(manifest: Path, column: str = "tgt_text") -> list[str]:
    """Return one column of a manifest."""
    rows = Manifest.open(manifest)
    return [rows.value(index, column) for index in range(len(rows))]


def write_text(prefix: Path, documents: Documents, vocabulary: Path) -> dict[str, int]:
    """Write documents as ``prefix.txt`` and as numbers. Return their counts."""
    text = Path(f"{prefix}.txt")
    write_documents(text, documents)
    done = binarize(text, vocabulary, prefix)
    counts = {"documents": len(documents), "sentences": sum(map(len, documents))}
    return counts | {"tokens": done.tokens, "unknown": done.unknown}


def check(manifests: Sequence[Path], jobs: int) -> None:
    """Read every utterance. Raise :class:`DataError` that lists all faults."""
    for path in manifests:
        manifest = Manifest.open(path)
        columns = [column for column in _TEXT_COLUMNS if column in manifest.columns]
        ensure_valid(manifest, path.parent, MIN_FRAMES, MAX_FRAMES, columns, jobs=jobs)


def describe(manifests: Sequence[Path], out: Path) -> dict[str, dict[str, int | float]]:
    """Return utterances, minutes and speakers of each manifest, by its name below ``out``."""
    return {path.relative_to(out).as_posix(): _describe(Manifest.open(path)) for path in manifests}


def _describe(manifest: Manifest) -> dict[str, int | float]:
    speakers = {manifest.value(row, "speaker") for row in range(len(manifest))}
    minutes = int(manifest.column("n_frames").sum()) / FRAMES_PER_MINUTE
    return {"utterances": len(manifest), "minutes": round(minutes, 2), "speakers": len(speakers)}


def alphabet(sentences: Sequence[str]) -> str:
    """Return the characters that occur, in order."""
    return "".join(sorted(set().union(*sentences)))
