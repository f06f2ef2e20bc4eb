"""Folders of sound files, for recognition each with its text or its subtitles beside it."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from data_prep.engine.units import Dropped, Item, Noted, Unit
from data_prep.formats.lines import lines_of
from data_prep.formats.sound import UnusableSound
from data_prep.own.corpus import TEXTS_BESIDE, OwnFiles
from data_prep.own.kinds import recording_of
from data_prep.own.subtitles import SLACK, SUFFIXES, Cue, language_of, utterances
from slam_plugin.data.constants import SOUND_SUFFIXES
from slam_plugin.data.errors import DataError
from slam_plugin.recordings.margins import MARGIN, with_margins


class OwnSounds(OwnFiles):
    """Sound files, each an utterance. If the rows have a text, it is in a file of the same name beside it.

    Subtitles beside a recording make it several utterances, unless it has a text and is short enough for it.
    """

    def read(self, unit: Unit) -> Iterator[Item | Dropped | Noted]:
        with_text = "text" in self.settings.roles
        files = self.files(unit)
        sounds = [path for path in files if path.suffix.lower() in SOUND_SUFFIXES]
        texts = _by_stem(files) if with_text else {}
        subtitles = [path for path in files if path.suffix.lower() in SUFFIXES] if with_text else []
        for path in sounds:
            place = self.place(path)
            try:
                split = self.split_of(path)
            except DataError as error:
                yield Dropped(place, str(error))
                continue
            if with_text:
                yield from self._with_text(path, split, texts.get(path.stem), subtitles)
            else:
                yield from self.items(place, split, {"audio": place}, self.root)
        stems = {path.stem for path in sounds}
        used = {path for stem, path in texts.items() if stem in stems}
        for path in sorted(set(texts.values()) - used):
            if not _stems(path) & stems:
                yield Dropped(self.place(path), "has no sound file")
        for path in subtitles:
            if all(language_of(path, stem) is None for stem in stems):
                yield Dropped(self.place(path), "has no sound file")

    def _with_text(
        self, path: Path, split: str | None, text_path: Path | None, subtitles: Sequence[Path]
    ) -> Iterator[Item | Dropped | Noted]:
        """Yield the utterances of a recording by its text, or by those ``subtitles`` of the folder that are its own."""
        place = self.place(path)
        try:
            timed = self._chosen(path, subtitles)
            by_subtitles = timed is not None and (text_path is None or self._is_long(path))
        except DataError as error:
            yield Dropped(place, error.reason if isinstance(error, UnusableSound) else str(error))
            return
        if by_subtitles:
            yield from self._subtitled(path, split, timed)
        elif text_path is None:
            yield Dropped(place, "has no .txt")
        else:
            text = self._text_of(text_path)
            if isinstance(text, Dropped):
                yield text
            else:
                yield from self.items(place, split, {"audio": place, "text": text}, self.root)

    def _is_long(self, path: Path) -> bool:
        whole = recording_of(path, are_averaged=True)
        return whole.samples > self.settings.max_seconds * whole.rate

    def _chosen(self, path: Path, subtitles: Sequence[Path]) -> Path | None:
        """Return the subtitles of a recording: of several those of the language, else those without one in their name.

        Raises :class:`DataError` if it has several of other languages.
        """
        named = {found: language_of(found, path.stem) for found in subtitles}
        own = {found: name.lower() for found, name in named.items() if name is not None}
        wanted = (self.settings.language or "").lower()
        for matches in (
            [found for found, name in own.items() if wanted and name == wanted],
            [found for found, name in own.items() if wanted and name.replace("_", "-").split("-")[0] == wanted],
            [found for found, name in own.items() if not name],
            list(own),
        ):
            if len({found.stem for found in matches}) == 1:
                return matches[0]  # of equal names the first: .srt before .vtt
        if own:
            raise DataError(f"has {len(own)} files of subtitles, expected one, or one of the --language")
        return None

    def _subtitled(self, path: Path, split: str | None, subtitles: Path) -> Iterator[Item | Dropped | Noted]:
        """Yield an utterance for each sentence of the subtitles, or some."""
        place = self.place(path)
        try:
            whole = recording_of(path, are_averaged=True)
        except UnusableSound as error:
            yield Dropped(place, error.reason)
            return
        duration = whole.samples / whole.rate
        cues: list[Cue] = []
        for found in utterances(subtitles, self.place(subtitles), self.settings.max_seconds - 2 * MARGIN):
            if isinstance(found, Cue) and found.end > duration + SLACK:
                where = f"{self.place(subtitles)}#{found.number}"
                yield Dropped(where, f"reaches beyond the end of the recording ({found.end:.2f} of {duration:.2f} s)")
            elif isinstance(found, Cue):
                cues.append(found._replace(end=min(found.end, duration)))
            else:
                yield found
        cut = with_margins([(cue.start, cue.end) for cue in cues], duration)
        for cue, (begin, end) in zip(cues, cut, strict=True):
            part = {"offset": repr(begin), "duration": repr(end - begin)}
            yield from self.items(
                f"{place}#{cue.number:05d}", split, {"audio": place, "text": cue.text, **part}, self.root
            )

    def _text_of(self, path: Path) -> str | Dropped:
        if not path.is_file():
            return Dropped(self.place(path), "there is no such file")
        texts = []
        for line in lines_of(path, self.place(path)):
            if isinstance(line, Dropped):
                return line
            texts.append(line.text)
        return " ".join(texts)


def _by_stem(files: Sequence[Path]) -> dict[str, Path]:
    """Return the texts by name without their ending, of several the one whose ending comes first."""
    found: dict[str, Path] = {}
    for ending in TEXTS_BESIDE:
        for path in files:
            if path.name.lower().endswith(ending):
                found.setdefault(path.name[: -len(ending)], path)
    return found


def _stems(path: Path) -> set[str]:
    """Return the names without ending of the sound files that a text may belong to."""
    return {path.name[: -len(ending)] for ending in TEXTS_BESIDE if path.name.lower().endswith(ending)}
