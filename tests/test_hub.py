"""The hub against the models themselves: micro checkpoints that fairseq's trainer saved, their data folder deleted."""

import io
import pickle
import shutil
from argparse import Namespace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import soundfile
import torch
from fairseq import options, tasks
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.trainer import Trainer

from data_prep.vocab import train_vocabulary
from slam_plugin import compat, hub
from slam_plugin.data.audio import load_features, log_mel, normalize, read_audio
from slam_plugin.data.errors import DataError
from slam_plugin.data.vocabulary import Vocabulary
from slam_plugin.hub import Slam
from slam_plugin.modules.rotary import rotary_angles

MICRO = ["--encoder-dim=16", "--encoder-heads=2", "--encoder-ffn-dim=32", "--speech-layers=1", "--multimodal-layers=3",
         "--subsample-channels=2", "--conv-groups=2"]  # fmt: skip
DECODER = ["--decoder-dim=16", "--decoder-heads=2", "--decoder-ffn-dim=32", "--decoder-layers=1",
           "--decoder-max-positions=24"]  # fmt: skip
CTC = ["--task=slam_speech_to_text", "--arch=slam_ctc", "--criterion=slam_ctc", *MICRO]
TRANSLATION = ["--task=slam_speech_to_text", "--arch=slam_speech_to_text", "--criterion=label_smoothed_cross_entropy",
               *MICRO, *DECODER, "--eval-bleu"]  # fmt: skip
PRETRAINING = ["--task=slam_pretraining", "--arch=slam_pretraining_tiny", "--criterion=slam_pretraining", *MICRO,
               "--positions=rotary"]  # fmt: skip
CORPORA = """
corpora: {speech: {kind: speech, train: [train.tsv], budget: 1000}}
objectives: {contrastive: {}, masked_prediction: {}}
"""


class Saved(NamedTuple):
    path: Path
    task: tasks.FairseqTask
    model: torch.nn.Module


def save(folder: Path, *flags: str) -> Saved:
    """A checkpoint of an untrained model, as the trainer writes it; its data folder, which it names, is gone."""
    data = folder / "data"
    data.mkdir(parents=True)
    train_vocabulary(["ahoj ryby", "lod jede", "kapitan cte"], data, 40, "char")
    (data / "corpora.yaml").write_text(CORPORA)
    (data / "train.tsv").touch()
    compat.register()
    arguments = [str(data), *flags, "--optimizer=adam", "--lr=0.001", "--cpu", f"--save-dir={folder}"]
    cfg = convert_namespace_to_omegaconf(options.parse_args_and_arch(options.get_training_parser(), arguments))
    task = tasks.setup_task(cfg.task)
    torch.manual_seed(0)
    model = task.build_model(cfg.model)
    with torch.no_grad():  # norms and biases begin as ones and zeros, which would hide what is left out
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    trainer = Trainer(cfg, task, model, task.build_criterion(cfg.criterion))
    trainer.consolidate_optimizer()
    trainer.save_checkpoint(str(folder / "model.pt"), {})
    shutil.rmtree(data)
    return Saved(folder / "model.pt", task, model.eval())


@pytest.fixture(scope="module")
def ctc(tmp_path_factory):
    return save(tmp_path_factory.mktemp("ctc"), *CTC)


@pytest.fixture(scope="module")
def translation(tmp_path_factory):
    return save(tmp_path_factory.mktemp("translation"), *TRANSLATION)


@pytest.fixture(scope="module")
def pretraining(tmp_path_factory):
    return save(tmp_path_factory.mktemp("pretraining"), *PRETRAINING)


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    """Noise of changing colour, of lengths that differ and are not sorted."""
    folder, rng = tmp_path_factory.mktemp("sounds"), np.random.default_rng(0)
    paths = []
    for i, seconds in enumerate((0.31, 1.9, 0.7, 0.7, 1.2)):
        noise = rng.standard_normal(int(seconds * 16000))
        swept = noise * np.sin(np.linspace(0, 40 * (i + 1), len(noise))) + np.convolve(noise, np.ones(8), "same")
        paths.append(str(folder / f"{i}.wav"))
        soundfile.write(paths[-1], 0.05 * swept, 16000)
    return paths


@pytest.fixture
def small_batches(monkeypatch):
    """Several pools of several batches, of several utterances each."""
    monkeypatch.setattr(hub, "POOL", 3)
    monkeypatch.setattr(hub, "BATCH_FRAMES", 250)
    monkeypatch.setattr(hub, "BATCH_TOKENS", 12)


