"""All corpora of SpeechStew, each below a folder of its flag's name."""

from pathlib import Path

from tests.data_prep.layouts.ami import write_ami
from tests.data_prep.layouts.common_voice import HEADER, SENTENCES, SPEAKERS, clip_name, write_common_voice, write_table
from tests.data_prep.layouts.librispeech import write_librispeech
from tests.data_prep.layouts.switchboard import write_fisher, write_hub5, write_switchboard
from tests.data_prep.layouts.tedlium import write_tedlium
from tests.data_prep.layouts.wsj import write_wsj


def write_speechstew(root: Path) -> dict[str, Path]:
    """Write trees without faults and return them by flag."""
    write_ami(root / "ami")
    write_splits(root / "common-voice")
    write_librispeech(root / "librispeech")
    write_switchboard(root / "switchboard")
    write_fisher(root / "fisher")
    write_hub5(root / "hub5")
    write_tedlium(root / "tedlium")
    write_wsj(root / "wsj")
    return {path.name: path for path in sorted(root.iterdir())}


def write_splits(root: Path) -> Path:
    """Write a release of Common Voice with its splits: the first clips for training, one for development, one test."""
    write_common_voice(root)
    rows = [
        dict.fromkeys(HEADER, "")
        | {"client_id": SPEAKERS[number % len(SPEAKERS)], "path": clip_name("en", number), "sentence": sentence}
        for number, sentence in enumerate(SENTENCES["en"])
    ]
    for split, some in {"train": rows[:-2], "dev": rows[-2:-1], "test": rows[-1:]}.items():
        write_table(root / f"en/{split}.tsv", HEADER, some)
    return root
