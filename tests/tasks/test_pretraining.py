"""Pre-training as fairseq-train runs it: what is trained at which step, what is logged, what a step computes."""

import itertools
import json
import math
import os
import struct
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from slam_plugin.criterions.pretraining import SlamPretrainingCriterion
from slam_plugin.data.plan.dataset import MultiCorpusDataset
from slam_plugin.objectives.base import counts_key
from tests.support import training

SPEECH = {
    "contrastive_loss",
    "contrastive_accuracy",
    "contrastive_chance",
    "diversity_loss",
    "temperature",
    "masked_prediction_loss",
    "masked_prediction_accuracy",
}
CODES = {"code_perplexity", "codes_used", "masked_prediction_chance"}  # over a whole validation set
TEXT = {"span_mlm_loss", "span_mlm_accuracy", "span_mlm_chance"}
PAIRS = {
    "tlm_span_mlm_loss",
    "tlm_span_mlm_accuracy",
    "tlm_contrastive_loss",
    "tlm_contrastive_accuracy",
    "tlm_masked_prediction_loss",
    "tlm_masked_prediction_accuracy",
    "stm_loss",
    "stm_accuracy",
    "stm_chance",
}
ALWAYS = {"loss", "tokens", "frames", "audio_seconds_per_second"}
TRAINING = ALWAYS | {"data_wait", "num_updates", "lr", "gnorm"}
# In place of the package wandb, which is large: it writes what it is given, a line each.
WANDB = """
import json
from types import SimpleNamespace

run = None
config = SimpleNamespace(update=lambda values, **options: None)

def init(project, name):
    global run
    run = write("run", project + "/" + name, 0) or True

def log(values, step):
    for name, value in values.items():
        write(name, value, step)

def write(name, value, step):
    with open(FILE, "a") as file:
        file.write(json.dumps([name, step, value]) + "\\n")
"""


def test_logs_what_each_stage_trains_though_stages_change_inside_epochs(reference):
    logs = reference.logged("train_inner")
    assert [log["num_updates"] for log in logs] == list(range(1, training.UPDATES + 1))
    # Two plan steps an update: text joins at step 2, pairs at step 5, the last one of the first epoch.
    for update, log in enumerate(logs, 1):
        expected = SPEECH | (TEXT if update > 1 else set()) | (PAIRS if update > 2 else set())
        assert TRAINING | expected <= log.keys()
        assert not (SPEECH | TEXT | PAIRS | CODES) - expected & log.keys()
        assert all(math.isfinite(value) for value in log.values())
        assert (log["tokens"] > 0) == (update > 1) and log["frames"] > 0


def test_every_log_of_a_stage_has_the_same_keys(reference):
    assert len({frozenset(log) for log in reference.logged("train_inner")[2:]}) == 1
    assert len({frozenset(log) for log in reference.logged("train")}) == 1
    valid = reference.logged("valid")
    assert len(valid) == len(reference.logged("valid_told")) == training.UPDATES
    # Two kinds agree or not from the stage on that trains both.
    agreement = [{key for key in log if key.startswith("agreement_")} for log in valid]
    assert all(earlier <= later for earlier, later in itertools.pairwise(agreement)) and len(agreement[-1]) == 3
    found = {frozenset(log) - {"best_loss"} - kinds for log, kinds in zip(valid, agreement, strict=True)}
    assert len(found) == 1
    assert ALWAYS | SPEECH | CODES | TEXT | PAIRS <= valid[0].keys()


def test_a_subset_of_one_corpus_logs_its_objectives_alone(reference):
    for log in reference.logged("valid_told"):
        assert ALWAYS | PAIRS <= log.keys()
        assert not (SPEECH | CODES | TEXT) & log.keys()


def test_two_ranks_log_what_one_logs(reference, reference_of_two):
    for tag in ("train_inner", "train", "valid", "valid_told"):
        one, two = reference.logged(tag), reference_of_two.logged(tag)
        assert [log.keys() for log in one] == [log.keys() for log in two]
    # The validation data are the same ones, cut into as many batches or more.
    for key in ("span_mlm_chance", "stm_chance", "contrastive_chance"):
        assert reference_of_two.logged("valid")[0][key] == pytest.approx(reference.logged("valid")[0][key], abs=0.02)


