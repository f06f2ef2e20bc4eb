"""Every moment of a step is counted once, for the part it belongs to. A fake clock replaces CPU time."""

from pathlib import Path

import pytest
import soundfile
import yaml
from fairseq.optim import FairseqOptimizer

from benchmarks import corpus, share
from benchmarks.figures import SCALES
from slam_plugin.criterions.pretraining import SlamPretrainingCriterion
from slam_plugin.data.constants import SAMPLE_RATE
from slam_plugin.data.manifests.manifest import Manifest
from slam_plugin.data.shards.speech import SpeechShard
from slam_plugin.modules.trunk import Trunk

SMOKE = SCALES["smoke"]


class Clock:
    """Clock that only advances by the cost that a call is given."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def costing(self, seconds, call):
        def run(*args, **kwargs):
            self.now += seconds
            return call(*args, **kwargs)

        return run


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    return corpus.sound_corpus(tmp_path_factory.mktemp("sounds"), 16)


def test_a_moment_belongs_to_the_innermost_part():
    clock = Clock()
    stopwatch = share.Stopwatch(clock)
    inner = stopwatch.timed("forward", clock.costing(5.0, lambda: None))
    outer = stopwatch.timed("criterion and logging", clock.costing(2.0, inner))
    clock.now += 1.0
    outer()
    inner()
    seconds = stopwatch.seconds()
    assert {part: spent for part, spent in seconds.items() if spent} == {
        "criterion and logging": 2.0,
        "forward": 10.0,
        "rest": 1.0,
    }
    assert list(seconds) == [*share.PARTS, "rest"]


def test_what_was_before_a_reset_is_forgotten():
    clock = Clock()
    stopwatch = share.Stopwatch(clock)

    def call():
        clock.now += 3.0
        stopwatch.reset()
        clock.now += 4.0

    stopwatch.timed("items", call)()
    assert stopwatch.seconds()["items"] == 4.0
    assert sum(stopwatch.seconds().values()) == 4.0


def test_an_error_leaves_the_part():
    clock = Clock()
    stopwatch = share.Stopwatch(clock)

    def fail():
        raise OSError

    with pytest.raises(OSError):
        stopwatch.timed("items", fail)()
    clock.now += 1.0
    assert stopwatch.seconds()["rest"] == 1.0


def test_a_step_is_shared_out_among_its_parts(sounds, monkeypatch):
    clock = Clock()
    for cost, owner, name in (
        (1.0, SpeechShard, "item"),  # pairs call it as well
        (10.0, SpeechShard, "collate"),
        (100.0, Trunk, "forward"),
        (1000.0, FairseqOptimizer, "backward"),
        (10_000.0, SlamPretrainingCriterion, "forward"),
    ):
        monkeypatch.setattr(owner, name, clock.costing(cost, getattr(owner, name)))
    seconds = share.seconds_of_a_step(sounds, SMOKE._replace(rounds=6), "none", clock)
    assert seconds.pop("items") >= 2  # one utterance a batch at least, in two batches of speech
    assert {part: spent for part, spent in seconds.items() if spent} == {
        "collating": 20.0,
        "forward": 300.0,
        "backward": 3000.0,
        "criterion and logging": 30_000.0,
    }


def test_methods_are_their_own_again_afterwards():
    before = [getattr(owner, name) for methods in share.PARTS.values() for owner, name in methods]
    with share.watched(share.Stopwatch(Clock())):
        during = [getattr(owner, name) for methods in share.PARTS.values() for owner, name in methods]
    after = [getattr(owner, name) for methods in share.PARTS.values() for owner, name in methods]
    assert before == after
    assert not set(before) & set(during)


def test_shares_add_up_and_say_what_was_measured(tmp_path, capsys, monkeypatch):
    """Each corpus and each precision is measured once. The other two pairs reuse the figures of their corpus."""
    measured, measure = {}, share.seconds_of_a_step

    def shorter(corpus, scale, autocast):
        if corpus not in measured:
            measured[corpus] = measure(corpus, scale, "none" if not measured else "bf16")
        return measured[corpus]

    monkeypatch.setattr(share, "seconds_of_a_step", shorter)
    found = share.figures(SMOKE._replace(data=tmp_path / "nothing"))
    assert f"no stats.json in {tmp_path / 'nothing'}: measured on generated" in capsys.readouterr().out
    sums = [figure for figure in found if figure.goal]
    parts = [figure for figure in found if not figure.goal]
    assert [figure.name for figure in sums] == [
        f"outside the model, {features}, {numbers}"
        for features in ("cached features", "FLAC")
        for numbers in ("fp32", "bf16")
    ]
    assert all("generated sounds" in figure.meaning for figure in found)
    assert len(parts) == len(share.PARTS) + 1
    assert sum(figure.value for figure in parts) == pytest.approx(1.0)
    model = sum(figure.value for figure in parts if figure.name.endswith(share.MODEL))
    assert sums[0].value == pytest.approx(1.0 - model)
    assert len(measured) == 2 and all(0 < spent for figure in sums for spent in figure.cpu_seconds.values())


def test_the_generated_corpus_is_what_its_manifests_say(sounds):
    for path in ("speech/train.tsv", "pairs/train.tsv"):
        manifest = Manifest.open(sounds.folder / path)
        assert len(manifest) == 16
        for row in range(len(manifest)):
            sound = soundfile.info(Path(manifest.path.parent, manifest.value(row, "audio")))
            assert (sound.format, sound.samplerate) == ("FLAC", SAMPLE_RATE)
            assert manifest.value(row, "tgt_text").strip()


def test_training_starts_with_every_kind_under_the_budget(tmp_path):
    path = corpus.training_file(4800, tmp_path / "corpora.yaml")
    asked, given = (yaml.safe_load(file.read_text()) for file in (path, corpus.CORPORA))
    assert asked["stages"] == {0: ["speech", "text", "pairs"]}
    assert asked["objectives"] == given["objectives"]
    for name, section in given["corpora"].items():
        section.pop("valid")
        assert asked["corpora"][name] == {**section, "budget": 2 * section["budget"]}


def test_a_budget_holds_the_longest_utterance(tmp_path):
    path = corpus.training_file(100, tmp_path / "corpora.yaml")
    for section in yaml.safe_load(path.read_text())["corpora"].values():
        assert section["budget"] == section["max_length"]
