"""How a loaded checkpoint describes itself, and which files are refused."""

import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from data_prep.text.vocab import train_vocabulary
from slam_plugin import hub
from slam_plugin.data.errors import DataError
from slam_plugin.data.text.vocabulary import Vocabulary
from slam_plugin.hub import Slam
from tests.support.checkpoints import save

# ---- abilities


@pytest.fixture(scope="module")
def slams(ctc, translation, joint, normalizer, classifier, pretraining):
    """All kinds of checkpoints, loaded."""
    saved = {"ctc": ctc, "translation": translation, "joint": joint, "normalizer": normalizer}
    saved |= {"classifier": classifier, "pretraining": pretraining}
    return {name: Slam.load(each.path) for name, each in saved.items()}


ABILITIES = {
    "ctc": {"transcribe"},
    "translation": {"translate"},
    "joint": {"translate"},
    "normalizer": {"normalize"},
    "classifier": {"classify"},
    "pretraining": {"attention"},
}


def test_each_checkpoint_says_what_it_can(slams, sounds):
    assert {name: slam.abilities - {"encode"} for name, slam in slams.items()} == ABILITIES
    assert all("encode" in slam.abilities for slam in slams.values())
    asked = {
        "transcribe": lambda slam: slam.transcribe(sounds[0]),
        "translate": lambda slam: slam.translate(sounds[0]),
        "normalize": lambda slam: slam.normalize("lod"),
        "classify": lambda slam: slam.classify("lod"),
        "show attention": lambda slam: slam.attention(speech=sounds[0], text="lod"),
    }
    says = {
        "ctc": "transcribes and encodes",
        "translation": "translates and encodes",
        "joint": "translates and encodes",
        "normalizer": "normalizes and encodes",
        "classifier": "classifies and encodes",
        "pretraining": "encodes and shows attention",
    }
    for name, slam in slams.items():
        for ability, ask in asked.items():
            if ability.removeprefix("show ") in slam.abilities:
                continue
            with pytest.raises(DataError, match=f"model.pt: this checkpoint {says[name]}; it cannot {ability}"):
                ask(slam)


def test_sides_that_are_not_there(slams, sounds):
    for name in ("ctc", "translation"):
        with pytest.raises(DataError, match="fine-tuned on speech and has no text side"):
            slams[name].encode(text="lod")
    for name in ("normalizer", "classifier"):
        with pytest.raises(DataError, match="fine-tuned on text and has no speech side"):
            slams[name].encode(speech=sounds)
    with pytest.raises(DataError, match="fine-tuned on speech and has no text side"):
        slams["translation"].translate(text="lod")
    for arguments in ({}, {"speech": sounds, "text": "lod"}):
        with pytest.raises(ValueError, match="one of speech and text"):
            slams["joint"].encode(**arguments)


def test_each_checkpoint_says_what_it_is(slams, joint):
    parameters = sum(p.numel() for p in joint.model.parameters()) / 1e6
    assert repr(slams["joint"]).split("\n") == [
        f"{joint.path}: translates and encodes",
        "  task       slam_joint_translation",
        f"  model      slam_speech_to_text, tiny, {parameters:.1f}M parameters",
        "  reads      speech of 8 to 3000 frames of 10 ms, text of 1 to 24 tokens",
        "  languages  de, ca",
        "  runs on    cpu, fp32",
    ]
    assert "  labels     bad, good, ugly\n" in repr(slams["classifier"])
    assert "  reads      speech, text\n" in repr(slams["pretraining"])


def test_what_a_model_writes_is_told_by_its_validation(translation, normalizer, ctc, tmp_path):
    """If validation scored nothing, a decoder may transcribe or translate, and CTC transcribes."""
    cases = [
        (translation, {"eval_wer"}, {"transcribe"}),
        (translation, {"eval_wer", "eval_bleu"}, {"transcribe", "translate"}),
        (translation, set(), {"transcribe", "translate"}),
        (ctc, {"eval_bleu"}, {"translate"}),
        (ctc, set(), {"transcribe"}),
        (normalizer, {"eval_wer"}, {"normalize"}),
        (normalizer, {"eval_bleu"}, {"translate"}),
        (normalizer, set(), {"normalize", "translate"}),
    ]
    for saved, scored, abilities in cases:
        flags = {name: name in scored for name in ("eval_wer", "eval_bleu", "eval_accuracy")}
        path = changed(saved, tmp_path / "other.pt", "task", **flags)
        assert Slam.load(path).abilities == {"encode", *abilities}


def changed(saved, path, section, **values):
    """A copy of a checkpoint, as if its training had been configured otherwise."""
    state = torch.load(saved.path, weights_only=True)
    state["cfg"][section].update(values)
    torch.save(state, path)
    return path


# ---- loading


