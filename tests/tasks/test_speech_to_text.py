"""slam_speech_to_text through fairseq's own commands, on tones that spell letters."""

import json
import logging
import os
import re
import shutil
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import sacrebleu
import soundfile
import torch
from fairseq.logging import metrics
from omegaconf import OmegaConf
from torchaudio.functional import edit_distance

from data_prep.text.vocab import train_vocabulary
from slam_plugin.data.audio import frames_in
from slam_plugin.data.errors import DataError
from slam_plugin.data.manifests.manifest import write_manifest
from slam_plugin.data.text.arpa import write_arpa
from slam_plugin.data.text.vocabulary import Vocabulary
from slam_plugin.models.base.trunk import build_trunk
from slam_plugin.models.ctc import SlamCtcModelConfig
from slam_plugin.scoring import counts
from slam_plugin.tasks.speech_to_text import SlamSpeechToTextTask, SlamSpeechToTextTaskConfig
from tests.support.commands import fairseq

PITCHES = {"a": 300, "b": 700, "c": 1300, "d": 2300}
COLUMNS = ["id", "audio", "n_frames", "tgt_text"]
SIZES = {"encoder_dim": 48, "encoder_heads": 4, "encoder_ffn_dim": 96, "speech_layers": 1, "multimodal_layers": 1}
SIZES["subsample_channels"] = 8


def tones(text, random):
    """A tone for each letter, silence for a blank."""
    parts = []
    for letter in text:
        count = int(random.integers(2000, 2600))
        time = np.arange(count) / 16000
        parts.append(0.3 * np.sin(2 * np.pi * PITCHES.get(letter, 0) * time) * np.hanning(count))
    wave = np.concatenate(parts)
    return wave + 0.001 * random.standard_normal(len(wave))


def write_split(folder, split, texts, random):
    rows = []
    for i, text in enumerate(texts):
        wave = tones(text, random)
        soundfile.write(folder / f"utt-{split}-{i}.wav", wave, 16000)
        name = f"utt-{split}-{i}"
        rows.append({"id": name, "audio": f"{name}.wav", "n_frames": frames_in(len(wave)), "tgt_text": text})
    write_manifest(folder / f"{split}.tsv", rows, COLUMNS)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A data folder with 24 training and 7 validation utterances, and 7 other readings of the first as a test set."""
    folder = tmp_path_factory.mktemp("tones")
    random = np.random.default_rng(0)
    texts = [" ".join("".join(random.choice(list("abcd"), 3)) for _ in range(2)) for _ in range(31)]
    for split, start, stop in (("train", 0, 24), ("valid", 24, 31), ("test", 0, 7)):
        write_split(folder, split, texts[start:stop], random)
    train_vocabulary(texts[:24], folder, 50, "char")
    return folder


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """A pre-training checkpoint of a random trunk with rotary positions, which no flag of these tests sets."""
    config = OmegaConf.structured(SlamCtcModelConfig())
    config = {**OmegaConf.to_container(config, enum_to_str=True), **SIZES, "size": "tiny", "positions": "rotary"}
    config.update(conv_kernel=5, conv_norm="group", conv_groups=8, _name="slam_pretraining")
    torch.manual_seed(3)
    trunk = build_trunk(OmegaConf.create(config), vocab_size=30, padding_idx=1)
    path = tmp_path_factory.mktemp("pretrained") / "pretrained.pt"
    history = [{"criterion_name": "C", "optimizer_name": "O", "lr_scheduler_state": {}, "num_updates": 7}]
    weights = {f"trunk.{name}": value for name, value in trunk.state_dict().items()}
    state = {"args": None, "cfg": {"task": {"_name": "slam_pretraining"}, "model": config}, "model": weights}
    state |= {"task_state": {}, "optimizer_history": history}
    torch.save({**state, "extra_state": {"train_iterator": {"epoch": 1}}}, path)
    return path


TASK = ["--task", "slam_speech_to_text"]
OPTIMIZER = ["--optimizer", "slam_adamw", "--lr", "0.004", "--lr-scheduler", "inverse_sqrt", "--warmup-updates", "20"]
COMMON = ["--max-tokens", "1500", "--log-format", "json", "--log-interval", "10", "--no-epoch-checkpoints"]


def train(data, save, *arguments):
    """fairseq-train's output."""
    return fairseq("train", Path(f"{save}.log"), data, *TASK, "--save-dir", save, *OPTIMIZER, *COMMON, *arguments)


def generate(data, save, *arguments):
    """fairseq-generate's output."""
    return fairseq("generate", Path(f"{save}.generate"), data, *TASK, *arguments)


