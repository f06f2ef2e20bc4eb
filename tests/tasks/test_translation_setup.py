"""slam_translation set up in this process: vocabularies, tags, and faults named before training."""

import logging
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from fairseq import checkpoint_utils
from fairseq.logging import metrics
from omegaconf import OmegaConf

from data_prep.text.vocab import train_vocabulary
from slam_plugin.data.errors import DataError
from slam_plugin.data.text.vocabulary import Vocabulary
from slam_plugin.data.workers import SharedBatches
from slam_plugin.models.base.trunk import build_trunk
from slam_plugin.models.base.warm_start import set_architecture
from slam_plugin.models.speech_to_text import SlamSpeechToText, SlamSpeechToTextModelConfig
from slam_plugin.models.text_to_text import SlamTextToTextModelConfig
from slam_plugin.scoring import counts
from slam_plugin.tasks.translation import SlamTranslationTask, SlamTranslationTaskConfig
from tests.support.checkpoints import task_of
from tests.support.normalization import ROWS, SIZES, SPOKEN, WRITTEN, build, write_pair


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("normalization")
    build(folder)
    return folder


def configuration(data, **fields):
    config = OmegaConf.structured(SlamTranslationTaskConfig(data=str(data)))
    other = {"seed": 1, "fp16": False, "bf16": False, "amp": False, "train_subset": "train", "path": None}
    other.update(save_dir=str(Path(data) / "none"), restore_file="checkpoint_last.pt", finetune_from_model=None)
    config.update({**other, **fields})
    return config


def setup(data, **fields):
    return SlamTranslationTask.setup_task(configuration(data, **fields))


MODELS = {"slam_text_to_text": SlamTextToTextModelConfig, "slam_speech_to_text": SlamSpeechToTextModelConfig}


def model_configuration(name="slam_text_to_text", **fields):
    config = OmegaConf.to_container(OmegaConf.structured(MODELS[name]()), enum_to_str=True)
    return OmegaConf.create({**config, **SIZES, "_name": name, **fields})


def training_task(data, **fields):
    task = setup(data, **fields)
    task.build_model(model_configuration())
    return task


def checkpoint_of(config, weights, task_state, path):
    history = [{"criterion_name": "C", "optimizer_name": "O", "lr_scheduler_state": {}, "num_updates": 7}]
    model = OmegaConf.to_container(config)
    cfg = {"task": {"_name": task_of(model["_name"])}, "model": model}
    state = {"args": None, "cfg": cfg, "model": weights, "task_state": task_state}
    torch.save({**state, "optimizer_history": history, "extra_state": {"train_iterator": {"epoch": 1}}}, path)
    return path


def pretrained(vocabulary, path):
    """A pre-training checkpoint with rotary positions, which no configuration here sets, and its trunk."""
    config = model_configuration(name="slam_text_to_text", positions="rotary")
    set_architecture(config, None)
    config._name = "slam_pretraining"
    torch.manual_seed(3)
    trunk = build_trunk(config, len(vocabulary.dictionary), 1)
    weights = {f"trunk.{name}": value for name, value in trunk.state_dict().items()}
    return checkpoint_of(config, weights, {"vocabulary": vocabulary.state()}, path), trunk


def test_text_side_is_the_pretrained_one_where_the_vocabulary_is(data, tmp_path):
    start, trunk = pretrained(Vocabulary.load(data), tmp_path / "start.pt")
    model = setup(data).build_model(model_configuration(pretrained=str(start)))
    own, theirs = model.encoder.trunk.state_dict(), trunk.state_dict()
    assert own and all(torch.equal(value, theirs[name]) for name, value in own.items())
    assert set(theirs) - set(own) and model.encoder.trunk.positions == "rotary"


def test_another_vocabulary_is_read_from_its_own_folder_or_refused(data, tmp_path):
    folder = shutil.copytree(data, tmp_path / "data")
    train_vocabulary(WRITTEN, tmp_path / "other", 90)
    read = Vocabulary.load(tmp_path / "other")
    start, _ = pretrained(read, tmp_path / "start.pt")
    with pytest.raises(DataError) as error:
        setup(folder).build_model(model_configuration(pretrained=str(start)))
    assert read.hash in str(error.value) and Vocabulary.load(data).hash in str(error.value)

    shutil.copytree(tmp_path / "other", folder / "source")
    write_pair(folder, "valid", WRITTEN, SPOKEN, {"written": folder / "source"})
    task = setup(folder)
    model = task.build_model(model_configuration(pretrained=str(start)))
    assert model.encoder.trunk.text_embedding.tokens.num_embeddings == len(read.dictionary)
    assert model.decoder.embed_tokens.num_embeddings == len(task.vocabulary.dictionary)
    task.load_dataset("valid")
    item = task.dataset("valid")[1]
    assert read.decode(item["source"]) == WRITTEN[1] and task.vocabulary.decode(item["target"]) == SPOKEN[1]