def batch_of(path):
    """Features (1, frames, 80) of one utterance and the mask that says that nothing is padding."""
    features = normalize(load_features(path, ""))[None]
    return {"features": features, "padding_mask": torch.zeros(features.shape[:2], dtype=torch.bool)}


# ---- results


def greedy(saved, path):
    """CTC's best path of one utterance, by the definition: text and log-probability."""
    log_probs = saved.model(**batch_of(path))["logits"][0].log_softmax(-1)
    symbols, score, last = [], 0.0, None
    for frame in log_probs:
        best = int(frame.argmax())
        score += float(frame[best])
        if best != last and best != saved.model.blank:
            symbols.append(saved.task.target_dictionary[best])
        last = best
    return "".join(symbols).replace("▁", " ").strip(), score


@torch.no_grad()
def test_transcribes_as_the_model_itself(ctc, sounds, small_batches):
    slam = Slam.load(ctc.path)
    expected = [greedy(ctc, path) for path in sounds]
    assert len({text for text, _ in expected}) > 1
    assert slam.transcribe(sounds) == [text for text, _ in expected]
    assert [slam.transcribe(path) for path in sounds] == [text for text, _ in expected]
    scores = [written.score for written in slam.write("transcribe", sounds, beam=1)]
    assert scores == pytest.approx([score for _, score in expected], rel=1e-4)


def generated(saved, path, beam):
    generator = saved.task.build_generator([saved.model], Namespace(beam=beam))
    best = saved.task.inference_step(generator, [saved.model], {"net_input": batch_of(path)})[0][0]
    return saved.task.vocabulary.decode(best["tokens"]), float(best["score"])


def test_translates_as_fairseqs_generator(translation, sounds, small_batches):
    slam = Slam.load(translation.path)
    expected_of = {beam: [generated(translation, path, beam) for path in sounds] for beam in (1, 5)}
    assert expected_of[1] != expected_of[5] and any(text for text, _ in expected_of[5])
    for beam, expected in expected_of.items():
        assert slam.translate(sounds, beam=beam) == [text for text, _ in expected]
        scores = [written.score for written in slam.write("translate", sounds, beam)]
        assert scores == pytest.approx([score for _, score in expected], rel=1e-4)
    assert slam.translate(sounds[0]) == expected[0][0]


def rotation(trunk, *lengths):
    """Angles of the micro trunks, whose heads have 8 channels; each length counts from zero."""
    positions = torch.cat([torch.arange(length) for length in lengths])
    return rotary_angles(positions, 8) if trunk.rotary else None


@torch.no_grad()
def layer_outputs(trunk, states):
    """Outputs of the multimodal layers over (time, dim) without padding, one after the other."""
    outputs, states = [], states[None]
    for layer in trunk.multimodal_layers:
        states = layer(states, None, rotation(trunk, states.size(1)))
        outputs.append(states[0])
    return outputs


@torch.no_grad()
def speech_input(trunk, path):
    states, _ = trunk.subsampler(batch_of(path)["features"], None)
    for layer in trunk.speech_layers:
        states = layer(states, None, rotation(trunk, states.size(1)))
    return trunk.speech_projection(states)[0]


def text_ids(saved, text):
    symbols = ["<s>", *("▁" + text.replace(" ", "▁")), "</s>"]
    return torch.tensor([saved.task.target_dictionary.index(symbol) for symbol in symbols])


def same(found, expected):
    assert [len(states) for states in found] == [len(states) for states in expected]
    for states, other in zip(found, expected, strict=True):
        torch.testing.assert_close(states, other, rtol=1e-4, atol=2e-5)


def test_encodes_speech_layer_by_layer(pretraining, ctc, sounds, small_batches):
    slam, trunk = Slam.load(pretraining.path), pretraining.model.trunk
    expected = [layer_outputs(trunk, speech_input(trunk, path)) for path in sounds]
    for layer in (0, 1, 2, -1, -3):
        same(slam.encode(speech=sounds, layer=layer), [outputs[layer] for outputs in expected])
    same([slam.encode(speech=sounds[1])], [expected[1][-1]])
    shapes = []
    with slam.trunk.subsampler.register_forward_pre_hook(lambda _, inputs: shapes.append(tuple(inputs[0].shape[:2]))):
        slam.encode(speech=sounds)
    assert shapes == [(1, 188), (2, 68), (2, 118)]  # pools of three utterances, batches of 250 frames
    same(slam.encode(speech=sounds, pool=True), [outputs[-1].mean(0) for outputs in expected])
    for layer in (3, -4):
        with pytest.raises(DataError, match=f"found {layer}, expected -3 to 2"):
            slam.encode(speech=sounds, layer=layer)
    trunk = ctc.model.encoder.trunk
    same([Slam.load(ctc.path).encode(speech=sounds[1])], [layer_outputs(trunk, speech_input(trunk, sounds[1]))[-1]])