def logged(output, subset="valid"):
    """The JSON objects that fairseq logged of a subset."""
    return [json.loads(line) for line in re.findall(rf"\| {subset} \| (\{{.*\}})", output)]


def generated(output):
    """Hypotheses and references by number."""
    hypotheses = dict(re.findall(r"^D-(\d+)\t[^\t]*\t(.*)$", output, re.M))
    return hypotheses, dict(re.findall(r"^T-(\d+)\t(.*)$", output, re.M))


def copy_of(data, to, *leave_out):
    return shutil.copytree(data, to, ignore=shutil.ignore_patterns(*leave_out, "*.arrow", "*.checked"))


def test_ctc_fine_tunes_and_decodes_without_any_other_file(data, pretrained, tmp_path):
    mine = copy_of(data, tmp_path / "data")
    start = shutil.copy(pretrained, tmp_path / "start.pt")
    flags = ["--arch", "slam_ctc", "--criterion", "slam_ctc", "--pretrained", start, "--dropout", "0"]
    flags += ["--max-update", "110", "--eval-wer", "--best-checkpoint-metric", "wer", "--validate-interval", "20"]
    flags += ["--save-interval", "20"]
    output = train(mine, tmp_path / "save", *flags, "--final-dropout", "0", "--freeze-encoder-updates", "5")
    assert re.search(r"start\.pt: took \d+ tensors", output)
    assert logged(output)[-1]["valid_wer"] == "0"
    assert logged(output)[-1]["valid_infinite"] == "0"

    os.remove(start)
    shutil.rmtree(mine)
    moved = copy_of(data, tmp_path / "elsewhere", "dict.txt", "spm.model", "train*", "valid*")
    arguments = ["--path", tmp_path / "save/checkpoint_best.pt", "--gen-subset", "test"]
    output = generate(moved, tmp_path / "save", *arguments, "--beam", "5", "--scoring", "wer")
    hypotheses, references = generated(output)
    assert len(references) == 7
    assert hypotheses == references
    assert "WER: 0.00" in output

    # Without a word that is there, words of the lexicon are written in its place.
    words = sorted({word for text in references.values() for word in text.split()})
    (tmp_path / "lexicon.txt").write_text("".join(f"{word}\n" for word in words[1:]))
    write_arpa(tmp_path / "lm.arpa", [len(words) + 2, 1], [unigrams(words), [f"-1\t<s> {words[2]}"]])
    flags = ["--lexicon", tmp_path / "lexicon.txt", "--lm", tmp_path / "lm.arpa", "--lm-weight", "0.1"]
    hypotheses, _ = generated(generate(moved, tmp_path / "save", *arguments, "--beam", "50", *flags))
    found = {number: text.split() for number, text in hypotheses.items()}
    assert {word for text in found.values() for word in text} <= set(words[1:])
    assert all(found[i] == text.split() for i, text in references.items() if words[0] not in text.split())


def unigrams(words):
    return ["-99\t<s>\t0", "-1\t</s>", *(f"-2\t{word}\t0" for word in words)]


def test_a_language_model_is_refused_in_training_and_without_ctc(data, tmp_path):
    task = setup(data, hotwords=str(tmp_path / "hotwords.txt"))
    with pytest.raises(ValueError, match="found in training, expected in decoding alone"):
        task.build_model(model_configuration())
    with pytest.raises(ValueError, match="found with a model that is not slam_ctc"):
        task.build_generator([torch.nn.Linear(1, 1)], Namespace(beam=5, lm_weight=1.0))
    with pytest.raises(ValueError, match="--lm-weight: found 0"):
        setup(data, lm="lm.arpa").build_generator([torch.nn.Linear(1, 1)], Namespace(beam=5, lm_weight=0.0))