def test_a_speech_translator_trained_on_text_as_well_decodes_text(data, tmp_path):
    vocabulary = Vocabulary.load(data)
    dictionaries = {"source_vocabulary": vocabulary, "target_dictionary": vocabulary.dictionary}
    config = model_configuration(name="slam_speech_to_text")
    set_architecture(config, None)
    torch.manual_seed(0)
    model = SlamSpeechToText.build_model(config, SimpleNamespace(**dictionaries)).eval()
    states = {name: vocabulary.state() for name in ("vocabulary", "source_vocabulary")}
    path = checkpoint_of(config, model.state_dict(), states, tmp_path / "joint.pt")
    alone = tmp_path / "alone"
    alone.mkdir()
    for file in data.glob("valid.written-spoken.written.*"):
        shutil.copy(file, alone)
    task = setup(alone, path=str(path))
    (loaded,), _ = checkpoint_utils.load_model_ensemble([str(path)], task=task)
    task.load_dataset("valid")
    batch = task.dataset("valid").collater([task.dataset("valid")[i] for i in (0, 7)])
    assert batch["target"] is None
    search = task.build_generator([loaded.eval()], SimpleNamespace(beam=2, max_len_b=5))
    with torch.no_grad():
        expected = model(**{**batch["net_input"], "prev_output_tokens": torch.tensor([[2], [2]])})[0][:, 0].log_softmax(
            -1
        )
    for row, nbest in enumerate(task.inference_step(search, [loaded], batch)):
        first = nbest[0]["tokens"][0]
        assert nbest[0]["positional_scores"][0] == pytest.approx(float(expected[row, first]), abs=1e-5)

    checkpoint_of(config, model.state_dict(), {"vocabulary": vocabulary.state()}, tmp_path / "speech.pt")
    with pytest.raises(DataError, match=r"speech\.pt: found a model that does not translate text"):
        path = tmp_path / "speech.pt"
        checkpoint_utils.load_model_ensemble([str(path)], task=setup(alone, path=str(path)))


def test_the_decoder_starts_with_the_tag_of_its_language(data, tmp_path):
    folder = tmp_path / "tagged"
    train_vocabulary([*WRITTEN, *SPOKEN], folder, 120, languages=["spoken", "de"])
    write_pair(folder, "valid", WRITTEN, SPOKEN)
    tags = Vocabulary.load(folder).languages

    def first(**fields):
        task = training_task(folder, **fields)
        task.load_dataset("valid")
        return task.dataset("valid").collater([task.dataset("valid")[0]])["net_input"]["prev_output_tokens"][0, 0]

    assert first() == tags["spoken"] and first(tgt_lang="de") == tags["de"]
    with pytest.raises(DataError, match="found the language 'fr', expected one of spoken, de"):
        first(tgt_lang="fr")
    task = training_task(data, tgt_lang="de")
    with pytest.raises(DataError, match="found the language 'de', expected none"):
        task.load_dataset("valid")


# ---- faults


def test_faults_of_the_data_are_named_before_training(data, tmp_path):
    folder = shutil.copytree(data, tmp_path / "data")
    stem = folder / "train.written-spoken"
    task = training_task(folder)

    def refusal(written, spoken, vocabularies=None):
        write_pair(folder, "train", written, spoken, vocabularies)
        with pytest.raises(DataError) as error:
            task.load_dataset("train")
        return str(error.value)

    assert refusal(WRITTEN, SPOKEN[:-1]) == (
        f"{stem}: found 21 sentences of written and 20 of spoken, expected equal numbers"
    )
    empty = refusal([*WRITTEN[:2], ""], ["", *SPOKEN[:2]])
    assert f"{stem}.written: line 3 of its text: found nothing" in empty
    assert f"{stem}.spoken: line 1 of its text: found nothing" in empty
    train_vocabulary([*WRITTEN, *SPOKEN, "ЖЩЯ жщя"], tmp_path / "large", 300)
    larger = refusal(WRITTEN, SPOKEN, {"spoken": tmp_path / "large"})
    assert re.search(rf"{stem}\.spoken\.bin: sentence \d+ holds symbol \d+, but dict.txt has \d+", larger)
    Path(f"{stem}.spoken.idx").unlink()
    with pytest.raises(DataError, match=r"train\.written-spoken\.spoken\.idx: not found"):
        task.load_dataset("train")
    with pytest.raises(DataError, match=r"dev\.written-spoken\.written\.idx: not found"):
        task.load_dataset("dev")


