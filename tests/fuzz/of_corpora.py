"""Published corpora and users' own rows: a whole preparation over a damaged file."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pyarrow as pa

from data_prep.corpora import (
    ami,
    common_voice_asr,
    covost2,
    glue,
    librilight,
    librilm,
    librispeech,
    mc4,
    switchboard,
    tedlium,
    text_normalization,
    wsj,
)
from data_prep.engine.command import merge, prepare
from data_prep.engine.parts import make_parts
from data_prep.engine.units import Corpus
from data_prep.own import command as own
from tests.data_prep.layouts import sounds
from tests.data_prep.layouts.ami import write_ami
from tests.data_prep.layouts.covost2 import write_covost2
from tests.data_prep.layouts.glue import write_glue
from tests.data_prep.layouts.lhotse import cut, padded, recording, supervision, write_lines
from tests.data_prep.layouts.librilight import write_librilight
from tests.data_prep.layouts.librilm import write_librilm
from tests.data_prep.layouts.librispeech import write_librispeech
from tests.data_prep.layouts.mc4 import stories, write_pages
from tests.data_prep.layouts.own import TEXTS, write_csv, write_jsonl, write_sounds, write_tsv
from tests.data_prep.layouts.saved import AUDIO, write_data_set
from tests.data_prep.layouts.saved import write_splits as write_saved_splits
from tests.data_prep.layouts.speechstew import write_splits
from tests.data_prep.layouts.switchboard import write_fisher, write_hub5, write_switchboard
from tests.data_prep.layouts.tedlium import write_tedlium
from tests.data_prep.layouts.text_normalization import write_challenge, write_pairs, write_release
from tests.data_prep.layouts.wsj import write_wsj
from tests.fuzz.reader import Reader
from tests.support.lying_sounds import voice

# A corpus of which nothing is left is named by its output and the reasons.
NAMED = ("found no item for", "found nothing to read", "found no row for")
_TO_TRAIN = {"valid_share": 0.0, "test_share": 0.0}


def prepared(open_corpus: Callable[[Path], Corpus], folder: Path) -> None:
    """Prepare the corpus in ``folder`` twice: the second time it is finished, or its files have changed."""
    prepare(open_corpus(folder), "out")
    prepare(open_corpus(folder), "out")


def _with_voice(write: Callable[[Path], object], folder: Path) -> None:
    """Write a corpus with a generated voice, which is the same everywhere."""
    before = sounds._voice
    sounds._voice = lambda: voice(sounds.SECONDS)
    try:
        write(folder)
    finally:
        sounds._voice = before


def corpus(
    name: str,
    write: Callable,
    open_corpus: Callable,
    files: tuple[str, ...],
    weight: float = 1,
    named: tuple[str, ...] = (),
) -> Reader:
    """Return the reader of a corpus."""
    return Reader(
        name, partial(_with_voice, write), partial(prepared, open_corpus), files, (*NAMED, *named), weight, seconds=15.0
    )


def _librilight(root: Path) -> Corpus:
    return librilight.open_corpus(root, train_shards=1)


def _normalization(root: Path) -> Corpus:
    return text_normalization.open_corpus(root, parts=3)


_CORPORA = (
    corpus("corpus.ami", write_ami, ami.open_corpus, ("*.xml",)),
    corpus("corpus.common_voice", write_splits, common_voice_asr.open_corpus, ("*.tsv", "*.mp3")),
    corpus("corpus.covost2", write_covost2, lambda root: covost2.open_corpus(root, ["en_de"]), ("*.tsv",)),
    corpus("corpus.glue", write_glue, glue.open_corpus, ("*.tsv",), 3),
    corpus("corpus.librilight", write_librilight, _librilight, ("*.json",)),
    corpus("corpus.librilm", write_librilm, lambda root: librilm.open_corpus(root, 1, 4), ("*.gz",), 3),
    corpus("corpus.librispeech", write_librispeech, librispeech.open_corpus, ("*.txt", "*.TXT", "*.flac")),
    corpus("corpus.mc4", lambda root: write_pages(root / "c4-en.tfrecord-00000-of-00001.json.gz", stories(0, 40)),
           lambda root: mc4.open_corpus(root, train_shards=1, valid_parts=8), ("*.gz",), 3),
    corpus("corpus.switchboard", write_switchboard, switchboard.Switchboard, ("*.text", "*.sph")),
    corpus("corpus.fisher", write_fisher, switchboard.Fisher, ("*.txt", "*.sph")),
    corpus("corpus.hub5", write_hub5, switchboard.Hub5, ("*.stm", "*.sph")),
    corpus("corpus.tedlium", write_tedlium, tedlium.open_corpus, ("*.stm", "*.sph")),
    corpus("corpus.challenge", write_challenge, _normalization, ("*_train.csv",)),
    corpus("corpus.release", write_release, _normalization, ("*",)),
    corpus("corpus.pairs", write_pairs, _normalization, ("*",)),
    corpus("corpus.wsj", write_wsj, wsj.open_corpus, ("*.ndx", "*.dot", "*.wv1")),
)  # fmt: skip

# ---------------------------------------------------------------------------------------------------------------------
# users' own rows


def _rows(folder: Path) -> list[dict[str, object]]:
    names = write_sounds(folder, 4)
    rows = [{"audio": name, "text": text, "speaker": f"s{number}", "split": ("train", "dev")[number % 2]}
            for number, (name, text) in enumerate(zip(names, TEXTS, strict=False))]  # fmt: skip
    return [*rows, {"audio": "clips/0.flac:0:4000", "text": "a part", "speaker": "s0", "split": "train"}]


def _ljspeech(folder: Path) -> None:
    for number in range(3):
        sounds.write_sound(folder / f"wavs/LJ001-000{number}.wav", 0.4, seed=number)
    (folder / "metadata.csv").write_text("".join(f"LJ001-000{n}|Dr. {n}|doctor number {n}\n" for n in range(3)))


def _nemo(folder: Path) -> None:
    names = write_sounds(folder, 3)
    write_jsonl(
        folder / "train.json",
        [{"audio_filepath": name, "offset": 0.1, "duration": 0.3, "text": "a word"} for name in names],
    )


def _kaldi(folder: Path) -> None:
    names = write_sounds(folder, 2)
    (folder / "wav.scp").write_text(
        "".join(f"rec{n} {name}\n" for n, name in enumerate(names)) + "rec2 sph2pipe a.sph |\n"
    )
    (folder / "segments").write_text("utt0 rec0 0.0 0.3\nutt1 rec1 0.1 0.4\nutt2 rec0 0.3 0.5\n")
    (folder / "text").write_text("utt0 the first\nutt1 the second\nutt2 čau\n")
    (folder / "utt2spk").write_text("utt0 s0\nutt1 s1\nutt2 s0\n")


def _cuts(folder: Path, name: str) -> None:
    a, b = ({**recording(path, 8000), "id": path} for path in write_sounds(folder, 2))
    lines = [cut(a, 0.1, 0.3, supervision(0.0, 0.2, "one", speaker="x"), supervision(0.2, 0.1, "two"))]
    lines += [padded(cut(b, 0, 0.5, supervision(0, 0.5, "all")), 1.0)]
    lines += [cut(b, 0, 0.4, supervision(0, 0.4, "b", language="cs"))]
    write_lines(folder / name, lines)


def _saved(folder: Path) -> None:
    data = [{"bytes": (folder / name).read_bytes(), "path": name} for name in write_sounds(folder, 3)]
    columns = {"audio": (AUDIO, data), "text": (pa.string(), TEXTS[:3]), "speaker": (pa.int64(), [1, None, 3])}
    for split in ("train", "dev"):
        write_data_set(folder / split, columns)
    write_saved_splits(folder, ["train", "dev"])


def _saved_classes(folder: Path) -> None:
    columns = {"text": (pa.string(), TEXTS[:4]), "label": (pa.int64(), [0, 1, 1, 0])}
    write_data_set(folder, columns, classes={"label": ["bad", "good"]})


def _beside(folder: Path) -> None:
    for number, (name, text) in enumerate(zip(write_sounds(folder, 4), TEXTS, strict=False)):
        path = (folder / name).with_suffix((".txt", ".lab", ".trn", ".normalized.txt")[number])
        path.write_text(text)


def _texts(folder: Path) -> None:
    (folder / "books").mkdir()
    (folder / "books/a.txt").write_text("A sentence.\nAnother one.\n\nA second document.\n" * 4)
    (folder / "b.txt").write_text("\n".join(f"line {'x' * (n % 9)} {n}" for n in range(110)))


def _translated(folder: Path) -> None:
    write_sounds(folder, 1)
    write_csv(folder / "a.csv", _TRANSLATED)


_CLASSES = [{"sentence": f"text {'ab' * n}", "label": "good" if n % 2 else "bad", "text2": "more"} for n in range(8)]
_FORMS = [{"written": f"Due on {n}/4!", "spoken": f"due on {'ab' * n}", "class": "date"} for n in range(6)]
_TRANSLATED = [
    {"path": "clips/0.flac", "translation": "guten Morgen", "text": "good morning", "tgt_lang": "de", "lang": "en"}
]


def _speech(folder: Path) -> None:
    write_csv(folder / "train.csv", _rows(folder))


def own_rows(
    name: str, write: Callable, kind: str, files: tuple[str, ...], weight: int = 3, **options: object
) -> Reader:
    """Return the reader of users' own rows of a kind."""
    options = {**_TO_TRAIN, **options}
    return corpus(f"own.{name}", write, lambda root: own.open_corpus(root, kind, **options), files, weight / 2)