def test_translation_trains_and_decodes_to_plain_text(data, tmp_path):
    """SentencePiece post-processing, a common flag, changes nothing. Validation scores the text that is printed."""
    sizes = [part for key, value in SIZES.items() for part in ("--" + key.replace("_", "-"), str(value))]
    flags = ["--arch", "slam_speech_to_text_tiny", *sizes, "--decoder-layers", "1", "--autocast", "bf16"]
    flags += ["--criterion", "label_smoothed_cross_entropy", "--label-smoothing", "0.1", "--specaugment"]
    flags += ["--max-update", "30", "--eval-bleu", "--eval-wer", "--eval-args", '{"beam": 3, "max_len_b": 12}']
    flags += ["--best-checkpoint-metric", "bleu", "--maximize-best-checkpoint-metric", "--validate-interval", "10"]
    flags += ["--save-interval", "10"]
    output = train(data, tmp_path / "save", *flags, "--num-workers", "1")
    scores = logged(output)[-1]
    arguments = ["--path", tmp_path / "save/checkpoint_last.pt", "--gen-subset", "valid", "--beam", "3"]
    arguments += ["--max-len-b", "12", "--post-process", "sentencepiece"]
    hypotheses, references = generated(generate(data, tmp_path / "save", *arguments))
    assert all("▁" not in text for text in hypotheses.values())
    words = sum(edit_distance(hypotheses[i].split(), references[i].split()) for i in references)
    characters = sum(edit_distance(hypotheses[i], references[i]) for i in references)
    assert float(scores["valid_wer"]) == pytest.approx(100 * words / 14, abs=0.01)
    assert float(scores["valid_cer"]) == pytest.approx(100 * characters / 49, abs=0.01)
    bleu = sacrebleu.corpus_bleu([hypotheses[i] for i in references], [list(references.values())])
    assert float(scores["valid_bleu"]) == pytest.approx(bleu.score, abs=0.01)


def weights(path):
    return torch.load(path, weights_only=False)["model"]


def test_a_resumed_run_is_the_uninterrupted_one_without_the_pretrained_file(data, pretrained, tmp_path):
    """All augmentation, dropout, freezing and two rates included. Stopped within an epoch, with a worker."""
    start = shutil.copy(pretrained, tmp_path / "start.pt")
    flags = ["--arch", "slam_ctc", "--criterion", "slam_ctc", "--pretrained", start, "--specaugment"]
    flags += ["--freeze-encoder-updates", "3", "--encoder-lr-scale", "0.5", "--disable-validation"]
    flags += ["--state-mask-rate", "0.5", "--channel-mask-rate", "0.3", "--channel-mask-span", "8"]
    flags += ["--speeds", "0.9,1.0,1.1", "--noise-snr", "10,30"]
    flags += ["--num-workers", "1", "--save-interval-updates", "4"]
    train(data, tmp_path / "whole", *flags, "--max-update", "8")
    train(data, tmp_path / "parts", *flags, "--max-update", "4")
    os.remove(start)
    output = train(data, tmp_path / "parts", *flags, "--max-update", "8")
    assert "start.pt: not read, the run resumes from" in output
    whole, parts = (weights(tmp_path / name / "checkpoint_last.pt") for name in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    for name, value in whole.items():
        assert torch.equal(value, parts[name]), name


def test_frozen_trunk_stays_for_its_updates_then_moves(data, pretrained, tmp_path):
    flags = ["--arch", "slam_ctc", "--criterion", "slam_ctc", "--pretrained", pretrained, "--disable-validation"]
    flags += [
        "--freeze-encoder-updates",
        "2",
        "--weight-decay",
        "0.1",
        "--save-interval-updates",
        "1",
        "--max-update",
        "3",
    ]
    train(data, tmp_path / "save", *flags)
    start = {f"encoder.{k}": v for k, v in torch.load(pretrained)["model"].items()}
    frozen, last = (weights(tmp_path / "save" / name) for name in ("checkpoint_1_2.pt", "checkpoint_last.pt"))
    trunk = [name for name in frozen if name.startswith("encoder.")]
    assert all(torch.equal(frozen[name], start[name]) for name in trunk)
    assert not all(torch.equal(last[name], start[name]) for name in trunk)
    assert not torch.equal(frozen["output.weight"], last["output.weight"])


# ---- in this process


def configuration(data, **fields):
    config = OmegaConf.structured(SlamSpeechToTextTaskConfig(data=str(data)))
    other = {"seed": 1, "fp16": False, "bf16": False, "amp": False, "train_subset": "train", "path": None}
    other["max_tokens"] = None
    other.update(save_dir=str(Path(data) / "none"), restore_file="checkpoint_last.pt", finetune_from_model=None)
    config.update({**other, **fields})
    return config


def setup(data, **fields):
    return SlamSpeechToTextTask.setup_task(configuration(data, **fields))


def model_configuration(**fields):
    config = OmegaConf.to_container(OmegaConf.structured(SlamCtcModelConfig()), enum_to_str=True)
    return OmegaConf.create({**config, **SIZES, "_name": "slam_ctc", **fields})


def test_another_vocabulary_is_refused_with_both_hashes_and_places(data, tmp_path):
    train_vocabulary(["e f g", "h i j"], tmp_path, 50, "char")
    task, other = setup(data), setup(tmp_path, path="best.pt")
    with pytest.raises(DataError) as error:
        other.load_state_dict(task.state_dict())
    for part in (task.vocabulary.hash, other.vocabulary.hash, str(data), str(tmp_path), "best.pt"):
        assert part in str(error.value)


def test_a_checkpoint_of_a_task_of_another_kind_is_named(data, tmp_path):
    pretraining = {**setup(data).state_dict(), "objectives": {"span_mlm": {}}}
    expected = "pre.pt: was saved by a task of another kind; found vocabulary, objectives in its state, expected vocab"
    for state in (pretraining, {"objectives": {}}):
        with pytest.raises(DataError, match=expected.replace("vocabulary, obj", "(vocabulary, )?obj")):
            setup(tmp_path, path="pre.pt").load_state_dict(state)


def test_resuming_with_another_vocabulary_is_refused(data, pretrained, tmp_path):
    state = torch.load(pretrained)
    state["task_state"] = setup(data).state_dict()
    (tmp_path / "save").mkdir()
    torch.save(state, tmp_path / "save/checkpoint_last.pt")
    train_vocabulary(["e f g", "h i j"], tmp_path, 50, "char")
    with pytest.raises(DataError) as error:
        setup(tmp_path, save_dir=str(tmp_path / "save")).build_model(model_configuration())
    for part in (setup(data).vocabulary.hash, Vocabulary.load(tmp_path).hash, "checkpoint_last.pt"):
        assert part in str(error.value)


def test_training_needs_a_vocabulary(data, tmp_path):
    with pytest.raises(DataError, match="training needs dict.txt and spm.model, found neither"):
        setup(tmp_path).build_model(model_configuration())


@pytest.mark.parametrize("flag", ["fp16", "bf16", "amp"])
def test_casting_is_refused_with_a_word_on_why(data, flag):
    with pytest.raises(ValueError, match=f"--{flag}: .*--autocast bf16"):
        setup(data, **{flag: True})


def test_an_encoder_rate_needs_the_optimizer_that_heeds_it(data):
    whole = OmegaConf.create({"optimizer": {"_name": "adam"}, "model": model_configuration(encoder_lr_scale=0.1)})
    with pytest.raises(ValueError, match="found --optimizer adam, expected slam_adamw"):
        setup(data).build_model(whole.model)


@pytest.mark.parametrize("text", ["{beam: 5}", "[5]", "[" * 100_000], ids=["no JSON", "a list", "deep"])
def test_bad_eval_args_are_refused_before_data_is_read(data, text):
    with pytest.raises(ValueError, match="--eval-args: found .*expected a JSON object"):
        setup(data, eval_args=text)


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"speeds": [1.0, 3.0]}, "--speeds: found "), ({"noise_snr": [30.0, 10.0]}, "--noise-snr: found ")],
)
def test_bad_perturbations_are_refused_before_data_is_read(data, fields, message):
    with pytest.raises(ValueError, match=message):
        setup(data, **fields)