@pytest.mark.parametrize("subset", ["train", "dev"])
def test_batches_of_workers_are_shared_in_training_and_validation(data, subset):
    task = training_task(data)
    task.load_dataset("train")
    task.datasets = {subset: task.dataset("train")}
    for _ in range(2):  # fairseq may keep an iterator
        collate = task.get_batch_iterator(task.dataset(subset), max_sentences=4).collate_fn
        assert isinstance(collate, SharedBatches) and not isinstance(collate.collate, SharedBatches)


def test_pairs_that_are_too_long_are_counted_in_training_and_refused_elsewhere(data, caplog):
    task = training_task(data, max_source_positions=12)
    task.load_dataset("train")
    dataset = task.dataset("train")
    fits = [row for row in range(len(ROWS)) if dataset.size(row)[0] <= 12]
    assert 0 < len(fits) < len(ROWS)
    limits = {"max_sentences": 4, "max_positions": task.max_positions()}
    with pytest.raises(DataError, match=r"written\.bin: sentence \d+.* rows that are too long, expected at most 12"):
        task.get_batch_iterator(dataset, **limits)
    with caplog.at_level(logging.WARNING):
        batches = task.get_batch_iterator(dataset, ignore_invalid_inputs=True, **limits).frozen_batches
    assert sorted(row for batch in batches for row in batch) == fits
    assert f"left out {len(ROWS) - len(fits)} of {len(ROWS)} rows as too long: " in caplog.text


def test_classes_have_a_line_for_each_sentence(data, tmp_path):
    folder = shutil.copytree(data, tmp_path / "data")
    (folder / "valid.classes").write_text("date\n")
    training_task(folder).load_dataset("valid")  # without --eval-accuracy the classes are not read
    with pytest.raises(DataError, match=r"valid\.classes: found 1 lines, expected 21"):
        training_task(folder, eval_accuracy=True).load_dataset("valid")


def test_languages_are_those_of_the_files_or_of_the_flags(data, tmp_path):
    folder = shutil.copytree(data, tmp_path / "data")
    task = training_task(folder, source_lang="spoken", target_lang="written")  # the same files the other way
    task.load_dataset("valid")
    assert task.vocabulary.decode(task.dataset("valid")[0]["source"]) == SPOKEN[0]
    for language in ("written", "other"):
        shutil.copy(folder / f"valid.written-spoken.{language.replace('other', 'spoken')}.idx",
                    folder / f"valid.written-other.{language}.idx")  # fmt: skip
    with pytest.raises(DataError, match=r"found .*written-other.*; choose with --source-lang and --target-lang"):
        training_task(folder).load_dataset("valid")
    with pytest.raises(ValueError, match="--source-lang None, --target-lang de: expected both or neither"):
        setup(folder, target_lang="de")


def test_what_does_not_go_together_is_refused(data):
    whole = OmegaConf.create({"criterion": {"report_accuracy": True}, "model": model_configuration()})
    whole.optimizer = {"_name": "slam_adamw"}
    with pytest.raises(ValueError, match="--report-accuracy: found with --eval-accuracy"):
        setup(data, eval_accuracy=True).build_model(whole.model)
    with pytest.raises(ValueError, match="slam_speech_to_text: found with slam_translation, expected slam_text_to_tex"):
        setup(data).build_model(model_configuration(name="slam_speech_to_text"))
    with pytest.raises(ValueError, match="--constraints: found"):
        setup(data).build_dataset_for_inference([], [], constraints=torch.zeros(1))


def test_accuracies_of_parts_are_those_of_the_whole():
    hypotheses, references = ["a b", "c", "é", "", "x"], ["a  b", "d", "e\u0301", "y", "x"]
    codes = [0, 1, 1, 0, 0]
    parts = [
        counts.accuracy_counts(hypotheses[a:b], references[a:b], ("n", "v"), codes[a:b]) for a, b in ((0, 1), (1, 5))
    ]
    assert [list(part) for part in parts] == [list(parts[0])] * 2
    with metrics.aggregate(new_root=True) as found:
        counts.log_accuracy(parts)
    values = found.get_smoothed_values()
    assert (values["accuracy"], values["accuracy_n"], values["accuracy_v"]) == (60, 66.67, 50)
    with metrics.aggregate(new_root=True) as found:
        counts.log_accuracy([{"loss": 1}])
    assert not found.get_smoothed_values()
