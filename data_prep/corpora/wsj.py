"""Wall Street Journal (WSJ0 and WSJ1): read news, divided by the publisher's indices.

``DIR`` holds ``wsj0/`` and ``wsj1/``, or the publisher's discs with these in them (``11-13.1/wsj0/``). Below each are
``doc/indices/``, sound ``SET/SPEAKER/ID.wv1`` and transcripts ``*.dot``, one line ``TEXT (ID)`` per utterance. The
training set is what ``tr_s_wv1.ndx`` (WSJ0) and ``si_tr_s.ndx`` (WSJ1) list, without speaker 401 as is usual
("SI-284"); ``dev`` is ``h1_p0.ndx`` of WSJ1 ("dev93"), ``test`` is ``test/nvp/si_et_20.ndx`` of WSJ0 ("eval92").

The publisher's sound is compressed by shorten: ``sph2pipe -f wav ID.wv1 ID.wav`` writes ``ID.wav`` beside it, which is
then used instead.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from data_prep.corpora.divided import Divided
from data_prep.engine.contents import contents_of
from data_prep.engine.units import Dropped, Item, Noted, Unit
from data_prep.formats.lines import Line, lines_of
from data_prep.formats.recordings import ENDINGS, below
from data_prep.text import transcripts
from slam_plugin.data.constants import MAX_SECONDS
from slam_plugin.data.errors import DataError
from slam_plugin.data.folders import files_below

INDICES = {
    "train": ("wsj0/doc/indices/train/tr_s_wv1.ndx", "wsj1/doc/indices/si_tr_s.ndx"),
    "dev": ("wsj1/doc/indices/h1_p0.ndx",),
    "test": ("wsj0/doc/indices/test/nvp/si_et_20.ndx",),
}
LEFT_OUT = "si_tr_s/401/"
_TRANSCRIPT = re.compile(r"(.*)\((\w+)\)\s*")


@dataclass(frozen=True)
class Wsj(Divided):
    """The splits that have an index below ``root``. A unit is one speaker of a split."""

    name = "wsj"

    def contents(self) -> str:
        return contents_of(self.root, endings=(".ndx", ".dot", *ENDINGS))

    def units(self) -> Iterator[Unit]:
        sounds, dots = _files(self.root)
        for split in self.splits:
            speakers: dict[str, list[str]] = {}
            for key in _named(self.root, split):
                speakers.setdefault(key.rpartition("/")[0], []).append(key)
            for speaker in sorted(speakers):
                found = [(key, sounds.get(key), _dot(dots, key)) for key in sorted(speakers[speaker])]
                size = sum(sound.stat().st_size for _, sound, _ in found if sound)
                utterances = tuple((key, below(sound, self.root), below(dot, self.root)) for key, sound, dot in found)
                yield Unit(f"{split}/{speaker}", size, utterances)

    def read(self, unit: Unit) -> Iterator[Item | Dropped | Noted]:
        split = unit.key.split("/")[0]
        texts: dict[str, Line] = {}
        for dot in sorted({dot for _, _, dot in unit.data if dot}):
            for line in lines_of(self.root / dot, dot):
                if isinstance(line, Dropped):
                    yield line
                elif found := _TRANSCRIPT.fullmatch(line.text):
                    texts[found[2].lower()] = Line(line.number, transcripts.wsj(found[1]))
        for key, sound, _ in unit.data:
            name = key.rpartition("/")[2]
            if not sound:
                yield Dropped(key, "has no sound file")
            elif name not in texts:
                yield Dropped(sound, "has no transcript")
            elif not texts[name].text:
                yield Dropped(sound, "has no words")
            else:
                path, text = self.root / sound, texts[name].text
                yield from self.rows_of_file(split, sound, path, name, text, speaker=name[:3])


def open_corpus(root: Path, max_seconds: float = MAX_SECONDS) -> Wsj:
    """Return WSJ below ``root``. Raises :class:`DataError` if none of its indices is there."""
    splits = tuple(split for split, indices in INDICES.items() if any(_index(root, name) for name in indices))
    if not splits:
        expected = ", ".join(name for names in INDICES.values() for name in names)
        raise DataError(f"{root}: holds no index of WSJ, expected {expected}, there or in folders of discs")
    return Wsj(root, splits, max_seconds)


def _index(root: Path, name: str) -> Path | None:
    return next(iter([*sorted(root.glob(name)), *sorted(root.glob(f"*/{name}"))]), None)


def _named(root: Path, split: str) -> Iterator[str]:
    """Yield ``SET/SPEAKER/ID`` in lower case for each utterance of a split, once."""
    seen = set()
    for index in filter(None, (_index(root, name) for name in INDICES[split])):
        for line in index.read_text(encoding="ascii", errors="replace").splitlines():
            if not line.strip() or line.startswith(";"):
                continue
            found = _key(line.strip().lower())
            if found is None:
                raise DataError(f"{index}: found {line[:200]!r}, expected a line DISC:PATH")
            if found not in seen and not found.startswith(LEFT_OUT):
                seen.add(found)
                yield found


def _key(entry: str) -> str | None:
    """Return ``SET/SPEAKER/ID`` of an index's entry ``DISC:PATH``, None for anything else.

    Some indices leave out the ending.
    """
    disc, _, path = entry.partition(":")
    names = path.strip().removesuffix(".wv1").split("/")[-3:]
    has_words = disc.split() == [disc] and len(path.split()) == 1
    is_entry = has_words and len(names) == 3 and all(names) and "." not in names[2]
    return "/".join(names) if is_entry else None


def _files(root: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """Return sound by ``SET/SPEAKER/ID`` and transcripts by name, in lower case: copies of the discs differ in case."""
    sounds: dict[str, Path] = {}
    dots: dict[str, Path] = {}
    paths = [path for path in files_below(root) if path.suffix.lower() in (*ENDINGS, ".dot")]
    for path in sorted(paths, key=lambda path: ((*ENDINGS, ".dot").index(path.suffix.lower()), path)):
        if path.suffix.lower() == ".dot":
            dots.setdefault(path.stem.lower(), path)
        else:
            sounds.setdefault("/".join(path.with_suffix("").parts[-3:]).lower(), path)
    return sounds, dots


def _dot(dots: Mapping[str, Path], key: str) -> Path | None:
    """Return the transcripts of an utterance's session: its name ends in two zeros in place of the utterance."""
    return dots.get(key.rpartition("/")[2][:-2] + "00")