def test_faults_of_the_data_are_named_before_training(data, tmp_path):
    folder = copy_of(data, tmp_path / "data")
    lines = (folder / "train.tsv").read_text().splitlines()
    lines[2] = lines[2].rsplit("\t", 1)[0] + "\t"
    (folder / "train.tsv").write_text("\n".join(lines) + "\n")
    (folder / "utt-valid-3.wav").write_bytes(b"RIFF")
    task = setup(folder)
    task.build_model(model_configuration())
    with pytest.raises(DataError, match="train.tsv:3: utt-train-1: tgt_text is empty"):
        task.load_dataset("train")
    with pytest.raises(DataError, match="valid.tsv:5: .*utt-valid-3.wav"):
        task.load_dataset("valid")
    with pytest.raises(DataError, match="dev.tsv: there is no such manifest"):
        task.load_dataset("dev")


def test_targets_too_long_for_ctc_are_named(data, tmp_path, caplog):
    folder = copy_of(data, tmp_path / "data")
    lines = (folder / "train.tsv").read_text().splitlines()
    lines[1] = lines[1].rsplit("\t", 1)[0] + "\t" + "abcd" * 20
    (folder / "train.tsv").write_text("\n".join(lines) + "\n")
    task = setup(folder)
    task.build_model(model_configuration())
    with caplog.at_level(logging.WARNING):
        task.load_dataset("train")
    expected = r"1 utterances.*\n.*train.tsv:2: utt-train-0: found \d+ encoder states, expected at least 81"
    assert re.search(expected, caplog.text)


