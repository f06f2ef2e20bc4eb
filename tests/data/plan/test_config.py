from pathlib import Path
from types import SimpleNamespace

import pytest

from slam_plugin.data.errors import DataError
from slam_plugin.data.options import Option
from slam_plugin.data.plan.config import Stage, read_corpora
from slam_plugin.modules.schedule import Schedule

KINDS = {
    "speech": SimpleNamespace(options={"audio_root": Option(Path, None)}, suffixes=("",)),
    "text": SimpleNamespace(options={"block": Option(int, None)}, suffixes=(".bin", ".idx")),
    "pairs": SimpleNamespace(options={"audio_root": Option(Path, None)}, suffixes=("",)),
}
OBJECTIVES = {
    "contrastive": {"distractors": Option(int, 100), "temperature": Option(float, 0.1)},
    "stm": {"from_text": Option(bool, False)},
    "kmeans": {"unmasked": Option(Schedule, Schedule.of(0.5)), "centroids": Option(Path, Path("some.npz"))},
}
GOOD = """\
mode: all
stages: {500: [speech, text, pairs], 0: [speech, text]}
quota: {speech: 2, pairs: 3}
corpora:
  dialogue:
    kind: speech
    train: [a.tsv, b.tsv]
    valid: v.tsv
    audio_root: sound
    budget: 3000
    min_length: 50
    max_length: 1600
    weight: 0.7
  prose: {kind: text, train: [text], budget: 2048, block: 128}
  both: {kind: pairs, train: [a.tsv], budget: 3000}
objectives:
  contrastive: {weight: 2, distractors: 20}
  stm:
  kmeans: {weight: {200: 1, 0: 0.3}}
"""


@pytest.fixture
def read(tmp_path):
    for name in ("a.tsv", "b.tsv", "v.tsv", "text.bin", "text.idx"):
        (tmp_path / name).touch()

    def reader(text):
        path = tmp_path / "corpora.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_corpora(path, tmp_path, KINDS, OBJECTIVES)

    return reader


def test_whole_file(read, tmp_path):
    corpora = read(GOOD)
    assert corpora.mode == "all"
    assert corpora.stages == (Stage(0, ("speech", "text")), Stage(500, ("speech", "text", "pairs")))
    assert corpora.quota == {"speech": 2, "text": 1, "pairs": 3}
    dialogue, prose = corpora.corpora["dialogue"], corpora.corpora["prose"]
    assert dialogue.train == (tmp_path / "a.tsv", tmp_path / "b.tsv") and dialogue.valid == tmp_path / "v.tsv"
    assert dialogue.options == {"audio_root": tmp_path / "sound"} and dialogue.weight == 0.7
    assert (prose.valid, prose.min_length, prose.max_length, prose.weight) == (None, 1, 2048, 1.0)
    assert prose.options == {"block": 128}
    contrastive = corpora.objectives["contrastive"]
    assert contrastive.weight == Schedule.of(2.0)
    assert contrastive.options == {"distractors": 20, "temperature": 0.1}
    assert corpora.objectives["stm"].weight == Schedule.of(1.0)
    kmeans = corpora.objectives["kmeans"]
    assert kmeans.weight == Schedule.of({0: 0.3, 200: 1.0})
    assert kmeans.options == {"unmasked": Schedule.of(0.5), "centroids": tmp_path / "some.npz"}


def test_defaults(read):
    corpora = read("corpora: {a: {kind: speech, train: [a.tsv], budget: 9}}\nobjectives: {stm: {}}")
    assert (corpora.mode, corpora.stages, corpora.quota) == ("all", (Stage(0, ("speech",)),), {"speech": 1})