_OWN = (
    own_rows("csv", _speech, "asr", ("*.csv",), 5),
    own_rows("tsv", lambda folder: write_tsv(folder / "train.tsv", _rows(folder)), "asr", ("*.tsv",), 4),
    own_rows("jsonl", lambda folder: write_jsonl(folder / "train.jsonl", _rows(folder)), "asr", ("*.jsonl",), 5),
    own_rows("speech", _speech, "speech", ("*.csv", "*.wav", "*.flac"), 2),
    own_rows("beside", _beside, "asr", ("*.txt", "*.lab", "*.trn", "*.wav", "*.flac"), 3),
    own_rows("text", _texts, "text", ("*.txt",), 4),
    own_rows("classification", lambda folder: write_csv(folder / "a.csv", _CLASSES), "classification", ("*",), 4),
    own_rows("json", lambda folder: write_jsonl(folder / "a.json", _CLASSES), "classification", ("*",), 4),
    own_rows("normalization", lambda folder: write_tsv(folder / "a.tsv", _FORMS), "normalization", ("*",), 3),
    own_rows("translation", _translated, "st", ("*.csv",)),
    own_rows("ljspeech", _ljspeech, "asr", ("*.csv",)),
    own_rows("nemo", _nemo, "asr", ("*.json",)),
    own_rows("cuts", lambda folder: _cuts(folder, "cuts.jsonl"), "asr", ("*.jsonl",), 4),
    own_rows("packed-cuts", lambda folder: _cuts(folder, "cuts.jsonl.gz"), "speech", ("*.gz",), 2),
    own_rows("saved", _saved, "asr", ("*.arrow", "*.json"), 4),
    own_rows("saved-classes", _saved_classes, "classification", ("*",), 4),
    own_rows("kaldi", _kaldi, "asr", ("wav.scp", "segments", "text", "utt2spk"), 4),
)  # fmt: skip


