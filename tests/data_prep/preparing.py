"""Checks of every corpus: the same bytes however the work is shared or interrupted, and trainings on the result."""

import contextlib
import multiprocessing
from collections.abc import Callable, Sequence
from multiprocessing import forkserver
from pathlib import Path

import pytest
import yaml

from data_prep.engine import command, parts
from data_prep.engine.units import Corpus
from data_prep.text.binarize import binarize
from data_prep.text.vocab import train_vocabulary
from slam_plugin.data.manifests.manifest import Manifest
from slam_plugin.data.manifests.validate import find_faults
from tests.support import training
from tests.support.commands import PRELOADED

PART_BYTES = 1  # a part for each unit, unless a test says otherwise


def contents(folder: Path) -> dict[str, bytes]:
    """Return all files except the Arrow copies, which hold the time of their originals."""
    found = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if path.suffix != ".arrow"}


def check_sharing(corpus: Corpus, tmp_path: Path, part_bytes: int = PART_BYTES) -> Path:
    """Prepare ``corpus`` with one process, four, three shards, and an interrupted run. Return the first folder."""
    _start_server()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(corpus), "part_bytes", part_bytes)
        made = {name: tmp_path / name for name in ("one", "four", "shards", "cut")}
        command.prepare(corpus, made["one"])
        command.prepare(corpus, made["four"], jobs=4)
        for index in (3, 1, 2):
            assert command.prepare(corpus, made["shards"], shard=parts.WorkShard(index, 3)) is None
        command.merge(corpus, made["shards"])
        with contextlib.suppress(InterruptedError):
            parts.make_parts(_stopping(corpus), made["cut"])
        assert not (made["cut"] / "stats.json").exists()
        command.prepare(corpus, made["cut"])
    expected = contents(made["one"])
    assert expected
    for name, folder in made.items():
        assert contents(folder) == expected, name
    return made["one"]


def _start_server() -> None:
    """Fork processes from the test session's server, which has already imported what trainings need."""
    multiprocessing.set_forkserver_preload([*PRELOADED, "tests.support.training"])
    forkserver.ensure_running()


def _stopping(corpus: Corpus) -> Corpus:
    """Return a copy that stops in the middle of its second unit, or of its only one."""
    seen = []

    class Stopping(type(corpus)):
        def read(self, unit):
            seen.append(unit)
            for number, each in enumerate(super().read(unit)):
                if number and len(seen) > 1:
                    raise InterruptedError
                yield each
            if len(seen) > 1:
                raise InterruptedError

    stopping = object.__new__(Stopping)
    stopping.__dict__.update(corpus.__dict__)
    return stopping


def rows_of(path: Path) -> list[dict]:
    """Return all rows of a manifest."""
    manifest = Manifest.open(path)
    return [manifest.row(index) for index in range(len(manifest))]


def check_clean(folder: Path, least: int = 3, most: int = 3000) -> None:
    """Check that every manifest below ``folder`` is without faults, decoding its audio again."""
    manifests = sorted(folder.rglob("*.tsv"))
    tables = [path for path in manifests if path.name != "dropped.tsv"]
    assert tables
    for path in tables:
        manifest = Manifest.open(path)
        texts = [column for column in ("tgt_text", "src_text") if column in manifest.columns]
        assert list(find_faults(manifest, path.parent, least, most, texts)) == [], path


def dropped(folder: Path) -> dict[str, str]:
    """Return the reasons of what was left out, by place."""
    header, *lines = (folder / "dropped.tsv").read_text(encoding="utf-8").splitlines()
    assert header == "place\treason"
    return dict(line.split("\t") for line in lines)


def run_command(main: Callable[[list[str]], int], *words: object) -> int:
    """Run a command as a user does, in this process."""
    return main([str(word) for word in words])


# ---------------------------------------------------------------------------------------------------------------------
# training on what was made

_TWO_UPDATES = {"max_update": 2, "update_freq": 1, "disable_validation": True, "no_save": True}
_FINE_TUNING = {**_TWO_UPDATES, "task": "slam_speech_to_text", "steps_per_epoch": None, "batch_size": None}


def check_recognizer_trains(folder: Path, tmp_path: Path, subset: str = "train") -> None:
    """Run two updates of CTC on ``folder/SUBSET.tsv``, with a vocabulary of its characters."""
    texts = [row["tgt_text"] for row in rows_of(folder / f"{subset}.tsv")]
    train_vocabulary(texts, folder, 200, "char")
    flags = {**_FINE_TUNING, "arch": "slam_ctc_tiny", "criterion": "slam_ctc", "train_subset": subset}
    run = training.train(folder, tmp_path / "trained", max_tokens=3000, **flags)
    assert run.code == 0 and len(run.logged("train_inner")) == 2, run.output[-3000:]


def check_translator_trains(folder: Path, tmp_path: Path, languages: Sequence[str] = ()) -> None:
    """Run two updates of a translator on ``folder/train.tsv``, with a vocabulary of its texts and language tags."""
    texts = [row["tgt_text"] for row in rows_of(folder / "train.tsv")]
    train_vocabulary(texts, folder, 200, "char", languages=languages)
    flags = {**_FINE_TUNING, "arch": "slam_speech_to_text_tiny", "criterion": "label_smoothed_cross_entropy"}
    run = training.train(folder, tmp_path / "trained", max_tokens=3000, train_subset="train", **flags)
    assert run.code == 0 and len(run.logged("train_inner")) == 2, run.output[-3000:]


def check_speech_pretrains(folder: Path, tmp_path: Path, manifests: Sequence[str]) -> None:
    """Run two updates of pre-training on manifests of speech below ``folder``."""
    train_vocabulary(["some words"], tmp_path / "pretraining", 30, "char")
    corpus = {"kind": "speech", "train": [str(folder / name) for name in manifests], "min_length": 20, "budget": 3000}
    objectives = {name: training.CORPORA["objectives"][name] for name in ("contrastive", "masked_prediction")}
    _pretrain(tmp_path / "pretraining", {"talk": corpus}, objectives)


def check_text_pretrains(folder: Path, tmp_path: Path, files: Sequence[str], block: int | None = 64) -> None:
    """Run two updates of pre-training on text files below ``folder``, with a vocabulary trained on them.

    ``block`` is None where the files hold no documents.
    """
    data = tmp_path / "pretraining"
    train_vocabulary([line for name in files for line in (folder / name).open(encoding="utf-8")], data, 200, "char")
    for name in files:
        binarize(folder / name, data, data / Path(name).stem)
    corpus = {"kind": "text", "train": [Path(name).stem for name in files], "budget": 512, "max_length": 512}
    _pretrain(data, {"prose": corpus | ({"block": block} if block else {})}, {"span_mlm": {}})


def _pretrain(data: Path, corpora: dict, objectives: dict) -> None:
    (data / "corpora.yaml").write_text(yaml.safe_dump({"corpora": corpora, "objectives": objectives}))
    run = training.train(data, data / "trained", **{**_TWO_UPDATES, "steps_per_epoch": 2})
    assert run.code == 0 and len(run.logged("train_inner")) == 2, run.output[-3000:]