def test_bom_and_crlf_are_accepted(read):
    assert read(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode()).corpora.keys() == {"dialogue", "prose", "both"}


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("mode: all", "mode: both", "1: mode: found 'both', expected one of: all, ratio"),
        ("mode: all", "modes: all", "1: modes: found the unknown name 'modes', expected one of: mode, stages"),
        ("0: [speech, text]", "7: [speech, text]", "2: stages: found first step 7, expected a stage that starts at 0"),
        ("0: [speech, text]", "-1: [text]", "stages.-1: found the step -1, expected a plan step"),
        ("0: [speech, text]", "0: [speech, texts]", "2: stages.0: found 'texts', expected kinds that a corpus has"),
        ("0: [speech, text]", "0: speech", "2: stages.0: found 'speech', expected a list of different kinds"),
        ("text, pairs]", "text]", "2: stages: found no stage with 'pairs'"),
        ("speech: 2", "speech: 0", "3: quota.speech: found 0, expected a whole number of at least 1"),
        ("speech: 2", "speech: 1.5", "3: quota.speech: found 1.5, expected a whole number"),
        ("speech: 2", "speach: 2", "3: quota.speach: found the unknown name"),
        ("kind: speech", "kind: sound", "6: corpora.dialogue.kind: found 'sound', expected one of: speech, text"),
        ("    kind: speech\n", "", "5: corpora.dialogue.kind: found nothing, expected one of"),
        ("[a.tsv, b.tsv]", "[a.tsv, c.tsv]", "7: corpora.dialogue.train.1: found no file"),
        ("[a.tsv, b.tsv]", f"[{'a' * 300}]", "7: corpora.dialogue.train.0: found no file"),
        ("[a.tsv, b.tsv]", "a.tsv", "7: corpora.dialogue.train: found 'a.tsv', expected a list of paths"),
        ("valid: v.tsv", "valid: w.tsv", "8: corpora.dialogue.valid: found no file"),
        ("train: [text]", "train: [texts]", "14: corpora.prose.train.0: found no file"),
        ("    budget: 3000\n", "", "5: corpora.dialogue.budget: found nothing, expected a whole number"),
        ("budget: 3000", "budget: many", "10: corpora.dialogue.budget: found 'many', expected a whole number"),
        ("budget: 3000", "budget: true", "10: corpora.dialogue.budget: found True, expected a whole number"),
        ("max_length: 1600", "max_length: 4000", "12: corpora.dialogue.max_length: found 4000, expected at most the"),
        ("min_length: 50", "min_length: 1601", "11: corpora.dialogue.min_length: found 1601, expected at most max_"),
        ("weight: 0.7", "weight: 0", "13: corpora.dialogue.weight: found 0, expected more than 0"),
        ("weight: 0.7", "weight: .inf", "13: corpora.dialogue.weight: found inf, expected a number"),
        ("weight: 0.7", "weight: .nan", "13: corpora.dialogue.weight: found nan, expected a number"),
        ("weight: 0.7", "weight: 1e-3", "expected a number of at least 0 (write 1.0e-3, not 1e-3)"),
        ("weight: 0.7", "block: 3", "13: corpora.dialogue.block: found the unknown name 'block'"),
        ("  prose:", "  dialogue:", "14: corpora.dialogue: found a second time, expected once (first in line 5)"),
        ("  prose:", "  my prose:", "14: corpora.my prose: found 'my prose', expected a name of letters"),
        ("distractors: 20", "distractors: few", "17: objectives.contrastive.distractors: found 'few', expected a"),
        ("distractors: 20", "negatives: 20", "17: objectives.contrastive.negatives: found the unknown name"),
        ("  stm:", "  stn:", "18: objectives.stn: found the unknown name 'stn', expected one of: contrastive, stm"),
        ("weight: 2,", "weight: -2,", "17: objectives.contrastive.weight: found -2, expected a number of at least 0"),
        ("weight: 2,", "weight: [2],", "found [2], expected a number of at least 0, or a mapping from updates to num"),
        ("weight: 2,", "weight: {},", "17: objectives.contrastive.weight: found {}, expected a number of at least 0"),
        ("0: 0.3", "0: -0.3", "19: objectives.kmeans.weight.0: found -0.3, expected a number of at least 0"),
        ("0: 0.3", "0: few", "19: objectives.kmeans.weight.0: found 'few', expected a number of at least 0"),
        ("0: 0.3", "-1: 0.3", "19: objectives.kmeans.weight.-1: found the update -1, expected an update, a whole"),
        ("0: 0.3", "0.5: 0.3", "objectives.kmeans.weight.0.5: found the update 0.5, expected an update, a whole"),
        ("0: 0.3", "200: 0.3", "19: objectives.kmeans.weight.200: found a second time, expected once"),
        ("{weight: {200: 1, 0: 0.3}}", "{unmasked: {0: .nan}}", "objectives.kmeans.unmasked.0: found nan, expected"),
        ("{weight: {200: 1, 0: 0.3}}", "{unmasked: yes}", "objectives.kmeans.unmasked: found True, expected a number"),
        ("objectives:\n", "x: {", "is not YAML"),
    ],
)
def test_faults_name_line_key_and_expectation(read, old, new, message):
    assert old in GOOD
    with pytest.raises(DataError) as error:
        read(GOOD.replace(old, new, 1))
    assert message in str(error.value) and "corpora.yaml" in str(error.value)
    assert len(str(error.value).splitlines()) == 1, "what merely follows from a fault is not reported"


def test_all_faults_at_once(read):
    with pytest.raises(DataError) as error:
        read(GOOD.replace("mode: all", "mode: x").replace("budget: 3000", "budget: 0").replace("stm", "stn"))
    assert len(str(error.value).splitlines()) == 4


@pytest.mark.parametrize("text", ["", "[]", "corpora: 3", "corpora:", "objectives: {}", "7", "corpora: {a: 3}"])
def test_files_that_hold_nothing(read, text):
    with pytest.raises(DataError, match="corpora"):
        read(text)


def test_a_configuration_in_place_of_a_corpora_file(read):
    with pytest.raises(DataError) as error:
        read("# Pre-training\ncommon:\n  seed: 1\ntask:\n  _name: slam_pretraining\n")
    assert str(error.value).endswith(
        ":2: found a configuration for fairseq-hydra-train, expected a corpora file (slam recipes lists both)"
    )


def test_missing_file(tmp_path):
    with pytest.raises(DataError, match=r"^\S+nowhere.yaml: there is no such file, expected .*slam recipes[^/]*$"):
        read_corpora(tmp_path / "nowhere.yaml", tmp_path, KINDS, OBJECTIVES)


def test_paths_are_relative_to_the_data_folder(read, tmp_path):
    elsewhere = tmp_path / "elsewhere" / "mine.yaml"
    elsewhere.parent.mkdir()
    elsewhere.write_text(GOOD)
    there, here = read_corpora(elsewhere, tmp_path, KINDS, OBJECTIVES), read(GOOD)
    assert there.path == elsewhere and there.corpora == here.corpora
    assert there.corpora["dialogue"].options == {"audio_root": tmp_path / "sound"}
    with pytest.raises(DataError, match=r"mine.yaml:7: corpora.dialogue.train.0: found no file .*/wrong/a.tsv"):
        read_corpora(elsewhere, tmp_path / "wrong", KINDS, OBJECTIVES)
