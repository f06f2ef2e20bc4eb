"""Test sets decoded by fairseq-generate and scored into one table. The mean of checkpoints."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch

from slam_plugin.commands import average, evaluate
from slam_plugin.data.errors import DataError
from slam_plugin.data.manifests.manifest import Manifest
from slam_plugin.scoring import text as scoring
from slam_plugin.scoring.figures import figures_of
from slam_plugin.scoring.normalizer import COMPARED_AS
from tests.support import training
from tests.support.commands import fairseq

MICRO = [f"--{name}={value}" for name, value in training.MODEL.items()]
SETS = ("cv", "wsj")
METRICS = ("wer", "cer")


@pytest.fixture(scope="module")
def data(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Training data, and two test sets: one of six utterances, one of four, translated into two languages."""
    folder = tmp_path_factory.mktemp("sets")
    for name, source in (("train", "train"), ("cv", "valid"), ("wsj", "train")):
        shutil.copy(toy / f"pairs/{source}.tsv", folder / f"{name}.tsv")
    lines = (folder / "wsj.tsv").read_text().splitlines()[:5]
    languages = ["tgt_lang", "de", "ca", "de", "de"]
    (folder / "wsj.tsv").write_text("".join(f"{a}\t{b}\n" for a, b in zip(lines, languages, strict=True)))
    for name in ("dict.txt", "spm.model"):
        shutil.copy(toy / name, folder / name)
    (folder / "wav").symlink_to(toy / "wav")
    return folder


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a checkpoint after each of three updates."""
    folder = tmp_path_factory.mktemp("run")
    flags = ["--task", "slam_speech_to_text", "--arch", "slam_ctc_tiny", "--criterion", "slam_ctc", *MICRO, "--cpu"]
    flags += ["--optimizer", "slam_adamw", "--lr", "0.01", "--max-tokens", "200", "--max-update", "3"]
    flags += ["--save-interval-updates", "1", "--disable-validation", "--num-workers", "0", "--save-dir", folder]
    fairseq("train", folder / "train.log", data, *flags)
    return folder


def arguments(data: Path, checkpoint: Path | str, out: Path, *more: str) -> list[str]:
    given = [str(data), "--checkpoint", str(checkpoint), "--out", str(out), "--metrics", *METRICS]
    return [*given, "--max-tokens", "2000", "--cpu", "--num-workers", "0", "--subsets", *SETS, *more]


@pytest.fixture(scope="module")
def evaluated(data: Path, run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("scores")
    assert evaluate.main(arguments(data, run / "checkpoint_last.pt", out)) == 0
    return out


def test_each_set_has_its_row_and_the_last_is_the_mean(data, evaluated):
    rows = json.loads((evaluated / "scores.json").read_text())
    members = {"cv": ("cv", range(6)), "wsj ca": ("wsj", [1]), "wsj de": ("wsj", [0, 2, 3])}
    assert {row["name"] for row in rows} == {*members, "average"} and rows[-1]["name"] == "average"
    for row in rows[:-1]:
        subset, chosen = members[row["name"]]
        manifest = Manifest.open(data / f"{subset}.tsv")
        found = {each.id: each for each in scoring.read_generated(evaluated / f"generate-{subset}.txt")}
        assert len(found) == len(manifest)
        texts = [manifest.value(i, "tgt_text") for i in chosen]
        assert row["utterances"] == len(texts) and row["words"] == sum(len(text.split()) for text in texts)
        assert row["hours"] == pytest.approx(sum(manifest.value(i, "n_frames") for i in chosen) * 0.01 / 3600)
        hypotheses = [found[i].hypothesis for i in chosen]
        expected = scoring.score(hypotheses, texts, METRICS)
        assert {metric: row["scores"][metric] for metric in METRICS} == expected
        [wer] = figures_of(hypotheses, texts, ["wer"])
        assert row["scores"]["wer_edits"] == wer.edits._asdict()
        assert row["scores"]["wer_interval"] == (None if len(texts) == 1 else list(wer.interval))
        assert row["scores"]["wer_compared_as"].startswith(COMPARED_AS)
    for metric in METRICS:
        assert rows[-1]["scores"][metric] == pytest.approx(sum(row["scores"][metric] for row in rows[:-1]) / 3)
    table, edits, settings = (part.splitlines() for part in (evaluated / "scores.md").read_text().split("\n\n"))
    assert len({len(line) for line in table}) == 1 and len(table) == 6
    cells = [cell.strip() for cell in table[2].strip("|").split("|")]
    assert cells[:2] == ["cv", "6"] and cells[4::2] == [f"{rows[0]['scores'][metric]:.2f}" for metric in METRICS]
    shares = [[float(cell) for cell in line.strip("|").split("|")[2:]] for line in edits[2:]]
    rates = [row["scores"][metric] for row in rows[:-1] for metric in METRICS]
    assert [sum(share) for share in shares] == [pytest.approx(rate, abs=0.02) for rate in rates]
    assert COMPARED_AS in settings[0] and "bootstrap" in settings[-1]


def test_whispers_normalizer_follows_the_languages_of_the_rows(data, run, evaluated, tmp_path, capsys):
    mine, out = shutil.copytree(data, tmp_path / "data", symlinks=True), shutil.copytree(evaluated, tmp_path / "out")
    whisper = [*arguments(mine, run / "checkpoint_last.pt", out), "--normalizer", "whisper"]
    assert evaluate.main(whisper) == 1  # before anything is decoded
    assert "found no language of the texts, expected --language" in capsys.readouterr().err
    assert evaluate.main([*whisper, "--language", "en", "--worst", "1"]) == 0
    assert "cv: decoded before" in capsys.readouterr().err
    page = (out / "scores.md").read_text()
    assert re.search(r"WER, CER of cv: Whisper's English", page)
    assert re.search(r"WER, CER of wsj .*: Whisper's basic", page)
    assert page.count("the sentences with the most errors") == 3 and page.count("    REF: ") >= 3
    assert evaluate.main([*whisper, "--metrics", "bleu"]) == 2


def test_only_what_changed_is_decoded_again(data, run, evaluated, tmp_path, capsys):
    mine, out = shutil.copytree(data, tmp_path / "data", symlinks=True), shutil.copytree(evaluated, tmp_path / "out")
    before = {name: (out / f"generate-{name}.txt").stat().st_ino for name in SETS}
    text = (mine / "wsj.tsv").read_text()
    (mine / "wsj.tsv").write_text(text[: text.rindex("\n", 0, -1) + 1])
    capsys.readouterr()
    assert evaluate.main(arguments(mine, run / "checkpoint_last.pt", out)) == 0
    printed = capsys.readouterr()
    assert "cv: decoded before" in printed.err and "wsj: decoded" not in printed.err
    after = {name: (out / f"generate-{name}.txt").stat().st_ino for name in SETS}
    assert after["cv"] == before["cv"] and after["wsj"] != before["wsj"]
    rows = json.loads((out / "scores.json").read_text())
    assert {row["name"]: row["utterances"] for row in rows[1:-1]} == {"wsj ca": 1, "wsj de": 2}
    assert printed.out == (out / "scores.md").read_text()


def test_what_cannot_be_evaluated_is_named(data, run, tmp_path, capsys):
    def errors_of(*given: str) -> str:
        assert evaluate.main(list(given)) == 1
        return capsys.readouterr().err

    last = run / "checkpoint_last.pt"
    assert "expected the split 'ted', found cv, train, wsj" in errors_of(*arguments(data, last, tmp_path, "ted"))
    assert "none.pt: there is no such checkpoint" in errors_of(*arguments(data, f"{last}:{run}/none.pt", tmp_path))
    assert "no such data folder" in errors_of(*arguments(tmp_path / "none", last, tmp_path))
    failed = errors_of(*arguments(data, last, tmp_path, "--no-such-flag"))
    assert "cv: failed with exit code 2" in failed and "unrecognized arguments: --no-such-flag" in failed
    assert not (tmp_path / "generate-cv.txt").exists()


@pytest.mark.parametrize(
    ("subset", "task", "files"),
    [
        ("test", "slam_speech_to_text", ["test.tsv"]),
        ("test", "slam_translation", ["test.en-de.en.bin", "test.en-de.en.idx"]),
        ("test.clean", "slam_speech_to_text", ["test.clean.tsv"]),
        ("dev", "slam_speech_to_text", ["dev.en-de.en.idx"]),
    ],
)
def test_a_set_is_read_from_the_files_that_its_task_reads(tmp_path, subset, task, files):
    for name in ("test.tsv", "test.clean.tsv", "test.en-de.en.bin", "test.en-de.en.idx", "dev.en-de.en.idx"):
        (tmp_path / name).touch()
    assert [path.name for path in evaluate._files_of(tmp_path, subset, task)] == files


def test_a_set_that_lost_sentences_has_no_score(data, run, tmp_path, capsys):
    mine = shutil.copytree(data, tmp_path / "data", symlinks=True)
    lines = (mine / "cv.tsv").read_text().splitlines()
    (mine / "cv.tsv").write_text("\n".join([*lines[:-1], f"{lines[-1]} and much more"]) + "\n")
    flags = ["--skip-invalid-size-inputs-valid-test", "--max-target-positions", "5"]
    assert evaluate.main(arguments(mine, run / "checkpoint_last.pt", tmp_path / "out", *flags)) == 1
    assert "cv: found 5 decoded sentences, expected all 6 of" in capsys.readouterr().err


# ---------------------------------------------------------------------------------------------------------------------
# averaging


def weights(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=False)["model"]


def test_the_average_is_the_mean_of_each_weight_and_decodes(data, run, tmp_path):
    inputs = sorted(run.glob("checkpoint_1_*.pt"))
    assert len(inputs) == 3
    assert average.main(["--inputs", *map(str, inputs), "--output", str(tmp_path / "mean.pt")]) == 0
    states, mean = [weights(path) for path in inputs], weights(tmp_path / "mean.pt")
    assert mean.keys() == states[0].keys()
    for name, value in mean.items():
        torch.testing.assert_close(value, torch.stack([state[name] for state in states]).mean(0))
    assert not torch.equal(mean["output.weight"], states[-1]["output.weight"])
    assert "last_optimizer_state" not in torch.load(tmp_path / "mean.pt", weights_only=False)
    out = tmp_path / "out"
    only = ["--subsets", "wsj"]
    assert evaluate.main([*arguments(data, tmp_path / "mean.pt", out), *only]) == 0
    assert json.loads((out / "scores.json").read_text())[-1]["name"] == "average"


def test_checkpoints_that_have_no_mean_are_refused(run, tmp_path):
    first, second = sorted(run.glob("checkpoint_1_*.pt"))[:2]

    def changed(change) -> Path:
        state = torch.load(second, weights_only=False)
        change(state)
        torch.save(state, tmp_path / "changed.pt")
        return tmp_path / "changed.pt"

    def refused(words: str, *inputs: Path) -> None:
        with pytest.raises(DataError, match=words):
            average.average(inputs, tmp_path / "mean.pt")
        assert not (tmp_path / "mean.pt").exists()

    refused("expected two or more", first)
    refused("expected two or more", first, first)
    refused("none.pt: there is no such checkpoint", first, tmp_path / "none.pt")
    refused("common.seed: found 9, expected 1", first, changed(lambda s: s["cfg"]["common"].update(seed=9)))
    refused("model.final_dropout", first, changed(lambda s: s["cfg"]["model"].update(final_dropout=0.7)))
    refused("vocabulary: found 00", first, changed(lambda s: s["task_state"]["vocabulary"].update(hash="00")))
    refused("weights differ in name or shape", first, changed(lambda s: s["model"].pop("output.bias")))
