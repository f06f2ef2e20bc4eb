"""slam_joint_translation and target languages, through fairseq's own commands, on tones that spell letters."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml

from data_prep.text.binarize import binarize
from data_prep.text.vocab import train_vocabulary
from slam_plugin.data.audio import frames_in, load_features
from slam_plugin.data.errors import DataError
from slam_plugin.data.manifests.manifest import write_manifest
from slam_plugin.data.shards.translation import TextTranslationShard, TranslationSetting
from slam_plugin.data.text.vocabulary import Vocabulary
from tests.support import training
from tests.support.commands import fairseq
from tests.tasks.test_speech_to_text import SIZES, generated, tones

COLUMNS = ["id", "audio", "n_frames", "src_text", "tgt_text", "tgt_lang"]
# What the letters are called in two languages; the same speech means either.
LANGUAGES = {"en": str.maketrans("abcd", "efgh"), "de": str.maketrans("abcd", "wxyz")}
WRITTEN = {"en": set("efgh"), "de": set("wxyz")}
PLAN = {
    "mode": "all",
    "quota": {"speech_translation": 2, "text_translation": 1},
    "corpora": {
        "told": {
            "kind": "speech_translation",
            "train": ["train.tsv"],
            "budget": 1000,
            "min_length": 10,
            "max_length": 400,
        },
        **{
            f"written-{to}": {
                "kind": "text_translation",
                "train": [f"mt/{to}.source-target"],
                "budget": 120,
                "max_length": 24,
                "tgt_lang": to,
            }
            for to in LANGUAGES
        },
    },
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Eight utterances, each translated into both languages, and thirty more texts with their translations.

    Training reads features, which are the sounds' that the test set reads: many epochs need not analyze them again.
    """
    folder = tmp_path_factory.mktemp("joint")
    random = np.random.default_rng(0)
    texts = ["".join(random.choice(list("abcd"), 4)) for _ in range(38)]
    rows = []
    for i, text in enumerate(texts[:8]):
        wave = tones(text, random)
        soundfile.write(folder / f"{i}.wav", wave, 16000)
        np.save(folder / f"{i}.npy", load_features(f"{i}.wav", folder).numpy())
        row = {"id": str(i), "audio": f"{i}.wav", "n_frames": frames_in(len(wave)), "src_text": text}
        rows += [
            {**row, "id": f"{i}-{to}", "tgt_text": text.translate(table), "tgt_lang": to}
            for to, table in LANGUAGES.items()
        ]
    analyzed = [{**row, "audio": row["audio"].replace(".wav", ".npy")} for row in rows]
    for split, part in (("train", analyzed), ("valid", analyzed[:14]), ("test", rows[:14])):
        write_manifest(folder / f"{split}.tsv", part, COLUMNS)
    written = {to: [text.translate(table) for text in texts] for to, table in LANGUAGES.items()}
    train_vocabulary(
        [text for part in written.values() for text in part], folder, 50, "char", languages=list(LANGUAGES)
    )
    train_vocabulary(texts, folder / "source", 30, "char")
    for to, translations in written.items():
        for side, lines, vocabulary in (("source", texts, folder / "source"), ("target", translations, folder)):
            path = folder / "mt" / f"{to}.{side}"
            path.parent.mkdir(exist_ok=True)
            path.write_text("\n".join(lines) + "\n")
            binarize(path, vocabulary, folder / "mt" / f"{to}.source-target.{side}")
    (folder / "corpora.yaml").write_text(yaml.safe_dump(PLAN))
    return folder


FLAGS = {
    "task": "slam_joint_translation",
    "arch": "slam_speech_to_text_tiny",
    "criterion": "label_smoothed_cross_entropy",
    **{name.replace("_", "-"): value for name, value in SIZES.items()},
    "decoder_layers": 1,
    "decoder_dropout": 0,
    "dropout": 0,
    "positions": "rotary",
    "optimizer": "slam_adamw",
    "adam-betas": None,
    "lr": 0.004,
    "warmup_init_lr": None,
    "warmup_updates": 20,
    "batch_size": None,
    "max_tokens": 4000,
    "steps_per_epoch": 6,
    "eval_wer": True,
    "eval_args": '{"max_len_b": 20}',
}


