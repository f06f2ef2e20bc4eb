"""``docs/data.md``: every command, in its order, on tiny corpora in their publishers' layouts."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from slam_plugin.data.text.indexed import Sentences
from tests.data_prep.layouts.covost2 import write_covost2
from tests.data_prep.layouts.games import write_debs
from tests.data_prep.layouts.glue import write_glue
from tests.data_prep.layouts.lhotse import cut, recording, supervision, write_lines
from tests.data_prep.layouts.librilight import write_librilight
from tests.data_prep.layouts.librilm import write_librilm
from tests.data_prep.layouts.librispeech import write_librispeech
from tests.data_prep.layouts.mc4 import write_mc4
from tests.data_prep.layouts.own import TEXTS, write_csv, write_sounds
from tests.data_prep.layouts.saved import AUDIO, write_data_set, write_splits
from tests.data_prep.layouts.speechstew import write_speechstew
from tests.data_prep.layouts.text_normalization import write_challenge
from tests.support import documents
from tests.support.documents import DATA, commands, kind, read

GAMES = ("steel-sky", "drascula", "amazon-queen")
PIECES = 150  # more than there are letters
COPIES = 10  # of a few texts, so that each split gets some
FEW_SHARDS = ["--jobs", "1", "--train-shards", "2", "--valid-parts", "3"]
# What makes the commands of this document small; other documents call some of them with other data.
SMALLER = {
    **{f"slam prepare {name}": ["--jobs", "1"] for name in ("librispeech", "covost2", "own", "speechstew", "glue")},
    **{f"slam prepare {name}": FEW_SHARDS for name in ("librilight", "librilm", "mc4")},
    "slam pack": ["--jobs", "1"],
    "slam cuts": ["--jobs", "1"],
    "slam prepare text-normalization": ["--jobs", "1", "--parts", "3"],
    **{f"slam prepare {name}": ["--jobs", "1"] for name in ("english", *GAMES, "wesnoth", "clauses")},
    "slam show": [],
    "slam check": [],
    "slam binarize": ["--jobs", "1"],
    "slam vocab": ["--size", str(PIECES)],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All corpora below ``corpora``."""
    folder = tmp_path_factory.mktemp("data")
    corpora = folder / "corpora"
    write_librilight(corpora / "librilight")
    write_librilm(corpora)
    write_mc4(corpora / "mc4")
    write_covost2(corpora / "covost")
    for language in ("ar", "tr"):
        shutil.copyfile(corpora / "covost/covost_v2.en_de.tsv", corpora / f"covost/covost_v2.en_{language}.tsv")
    write_speechstew(corpora)
    shutil.move(corpora / "tedlium/TEDLIUM_release-3", corpora / "TEDLIUM_release-3")
    write_librispeech(corpora)
    write_glue(corpora)
    write_challenge(corpora / "text_normalization")
    (corpora / "mt").mkdir()
    for language in ("en", "de"):
        sentences = "".join(f"{' '.join(text.split())} {n}\n" for n, text in enumerate(COPIES * TEXTS))
        (corpora / f"mt/train.{language}").write_text(sentences)
    write_debs(folder / "debs")
    sounds = write_sounds(corpora / "mine", COPIES * len(TEXTS))
    rows = [
        {"audio": name, "text": f"{text} {n}"}
        for n, (name, text) in enumerate(zip(sounds, COPIES * TEXTS, strict=True))
    ]
    write_csv(corpora / "mine/table.csv", rows)
    for split in ("train", "dev"):
        cuts = [
            cut(recording(f"{corpora}/mine/{row['audio']}", 8000), 0, 0.5, supervision(0, 0.5, row["text"]))
            for row in rows[:4]
        ]
        write_lines(corpora / f"cuts/cuts_{split}.jsonl.gz", cuts)
        data = [{"bytes": (corpora / "mine" / row["audio"]).read_bytes(), "path": row["audio"]} for row in rows[:4]]
        columns = {"audio": (AUDIO, data), "text": (pa.string(), [row["text"] for row in rows[:4]])}
        write_data_set(corpora / "saved" / split, columns)
    write_splits(corpora / "saved", ["train", "dev"])
    return folder


def test_every_command(folder, monkeypatch):
    monkeypatch.setattr(documents, "SMALLER", {**documents.SMALLER, **SMALLER})
    found = list(commands(read(DATA)))
    assert {name for name in SMALLER} <= {kind(command.words) for command in found}
    for command in found:
        documents.run(command, folder)
    for side in ("en", "de"):
        assert len(Sentences(folder / f"data/mt/train.en-de.{side}")) == COPIES * len(TEXTS)
    made = {path.parent.relative_to(folder / "data").as_posix() for path in (folder / "data").rglob("stats.json")}
    assert made >= {"librispeech", "sharded", "librilm/speech", "librilm/pairs", "librilm/text", "mc4/text", "covost"}
    assert json.loads((folder / "data/sharded/stats.json").read_text()) == json.loads(
        (folder / "data/librispeech/stats.json").read_text()
    )