@torch.no_grad()
def test_encodes_text(pretraining, small_batches):
    slam, trunk = Slam.load(pretraining.path), pretraining.model.trunk
    texts = ["ryby", "lod cte ryby", "a", "kapitan jede", "ahoj"]
    inputs = [trunk.text_embedding(text_ids(pretraining, text)[None])[0] for text in texts]
    expected = [layer_outputs(trunk, states) for states in inputs]
    same(slam.encode(text=texts, layer=1), [outputs[1] for outputs in expected])
    same([slam.encode(text=texts[3])], [expected[3][-1]])


@torch.no_grad()
def test_attention_is_what_the_layers_attend_to(pretraining, sounds):
    """Against softmax(QK) written out, over the pair's sequence laid by hand; positions start anew in the speech."""
    trunk, text = pretraining.model.trunk, "lod jede"
    found = Slam.load(pretraining.path).attention(speech=sounds[0], text=text)
    ids, speech = text_ids(pretraining, text), speech_input(trunk, sounds[0])
    words, gap = len(ids), trunk.gap
    assert found.pieces == ["<s>", *"▁lod▁jede", "</s>"]
    assert found.seconds == pytest.approx(0.04 * len(speech))
    assert found.weights.shape == (3, 2, words, len(speech)) and found.weights.dtype == torch.float32
    states = torch.cat((trunk.text_embedding(ids[None])[0], torch.zeros(gap, 16), speech))[None]
    angles = rotation(trunk, words, gap, len(speech))
    assert angles is not None
    padding = torch.zeros(states.shape[:2], dtype=torch.bool)
    padding[:, words : words + gap] = True
    for weights, layer in zip(found.weights, trunk.multimodal_layers, strict=True):
        x = states + 0.5 * layer.first_ffn(states)
        query, key, _ = layer.attention._project(x, angles)
        for head in range(2):
            scores = query[0, head] @ key[0, head].T / 8**0.5
            scores[:, words : words + gap] = -torch.inf
            expected = scores.exp() / scores.exp().sum(1, keepdim=True)
            torch.testing.assert_close(weights[head], expected[:words, words + gap :], rtol=1e-4, atol=1e-6)
        states = layer(states, padding, angles)


# ---- abilities


def test_each_checkpoint_says_what_it_can(ctc, translation, pretraining, sounds):
    slams = [Slam.load(saved.path) for saved in (ctc, translation, pretraining)]
    abilities = [{"transcribe", "encode"}, {"translate", "encode"}, {"encode", "attention"}]
    assert [slam.abilities for slam in slams] == abilities
    with pytest.raises(DataError, match="this checkpoint transcribes and encodes; it cannot translate"):
        slams[0].translate(sounds)
    with pytest.raises(DataError, match="this checkpoint translates and encodes; it cannot transcribe"):
        slams[1].transcribe(sounds)
    with pytest.raises(DataError, match="this checkpoint encodes and shows attention; it cannot transcribe"):
        slams[2].transcribe(sounds)
    with pytest.raises(DataError, match="it cannot show attention"):
        slams[1].attention(speech=sounds[0], text="lod")
    with pytest.raises(DataError, match="no text side"):
        slams[0].encode(text="lod")
    with pytest.raises(ValueError, match="one of speech and text"):
        slams[2].encode(speech=sounds, text="lod")


def test_what_a_decoder_writes_is_told_by_its_validation(tmp_path):
    both = {"transcribe", "translate"}
    for flags, abilities in ((["--eval-wer"], {"transcribe"}), (["--eval-wer", "--eval-bleu"], both), ([], both)):
        saved = save(tmp_path / f"{len(flags)} flags", *TRANSLATION[:-1], *flags)
        assert Slam.load(saved.path).abilities == {"encode", *abilities}


# ---- inputs