# ---------------------------------------------------------------------------------------------------------------------
# folders that were prepared before

_ROOT = b"@ROOT@"  # stands for the case's folder


def _table(folder: Path) -> Corpus:
    return own.open_corpus(folder / "a.csv", "classification", **_TO_TRAIN)


def _finished(folder: Path, is_merged: bool) -> None:
    (folder / "a.csv").write_text("text,label\none,x\ntwo,y\n")
    make_parts(_table(folder), folder / "out")
    if is_merged:
        merge(_table(folder), folder / "out")
    for path in folder.rglob("*.json"):
        path.write_bytes(path.read_bytes().replace(str(folder).encode(), _ROOT))


def _again(folder: Path) -> None:
    """Resume in a folder whose files are damaged."""
    for path in folder.rglob("*.json"):
        path.write_bytes(path.read_bytes().replace(_ROOT, str(folder).encode()))
    prepare(_table(folder), folder / "out")


_RESUMED = (
    Reader("own.finished", partial(_finished, is_merged=True), _again, ("out/*.json",), ("/out:",), 1),
    Reader(
        "own.parts",
        partial(_finished, is_merged=False),
        _again,
        ("out/.parts/*.json", "out/.parts/*.tsv"),
        ("/out:", "/out/"),
        1,
    ),
)

READERS = (*_CORPORA, *_OWN, *_RESUMED)