@pytest.fixture(scope="module")
def learned(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("learned")
    flags = {"max_update": 260, "update_freq": 1, "validate_interval": 10, "save_interval": 10}
    flags |= {"no_epoch_checkpoints": True}
    run = training.train(data, folder, **{**FLAGS, **flags, "autocast": "none", "steps_per_epoch": 13})
    assert run.code == 0, run.output[-3000:]
    return run


def test_one_model_learns_both_languages_from_speech_and_text(learned):
    assert learned.logged("valid")[-1]["wer"] == 0.0
    losses = learned.logged("train_inner")
    for kind in ("speech_translation_loss", "text_translation_loss"):
        assert losses[-1][kind] < 0.5 * losses[0][kind]
    assert 0 <= losses[-1]["data_wait"] < 10


def generate(data, learned, log, *arguments, task="slam_speech_to_text"):
    best = ["--path", learned.folder / "checkpoint_best.pt", "--gen-subset", "test", "--max-tokens", "4000"]
    return fairseq("generate", log, data, "--task", task, *best, "--max-len-b", "20", *arguments)


@pytest.mark.parametrize("task", ["slam_speech_to_text", "slam_joint_translation"])
def test_each_row_is_written_in_its_language(data, learned, task, tmp_path):
    """Without the vocabularies and the plan, which the checkpoint replaces. The output has no tags."""
    alone = shutil.copytree(data, tmp_path / "data", ignore=shutil.ignore_patterns("dict.txt", "spm.model", "*.yaml"))
    hypotheses, references = generated(generate(alone, learned, tmp_path / "log", "--beam", "3", task=task))
    assert hypotheses == references
    assert {language for language in LANGUAGES for text in references.values() if set(text) <= WRITTEN[language]} == {
        *LANGUAGES
    }


def test_one_language_may_be_asked_for(data, learned, tmp_path):
    hypotheses, _ = generated(generate(data, learned, tmp_path / "log", "--tgt-lang", "de"))
    assert set("".join(hypotheses.values())) <= set("wxyz")


@pytest.mark.parametrize(
    ("arguments", "column", "expected"),
    [
        (["--tgt-lang", "cs"], "de", r"found the language 'cs', expected one of en, de"),
        ([], "cs", r"test\.tsv:3: 0-de: found tgt_lang 'cs', expected one of en, de"),
        ([], None, r"test\.tsv: has no column tgt_lang, and the model writes en, de"),
    ],
)
def test_an_unknown_language_is_named(data, learned, tmp_path, arguments, column, expected):
    changed = shutil.copytree(data, tmp_path / "data", ignore=shutil.ignore_patterns("*.arrow", "*.checked"))
    lines = (data / "test.tsv").read_text().splitlines()
    if column is None:
        lines = [line.rpartition("\t")[0] for line in lines]
    else:
        lines = [re.sub(r"\bde$", column, line) for line in lines]
    (changed / "test.tsv").write_text("\n".join(lines) + "\n")
    with pytest.raises(AssertionError) as error:
        generate(changed, learned, tmp_path / "log", *arguments)
    assert re.search(expected, (tmp_path / "log").read_text() + str(error.value))


def test_a_resumed_run_is_the_run_that_was_not_stopped(data, tmp_path):
    flags = {**FLAGS, "autocast": "none", "max_update": 4, "specaugment": True, "eval_wer": None}
    whole = training.train(data, tmp_path / "whole", **flags)
    assert whole.code == 0, whole.output[-3000:]
    assert training.train(data, tmp_path / "parts", **{**flags, "max_update": 2}).code == 0
    parts = training.train(data, tmp_path / "parts", **flags)
    assert parts.code == 0, parts.output[-3000:]
    one, other = whole.checkpoint(), parts.checkpoint()
    for part in ("model", "last_optimizer_state"):
        assert training.differing(one[part], other[part]) == []


def test_two_ranks_see_every_batch_once_and_stay_alike(data, tmp_path):
    """With CTC beside the decoder, which only batches of speech have."""
    flags = {**FLAGS, "autocast": "none", "max_update": 3, "steps_per_epoch": 2, "update_freq": 1, "eval_wer": None}
    flags |= {"ctc_head": True, "criterion": "slam_label_smoothed_cross_entropy_with_ctc", "eval_listening": True}
    run = training.train(data, tmp_path / "two", ranks=2, **flags)
    assert run.code == 0, run.output[-3000:]
    for log in run.logged("train_inner"):
        assert log["speech_translation_loss"] > 0 and log["ctc_loss"] > 0
        parts = log["speech_translation_loss"], log["text_translation_loss"]
        assert min(parts) <= log["loss"] <= max(parts)
    assert {"listening", "ctc_loss", "infinite"} <= run.logged("valid")[-1].keys()
    assert "transcript_vocabulary" not in run.checkpoint()["task_state"], "it is the source vocabulary"


def test_text_items_are_the_lines_of_the_two_files(data):
    """Against the text files themselves."""
    vocabulary, source = Vocabulary.load(data), Vocabulary.load(data / "source")
    setting = TranslationSetting(1, "x, 0", vocabulary, source, None, 1024)
    corpus = TextTranslationShard.open(_Config(), data / "mt/de.source-target", setting)
    texts, translations = ((data / "mt" / f"de.{side}").read_text().splitlines() for side in ("source", "target"))
    items = [corpus.item(i, 0) for i in (0, 5, 37)]
    assert [source.decode(item["source"]) for item in items] == [texts[i] for i in (0, 5, 37)]
    batch = corpus.collate(items)
    dictionary = vocabulary.dictionary
    assert batch["net_input"]["src_tokens"][:, 0].eq(source.dictionary.bos()).all()
    assert batch["net_input"]["prev_output_tokens"][:, 0].eq(dictionary.index("<lang:de>")).all()
    assert [vocabulary.decode(row[row != dictionary.pad()]) for row in batch["target"]] == [
        translations[i] for i in (0, 5, 37)
    ]
    ends = [row[row != dictionary.pad()][-1] for row in batch["target"]]
    assert torch.stack(ends).eq(dictionary.eos()).all()
    assert batch["ntokens"] == int(batch["target"].ne(dictionary.pad()).sum())


def test_an_empty_sentence_is_named_with_its_line(data, tmp_path):
    vocabulary, source = Vocabulary.load(data), Vocabulary.load(data / "source")
    for side, folder, lines in (("source", data / "source", "a b\nc\nd\n"), ("target", data, "w x\n\nz\n")):
        (tmp_path / side).write_text(lines)
        binarize(tmp_path / side, folder, tmp_path / f"x.source-target.{side}")
    setting = TranslationSetting(1, "x, 0", vocabulary, source, None, 1024)
    with pytest.raises(DataError, match=r"x\.source-target\.target: line 2 of its text: found nothing, expected a"):
        TextTranslationShard.open(_Config(), tmp_path / "x.source-target", setting)


class _Config:
    name, max_length, options = "written", 24, {"tgt_lang": "de"}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            lambda plan: plan["corpora"]["written-de"].update(tgt_lang="cs"),
            "found the language 'cs', expected one of en, de",
        ),
        (lambda plan: plan["corpora"]["written-de"].pop("tgt_lang"), "found no language, expected one of en, de"),
        (lambda plan: plan.update(objectives={}), "found the unknown name 'objectives'"),
        (
            lambda plan: plan["corpora"]["told"].update(kind="speech"),
            "expected one of: speech_translation, text_translation",
        ),
    ],
)
def test_what_is_wrong_with_a_plan_is_named(data, tmp_path, change, expected):
    plan = yaml.safe_load((data / "corpora.yaml").read_text())
    change(plan)
    (tmp_path / "corpora.yaml").write_text(yaml.safe_dump(plan))
    flags = {**FLAGS, "max_update": 1, "corpora": tmp_path / "corpora.yaml"}
    with pytest.raises(Exception, match=expected):
        task = training.make_task(Path(data), **flags)
        task.load_dataset("train", epoch=1)