def test_every_form_of_the_same_sound(ctc, sounds, tmp_path):
    slam, path = Slam.load(ctc.path), sounds[1]
    samples, rate = soundfile.read(path, dtype="float32")
    integers, _ = soundfile.read(path, dtype="int16")
    np.save(tmp_path / "features.npy", log_mel(read_audio(path)).numpy())
    forms = [path, Path(path), Path(path).read_bytes(), (samples, rate), (samples.astype(np.float64), rate),
             (torch.from_numpy(samples), rate), (integers, rate), (np.stack((samples, samples), 1), rate),
             str(tmp_path / "features.npy")]  # fmt: skip
    states = slam.encode(speech=forms)
    same(states, [states[0]] * len(forms))
    low = io.BytesIO()
    soundfile.write(low, samples[::2], 8000, format="WAV", subtype="FLOAT")
    same([slam.encode(speech=(samples[::2], 8000))], [slam.encode(speech=low.getvalue())])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (b"", "input 1: .* cannot be decoded"),
        (b"RIFF and no more", "input 1: .* cannot be decoded"),
        ((np.zeros(0, np.float32), 16000), "input 1: .*holds no samples"),
        ((np.zeros(399, np.float32), 16000), "input 1: 399 samples .* less than one window"),
        ((np.zeros(800, np.float32), 16000), r"input 1: 3 frames \(0.03 s\), expected 8 to 3000"),
        ((np.zeros(31 * 16000, np.float32), 16000), r"input 1: 3098 frames \(30.98 s\), expected 8 to 3000"),
        ((np.full(16000, np.nan, np.float32), 16000), "input 1: .*infinite or no number"),
        ((np.zeros(16000, np.uint8), 16000), "input 1: found an array of uint8, expected one of int16"),
        ((np.zeros((2, 16000), np.float32), 16000), r"input 1: .*\(2, 16000\), expected \(samples,\)"),
        ((np.zeros(16000, np.float32), 0), "input 1: .* at 0 Hz is no sound"),
        ("nowhere.wav", "^nowhere.wav: there is no such file"),
    ],
)
def test_bad_speech_is_named(ctc, sounds, source, message):
    with pytest.raises(DataError, match=message):
        Slam.load(ctc.path).transcribe([sounds[0], source])


def test_bad_files_are_named_by_path(ctc, sounds, tmp_path):
    slam = Slam.load(ctc.path)
    cut = Path(sounds[0]).read_bytes()[:30]
    for name, content in (("empty.wav", b""), ("text.flac", b"no sound"), ("cut.wav", cut)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=f"{name}: "):
            slam.transcribe(str(tmp_path / name))


def test_other_input(pretraining, ctc):
    slam = Slam.load(pretraining.path)
    with pytest.raises(DataError, match="input 1: the text is empty"):
        slam.encode(text=["lod", " "])
    for wrong in (np.zeros(16000), 3, (16000, np.zeros(16000))):
        with pytest.raises(TypeError, match="expected a path, bytes"):
            slam.encode(speech=wrong)
    assert slam.encode(speech=[]) == []
    assert isinstance(Slam.load(ctc.path).transcribe((np.zeros(16000, np.float32), 16000)), str)  # silence


def test_a_stream_goes_on_after_a_bad_input(ctc, sounds, small_batches):
    slam = Slam.load(ctc.path)
    mixed = [sounds[0], "nowhere.wav", *sounds[1:], b""]
    results = list(slam.write("transcribe", iter(mixed), beam=1))
    assert [i for i, result in enumerate(results) if isinstance(result, DataError)] == [1, len(mixed) - 1]
    assert [r.text for r in results if not isinstance(r, DataError)] == slam.transcribe(sounds)


# ---- checkpoints


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
    trained_in_bf16 = save(tmp_path / "bf16", *TRANSLATION, "--autocast=bf16")
    expected = Slam.load(translation.path).encode(speech=sounds[1])
    torch.testing.assert_close(Slam.load(trained_in_bf16.path).encode(speech=sounds[1]), expected, rtol=0, atol=0)
    slam = Slam.load(translation.path, bf16=True)
    assert slam.model.encoder.config.autocast == slam.model.decoder.config.autocast == "bf16"
    found = slam.encode(speech=sounds[1])
    assert found.dtype == torch.float32
    assert 0 < (found - expected).abs().max() < 0.1 * expected.abs().max()
    assert isinstance(slam.translate(sounds[0]), str)


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
        with pytest.raises(DataError, match="other.pt: is no checkpoint of fairseq"):
            Slam.load(path)
    whole = ctc.path.read_bytes()
    for content in (b"", b"ahoj\n", pickle.dumps({"cfg": None}), whole[: len(whole) // 2], whole[: -len(whole) // 50]):
        path.write_bytes(content)
        with pytest.raises(DataError, match="other.pt: is no checkpoint, or one that was cut short"):
            Slam.load(path)
    state = torch.load(ctc.path, weights_only=True)
    state["cfg"]["task"]["_name"] = "translation"
    torch.save(state, path)
    with pytest.raises(DataError, match="other.pt: is a checkpoint of the task translation, expected slam_pretraining"):
        Slam.load(path)


def test_a_device_that_is_not_there(ctc, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for device in ("cuda", "abacus"):
        with pytest.raises(DataError, match=f"device: found '?{device}"):
            Slam.load(ctc.path, device=device)
