"""Human speech for tests: short English prompts of Debian's Asterisk packages, with Spanish and French translations."""

import gzip
import os
import re
from pathlib import Path
from typing import NamedTuple

from data_prep.packages.fetch import fetch
from slam_plugin.data.audio import count_frames

PACKAGES = tuple(f"asterisk-core-sounds-{name}" for name in ("en", "en-wav", "es", "fr"))
VOICE = "usr/share/asterisk/sounds/en_US_f_Allison"
FRAMES = range(60, 260)  # of 10 ms


class Prompt(NamedTuple):
    """One utterance: 8 kHz telephone speech, its frames of 10 ms, and its text in three languages."""

    id: str
    audio: Path
    n_frames: int
    text: dict[str, str]


def prompts(count: int, words: int) -> list[Prompt]:
    """Return the first ``count`` utterances with enough words in every language, all texts different.

    The packages (18 MB) are fetched once into the user's cache. Raises DataError without apt or network.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "slam_plugin", "prompts")
    tree = fetch(PACKAGES, cache)
    texts = {language: _texts(tree, language) for language in ("en", "es", "fr")}
    found: dict[str, Prompt] = {}
    for name in texts["en"]:
        audio = tree / VOICE / f"{name}.wav"
        text = {language: lines.get(name, "") for language, lines in texts.items()}
        if min(len(each.split()) for each in text.values()) < words or not audio.is_file():
            continue
        frames = count_frames(str(audio), "")
        if frames in FRAMES and text["en"] not in found:
            found[text["en"]] = Prompt(name.replace("/", "-"), audio, frames, text)
        if len(found) == count:
            return list(found.values())
    raise AssertionError(f"{tree}: {len(found)} utterances of {words} words, expected {count}")


def _texts(tree: Path, language: str) -> dict[str, str]:
    """Return a prompt as text: lower case, without punctuation. Prompts in brackets describe a sound."""
    path = tree / f"usr/share/doc/asterisk-core-sounds-{language}/core-sounds-{language}.txt.gz"
    found = {}
    for line in gzip.open(path, "rt", encoding="utf-8"):
        name, colon, text = line.partition(":")
        if colon and "[" not in text and not line.startswith(";"):
            found[name.strip()] = " ".join(re.sub(r"[^\w' ]", " ", text.lower()).split())
    return found