def test_one_file_is_enough(pretraining, sounds, tmp_path):
    """Its data folder and the checkpoint that its trunk came from are gone."""
    earlier = shutil.copy(pretraining.path, tmp_path / "pretrained.pt")
    flags = ["--task=slam_speech_to_text", "--arch=slam_ctc", "--criterion=slam_ctc", f"--pretrained={earlier}"]
    saved = save(tmp_path / "run", *flags)
    Path(earlier).unlink()
    moved = saved.path.rename(tmp_path / "moved.pt")
    shutil.rmtree(saved.path.parent)
    slam = Slam.load(moved)
    assert slam.trunk.positions == "rotary" and isinstance(slam.transcribe(sounds[0]), str)


def test_a_data_folder_with_another_vocabulary_changes_nothing(ctc, sounds):
    data = ctc.path.parent / "data"
    expected = Slam.load(ctc.path).transcribe(sounds)
    data.mkdir()
    try:
        train_vocabulary(["xyz zyx"], data, 40, "char")
        assert Vocabulary.load(data).hash != ctc.task.vocabulary.hash
        assert Slam.load(ctc.path).transcribe(sounds) == expected
    finally:
        shutil.rmtree(data)


def test_bf16_is_asked_for_at_loading(tmp_path, translation, sounds):
    trained_in_bf16 = changed(translation, tmp_path / "bf16.pt", "model", autocast="bf16")
    expected = Slam.load(translation.path).encode(speech=sounds[1])
    torch.testing.assert_close(Slam.load(trained_in_bf16).encode(speech=sounds[1]), expected, rtol=0, atol=0)
    slam = Slam.load(translation.path, bf16=True)
    assert slam.model.encoder.config.autocast == slam.model.decoder.config.autocast == "bf16"
    found = slam.encode(speech=sounds[1])
    assert found.dtype == torch.float32
    assert 0 < (found - expected).abs().max() < 0.1 * expected.abs().max()
    assert isinstance(slam.translate(sounds[0]), str)


def test_a_device_that_is_not_there(ctc, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for device in ("cuda", "abacus", "meta"):
        with pytest.raises(DataError, match=f"device: found '?{device}.* expected (auto, )?cpu"):
            Slam.load(ctc.path, device=device)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(DataError, match="device: found cuda:2, expected cuda:0 to cuda:1"):
        Slam.load(ctc.path, device="cuda:2")


# ---- files that are not checkpoints


class Command:
    def __reduce__(self):
        return (Path.touch, (Path("ran"),))


def test_a_checkpoint_with_code_is_refused(ctc, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    state = torch.load(ctc.path, weights_only=True)
    torch.save({**state, "extra_state": Command()}, "evil.pt")
    with pytest.raises(DataError, match="evil.pt: refused"):
        Slam.load("evil.pt")
    assert not Path("ran").exists()
    pickle.loads(pickle.dumps(Command()))
    assert Path("ran").exists()


def test_files_that_are_no_checkpoint_of_ours(ctc, tmp_path):
    path = tmp_path / "other.pt"
    with pytest.raises(DataError, match="other.pt: there is no such checkpoint"):
        Slam.load(path)
    for content in ({"weight": torch.zeros(2)}, torch.zeros(2), [1, 2]):
        torch.save(content, path)
        with pytest.raises(DataError, match="other.pt: is not a checkpoint of fairseq"):
            Slam.load(path)
    whole = ctc.path.read_bytes()
    for content in (b"", b"ahoj\n", pickle.dumps({"cfg": None}), whole[: len(whole) // 2], whole[: -len(whole) // 50]):
        path.write_bytes(content)
        with pytest.raises(DataError, match="other.pt: is not a checkpoint, or is truncated"):
            Slam.load(path)
    state = torch.load(ctc.path, weights_only=True)
    state["cfg"]["task"]["_name"] = "translation"
    torch.save(state, path)
    with pytest.raises(DataError, match="other.pt: found a checkpoint of the task translation, expected one of slam_"):
        Slam.load(path)


def test_the_callers_logging_is_left_alone():
    """fairseq sets up logging when it is imported: nothing of that may reach a program that imports the API."""
    program = "import logging, slam_plugin.hub\nprint(logging.getLevelName(logging.root.level), logging.root.handlers)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "WARNING []"


def test_a_recording_is_searched_as_widely_as_by_the_method_of_its_ability(monkeypatch):
    beams = []

    def found(slam, ability, speech, beam, *others):
        beams.append(beam)
        return iter([None])

    monkeypatch.setattr(hub, "transcripts", found)
    slam = object.__new__(hub.Slam)
    for options in ({}, {"ability": "translate"}, {"ability": "translate", "beam": 2}):
        slam.recordings("a.wav", **options)
    assert beams == [1, 5, 2]