def test_a_split_without_targets_can_be_decoded(data, tmp_path):
    rows = [{"id": "x", "audio": str(data / "utt-test-0.wav"), "n_frames": frames_of(data / "utt-test-0.wav")}]
    write_manifest(tmp_path / "new.tsv", rows, COLUMNS[:3])
    task = setup(tmp_path)
    task.load_state_dict(setup(data).state_dict())
    config = model_configuration(size="tiny", conv_kernel=5, conv_norm="group", conv_groups=8, positions="none")
    model = task.build_model(config, from_checkpoint=True)
    task.load_dataset("new")
    batch = task.dataset("new").collater([task.dataset("new")[0]])
    assert batch["target"] is None
    generator = task.build_generator([model.eval()], Namespace(beam=2))
    assert len(task.inference_step(generator, [model], batch)) == 1


def frames_of(path):
    return frames_in(soundfile.info(path).frames)


def test_augmentation_is_of_training_alone_and_by_epoch_and_row(data):
    task = setup(data, specaugment=True)
    task.build_model(model_configuration())
    for split in ("train", "valid"):
        task.load_dataset(split)
    train_set, valid_set = task.dataset("train"), task.dataset("valid")
    assert valid_set.augment is None and valid_set[4]["masks"] == {}
    train_set.set_epoch(3)
    third, again = train_set[4]["features"], train_set[4]["features"]
    train_set.set_epoch(4)
    assert torch.equal(third, again)
    assert not torch.equal(third, train_set[4]["features"])


def test_batches_hold_neighbors_in_length_and_every_row_once(data):
    task = setup(data)
    task.build_model(model_configuration())
    task.load_dataset("train")
    dataset = task.dataset("train")
    batches = task.get_batch_iterator(dataset, max_tokens=1000, max_positions=task.max_positions()).frozen_batches
    assert sorted(i for batch in batches for i in batch) == list(range(24))
    lengths = [[dataset.num_tokens(i) for i in batch] for batch in batches]
    assert all(len(batch) * max(batch) <= 1000 for batch in lengths)
    assert all(min(a) >= max(b) for a, b in zip(lengths, lengths[1:], strict=False))
    batch = dataset.collater([dataset[i] for i in batches[0]])
    frames = [dataset.num_tokens(i) for i in batches[0]]
    assert dataset.budget == 1000 and batch["net_input"]["padding_mask"].numel() <= 1000
    assert (~batch["net_input"]["padding_mask"]).sum(1).tolist() == frames
    assert batch["target"][:, -1].eq(2).any()
    assert torch.equal(
        batch["net_input"]["prev_output_tokens"][:, 1:][batch["target"][:, :-1] > 2],
        batch["target"][:, :-1][batch["target"][:, :-1] > 2],
    )


HYPOTHESES = ["the cat sat on the mat today", "a dog", "", "one two three four five six"]
REFERENCES = ["the cat sat on a mat today", "a hot dog", "silence", "one two three for five six"]


def reduced(log, parts):
    with metrics.aggregate(new_root=True) as found:
        log(parts)
    return found.get_smoothed_values()


def test_bleu_of_parts_is_the_corpus_bleu():
    parts = [
        counts.bleu_counts(HYPOTHESES[:1], REFERENCES[:1]),
        counts.bleu_counts(HYPOTHESES[1:], REFERENCES[1:]),
    ]
    expected = sacrebleu.corpus_bleu(HYPOTHESES, [REFERENCES]).score
    assert reduced(counts.log_bleu, parts)["bleu"] == pytest.approx(expected, abs=0.005)


def test_error_rates_of_parts_are_the_corpus_rates():
    parts = [counts.error_counts([h], [r]) for h, r in zip(HYPOTHESES, REFERENCES, strict=True)]
    found = reduced(counts.log_errors, parts)
    assert found["wer"] == pytest.approx(100 * (1 + 1 + 1 + 1) / (7 + 3 + 1 + 6), abs=0.005)
    characters = sum(edit_distance(h, r) for h, r in zip(HYPOTHESES, REFERENCES, strict=True))
    assert found["cer"] == pytest.approx(100 * characters / sum(map(len, REFERENCES)), abs=0.005)


def test_meters_hold_plain_numbers_as_ranks_that_were_summed_send_tensors():
    tensors = {key: torch.tensor(float(value)) for key, value in counts.bleu_counts(HYPOTHESES, REFERENCES).items()}
    with metrics.aggregate(new_root=True) as found:
        counts.log_bleu([tensors])
    sums = [meter.sum for name, meter in found.items() if name.startswith("_")]
    assert len(sums) == 10
    assert not any(isinstance(value, torch.Tensor) for value in sums)


def test_nothing_is_logged_where_nothing_was_decoded():
    assert reduced(counts.log_bleu, [{"loss": 1}]) == {}