def test_epochs_visit_the_shards_in_turn(reference):
    opened = [line for line in reference.output.splitlines() if "talk, " in line and "valid" not in line]
    assert [line.partition("speech/")[2][:1] for line in opened[-3:]] == ["a", "b", "a"]


@pytest.fixture(scope="module")
def by_ratio(toy, tmp_path_factory) -> tuple[training.Run, Path]:
    """The command as users type it, in mode ratio, and its folder, with the files of two trackers."""
    folder = tmp_path_factory.mktemp("by_ratio")
    for part in toy.iterdir():
        if part.name != "corpora.yaml":
            (folder / part.name).symlink_to(part)
    training.write_corpora(folder, lambda c: c.update(mode="ratio", stages={0: ["speech", "text", "pairs"]}))
    flags = {"update_freq": 1, "steps_per_epoch": 8, "valid_subset": "valid_prose", "autocast": "none"}
    trackers = {"tensorboard_logdir": folder / "board", "wandb_project": "toys"}
    arguments = training.command(folder, folder / "out", **flags, **trackers)
    (folder / "packages").mkdir()
    (folder / "packages/wandb.py").write_text(f"FILE = {str(folder / 'wandb.jsonl')!r}\n{WANDB}")
    path = os.pathsep.join([str(folder / "packages"), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path}
    program = Path(sys.executable).parent / "fairseq-train"
    done = subprocess.run([program, *arguments], env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return training.Run(done.returncode, done.stdout + done.stderr, folder / "out"), folder


def test_mode_ratio_trains_one_kind_a_step_in_the_proportion_of_the_quotas(by_ratio):
    kinds = {(True, False): "speech", (False, True): "text", (True, True): "pairs"}
    logs = by_ratio[0].logged("train_inner")
    seen = [kinds[log["frames"] > 0, log["tokens"] > 0] for log in logs]
    assert len(seen) == training.UPDATES
    for four in (seen[:4], seen[4:]):
        assert Counter(four) == {"speech": 1, "text": 2, "pairs": 1}
    for kind, log in zip(seen, logs, strict=True):
        keys = {"speech": SPEECH, "text": TEXT, "pairs": PAIRS}[kind]
        assert keys <= log.keys() and not (SPEECH | TEXT | PAIRS) - keys & log.keys()


def test_tensorboard_shows_every_objective(by_ratio):
    run, folder = by_ratio
    board = folder / "board"
    assert SPEECH | TEXT | PAIRS | TRAINING - {"num_updates"} <= _scalars(board / "train_inner")
    assert TEXT | ALWAYS <= _scalars(board / "valid_prose")
    assert run.logged("valid_prose")


def test_weights_and_biases_gets_every_number_of_the_log_at_its_update(by_ratio):
    run, folder = by_ratio
    first, *rest = map(json.loads, (folder / "wandb.jsonl").read_text().splitlines())
    assert first == ["run", 0, "toys/out"] and "run" not in {name for name, *_ in rest}
    found = {(name, step): value for name, step, value in rest}
    left_out = {"epoch", "update", "num_updates"}
    logged = {
        (f"{tag}/{name}", values["num_updates"]): value
        for tag, values in run.logs
        for name, value in values.items()
        if name not in left_out
    }
    assert {name.split("/")[0] for name, _ in logged} == {"train_inner", "train", "valid_prose"}
    assert found == pytest.approx(logged, rel=1e-4, abs=1e-4)


def _scalars(folder: Path) -> set[str]:
    """The tags of an event file: records of a length (8 bytes), a check sum (4), the event and a check sum (4)."""
    from tensorboardX.proto.event_pb2 import Event

    (file,) = folder.glob("events*")
    data, place, tags = file.read_bytes(), 0, set()
    while place < len(data):
        (length,) = struct.unpack_from("<Q", data, place)
        event = Event.FromString(data[place + 12 : place + 12 + length])
        tags |= {value.tag for value in event.summary.value}
        place += length + 16
    return tags


def test_a_step_is_the_weighted_sum_over_kinds_of_their_mean_loss(own_toy):
    weights = {"contrastive": 0.5, "masked_prediction": 2.0, "span_mlm": 1.5, "tlm": 0.7, "stm": 3.0}

    def weigh(corpora):
        corpora["stages"] = {0: ["speech", "text", "pairs"]}
        corpora["quota"] = {"speech": 2, "text": 3, "pairs": 1}
        for name, weight in weights.items():
            corpora["objectives"][name]["weight"] = weight

    training.write_corpora(own_toy, weigh)
    task = training.make_task(own_toy)
    task.load_dataset("train")
    (step, *_) = task.get_batch_iterator(task.datasets["train"]).next_epoch_itr()
    assert [batch["kind"] for batch in step["batches"]] == ["speech"] * 2 + ["text"] * 3 + ["pairs"]

    model = training.build_model(task, dropout=0.0, autocast="none")
    loss, sample_size, _ = task.train_step(step, model, SlamPretrainingCriterion(task), _Backward, 0)
    assert sample_size == 1
    got = {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}

    model.zero_grad()
    expected = sum(
        weights[name] * output.loss / {"speech": 2, "text": 3, "pairs": 1}[batch["kind"]]
        for batch in step["batches"]
        for name, output in model(batch).items()
    )
    expected.backward()
    assert float(loss) == pytest.approx(float(expected.detach()), rel=1e-5)
    assert got.keys() == {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(got[name], parameter.grad, rtol=1e-4, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


class _Backward:
    """The part of an optimizer that a step uses."""

    @staticmethod
    def backward(loss):
        loss.backward()


def test_validation_logs_means_over_all_items(toy, reference):
    task = training.make_task(toy)
    task.load_dataset("valid")
    model = training.build_model(task)
    model.load_state_dict(reference.checkpoint()["model"])
    model.set_num_updates(training.UPDATES)
    model.eval()
    sums = Counter()
    with torch.no_grad():
        for step in task.get_batch_iterator(task.datasets["valid"]).next_epoch_itr():
            for output in model(step["batches"][0]).values():
                sums.update({name: np.asarray(value, dtype=float) for name, value in output.logs.items()})
    logged = reference.logged("valid")[-1]
    for name, count in {
        "contrastive_loss": "contrastive_frames",
        "masked_prediction_accuracy": "masked_prediction_frames",
        "span_mlm_loss": "span_mlm_tokens",
        "tlm_span_mlm_loss": "tlm_span_mlm_tokens",
        "stm_loss": "stm_pairs",
    }.items():
        assert logged[name] == pytest.approx(sums[name] / sums[count], abs=2e-4)
    counts = sums[counts_key("code")]
    assert counts.shape == (16,)
    share = counts[counts > 0] / counts.sum()
    assert logged["code_perplexity"] == pytest.approx(math.exp(-(share * np.log(share)).sum()), abs=0.01)
    assert logged["codes_used"] == (counts > 0).mean()
    assert logged["masked_prediction_chance"] == pytest.approx(share.max(), abs=1e-4)


def test_the_time_waited_for_data_is_logged_once_a_step(toy, monkeypatch):
    task = training.make_task(toy)
    task.load_dataset("train")
    model, criterion = training.build_model(task), SlamPretrainingCriterion(task)
    item, slowness, asked = MultiCorpusDataset.__getitem__, 0.01, []

    def slow(self, key):
        asked.append(key)
        time.sleep(slowness)
        return item(self, key)

    monkeypatch.setattr(MultiCorpusDataset, "__getitem__", slow)
    steps = iter(task.get_batch_iterator(task.datasets["train"]).next_epoch_itr())
    group = [next(steps), next(steps)]
    begin = time.perf_counter()
    logs = [task.train_step(step, model, criterion, _Backward, 0)[2] for step in group]
    assert slowness * len(asked) <= logs[0]["data_wait"] and logs[1]["data_wait"] == 0
    assert [log["data_wait_steps"] for log in logs] == [1, 1]
    next(steps)
    elapsed = time.perf_counter() - begin
    assert task.train_step(group[0], model, criterion, _Backward, 0)[2]["data_wait"] < elapsed


def test_weights_of_another_vocabulary_are_refused_with_both_hashes(toy):
    task = training.make_task(toy)
    model = training.build_model(task)
    weights = model.state_dict()
    theirs = "00" * 32
    weights["vocabulary_hash"] = torch.tensor(list(bytes.fromhex(theirs)), dtype=torch.uint8)
    with pytest.raises(ValueError, match=f"two vocabularies.*{task.vocabulary.hash}.*{theirs}"):
        model.load_state_dict(weights)
