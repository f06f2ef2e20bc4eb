"""Folders of ``slam export`` with their own code: transformers loads them without the plugin, with the same outputs."""

import ast
import itertools
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch

from data_prep.text.vocab import train_vocabulary
from slam_plugin.commands import cli
from slam_plugin.data.audio import log_mel, normalize, read_audio
from slam_plugin.data.errors import DataError
from slam_plugin.hub import Slam
from slam_plugin.interchange import sources
from slam_plugin.interchange.export import export_weights
from slam_plugin.interchange.sources import portable_sources
from tests.support import checkpoints, w2v_bert_2

transformers = pytest.importorskip("transformers")

RATE = 16000
CTC_TASK = checkpoints.CTC[:3]
SHAPES = 6


def shape(seed):
    """Flags of a trunk of drawn sizes. Together the seeds have each value of each option."""
    random = np.random.default_rng(seed)
    heads = int(random.choice([2, 4]))
    front_end, frames = [("conv", 4), ("conv", 2), ("stacked", 2)][seed % 3]
    causal = seed // 3 == 1
    options = {
        "encoder-dim": heads * int(random.choice([4, 6, 8])),
        "encoder-heads": heads,
        "encoder-ffn-dim": int(random.integers(20, 60)),
        "speech-layers": int(random.integers(1, 3)),
        "multimodal-layers": int(random.integers(1, 4)),
        "subsample-channels": int(random.integers(1, 4)),
        "front-end": front_end,
        "frames-per-state": frames,
        "conv-kernel": int(random.choice([4, 9] if causal else [3, 5])),
        "conv-padding": "causal" if causal else "same",
        "conv-bias": ["learned", "none"][(seed + seed // 3) % 2],
        "conv-norm": ["group", "layer"][seed % 2],
        "conv-groups": 2,
        "positions": ["none", "rotary", "relative_key"][seed // 2],
        "speech-projection": ["linear", "none"][seed // 2 % 2],
    }
    return [f"--{name}={value}" for name, value in options.items()]


def pieces(data):
    """Replace the vocabulary of characters by one of longer pieces, some of which begin words."""
    for path in data.iterdir():
        path.unlink()
    train_vocabulary([*checkpoints.LINES, "ryby jede", "lod cte"] * 9, data, 30, "bpe")


def bars(data):
    for path in data.iterdir():
        path.unlink()
    train_vocabulary(["a|b c", "b|c a"] * 9, data, 40, "char")


def with_bytes(data):
    for path in data.iterdir():
        path.unlink()
    w2v_bert_2.train_pieces(data / "spm", ["ahoj ryby"] * 9, 280, model_type="bpe", byte_fallback=True)
    lines = (data / "spm.vocab").read_text().splitlines()
    symbols = [line.split("\t")[0] for line in lines if line.split("\t")[0] not in ("<unk>", "<s>", "</s>")]
    (data / "dict.txt").write_text("".join(f"{symbol} 1\n" for symbol in [*symbols, "<mask>"]))


@pytest.fixture(scope="module", autouse=True)
def code(tmp_path_factory):
    """The folder to which transformers copies the code that it runs."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("code")
        patch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", str(folder))
        patch.setattr(sys, "path", [*sys.path])
        yield folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("exported")


@pytest.fixture(scope="module")
def sounds(folder):
    """Sounds of several lengths, of which the last state has 1 to 4 frames."""
    found = [read_audio(path) for path in checkpoints.write_sounds(folder)]
    return [*found, *(0.1 * torch.randn(RATE + 160 * frames) for frames in range(4))]


@pytest.fixture(scope="module")
def recognizer(folder):
    """A CTC model of the paper's shape with pieces, and the folder it becomes."""
    saved = checkpoints.save(folder / "ctc", *checkpoints.CTC, "--positions=none", fill=pieces)
    assert cli.main(["export", "--to", "hf", "--checkpoint", str(saved.path), "--out", str(folder / "hf")]) == 0
    return saved, folder / "hf"


@pytest.fixture(scope="module")
def encoder(folder):
    """A pre-trained model, and the folder it becomes."""
    saved = checkpoints.save(folder / "pretrained", *checkpoints.PRETRAINING, fill=checkpoints.plan)
    export_weights(saved.path, folder / "encoder")
    return saved, folder / "encoder"


def load(folder, kind="AutoModelForCTC", **others):
    model, found = getattr(transformers, kind).from_pretrained(
        folder, trust_remote_code=True, output_loading_info=True, **others
    )
    assert not any(found[name] for name in ("missing_keys", "mismatched_keys", "error_msgs"))
    return model.eval(), found["unexpected_keys"]


def features_of(sounds, front_end):
    """Our features of a batch, noise at padding, and the padding mask."""
    each = [normalize(log_mel(sound), front_end) for sound in sounds]
    padded = torch.randn(len(each), max(map(len, each)), 80)
    padding_mask = torch.ones(padded.shape[:2], dtype=torch.bool)
    for row, features in enumerate(each):
        padded[row, : len(features)] = features
        padding_mask[row, : len(features)] = False
    return padded, padding_mask


def rows_of(saved):
    """The rows of our CTC layer that the folder has: the blank, unknown, the pieces."""
    dictionary = saved.task.target_dictionary
    return [number for number in range(len(dictionary)) if number not in (dictionary.pad(), dictionary.eos())]


@pytest.mark.parametrize("seed", range(SHAPES))
@torch.no_grad()
def test_logits_are_those_of_the_plugin(tmp_path, sounds, seed):
    """On our features of a padded batch, from the waveform on, and without a mask."""
    saved = checkpoints.save(tmp_path / "run", *CTC_TASK, *shape(seed), "--state-mask-rate=0.3")
    report = export_weights(saved.path, tmp_path / "hf")
    model, unexpected = load(tmp_path / "hf")
    assert not unexpected and report[0].endswith("SlamForCTC")
    assert report[-1] == "left out: speech_mask"
    features, padding_mask = features_of(sounds, saved.model.encoder.trunk.front_end)
    found = saved.model(features, padding_mask)
    valid, rows = ~found["padding_mask"], rows_of(saved)
    expected = found["logits"][valid][:, rows]
    theirs = model(features, (~padding_mask).long()).logits
    torch.testing.assert_close(theirs[valid], expected, rtol=0, atol=1e-5)
    assert not theirs[~valid].argmax(-1).any() and (~valid).any()
    extractor = transformers.AutoFeatureExtractor.from_pretrained(tmp_path / "hf", trust_remote_code=True)
    inputs = extractor([sound.numpy() for sound in sounds], sampling_rate=RATE, return_tensors="pt")
    assert torch.equal(inputs["attention_mask"] == 0, padding_mask)
    torch.testing.assert_close(model(**inputs).logits[valid], expected, rtol=0, atol=1e-5)
    for sound in sounds:
        one = features_of([sound], saved.model.encoder.trunk.front_end)[0]
        alone = model(input_features=one).logits[0]
        torch.testing.assert_close(alone, saved.model(one, None)["logits"][0, :, rows], rtol=0, atol=1e-5)


def test_the_shapes_have_every_value_of_every_option():
    found = {}
    for flag in itertools.chain(*map(shape, range(SHAPES))):
        name, value = flag.removeprefix("--").split("=")
        found.setdefault(name, set()).add(value)
    assert found["front-end"] == {"conv", "stacked"} and found["frames-per-state"] == {"2", "4"}
    assert found["positions"] == {"none", "rotary", "relative_key"} and found["conv-norm"] == {"group", "layer"}
    assert all(len(found[name]) == 2 for name in ("conv-padding", "conv-bias", "speech-projection"))


@torch.no_grad()
def test_any_trunk_is_a_model(encoder, recognizer, sounds):
    """The states of each layer too. A recognizer's trunk is one as well."""
    for saved, folder in (encoder, recognizer):
        model, unexpected = load(folder, "AutoModel", output_hidden_states=True)
        assert {*unexpected} <= {"lm_head.weight", "lm_head.bias"} and not list(encoder[1].glob("*token*"))
        trunk = getattr(saved.model, "trunk", None) or saved.model.encoder.trunk
        features, padding_mask = features_of(sounds, trunk.front_end)
        found = model(features, (~padding_mask).long())
        ours = trunk(features=features, feature_padding_mask=padding_mask, keep_layers=True)
        valid = ~ours.speech_padding_mask
        assert torch.equal(found.attention_mask == 1, valid)
        assert len(found.hidden_states) == len(ours.speech_layers) == model.config.num_hidden_layers
        pairs = [*zip(found.hidden_states, ours.speech_layers, strict=True), (found.last_hidden_state, ours.speech)]
        for theirs, expected in pairs:
            torch.testing.assert_close(theirs[valid], expected[valid], rtol=0, atol=1e-5)


def test_an_encoder_takes_a_new_ctc_layer(encoder):
    """Which begins as torch's linear layers do. Without its size it is refused."""
    with pytest.raises(ValueError, match="vocab_size: found None"):
        transformers.AutoModelForCTC.from_pretrained(encoder[1], trust_remote_code=True)
    model = transformers.AutoModelForCTC.from_pretrained(encoder[1], trust_remote_code=True, vocab_size=300)
    bound = model.config.hidden_size**-0.5
    weight = model.lm_head.weight.detach()
    assert weight.abs().max() <= bound and weight.std() == pytest.approx(bound / 3**0.5, rel=0.05)
    name = "trunk.speech_layers.0.attention.qkv.weight"
    assert torch.equal(model.state_dict()[f"slam.{name}"], encoder[0].model.state_dict()[name])


def test_the_loss_is_that_of_all_alignments(encoder):
    """Summed one by one, of two utterances, the second with padding."""
    model = transformers.AutoModelForCTC.from_pretrained(encoder[1], trust_remote_code=True, vocab_size=4).eval()
    features, mask = torch.randn(2, 16, 80), torch.ones(2, 16)
    mask[1, 9:] = 0
    found = model(features, mask, labels=torch.tensor([[1, 2], [3, -100]]))
    log_probs = found.logits.log_softmax(-1)
    losses = []
    for row, (length, target) in enumerate([(4, [1, 2]), (3, [3])]):
        paths = [
            sum(log_probs[row, place, symbol] for place, symbol in enumerate(path))
            for path in itertools.product(range(4), repeat=length)
            if [symbol for symbol, _ in itertools.groupby(path) if symbol] == target
        ]
        losses.append(-torch.stack(paths).logsumexp(0) / len(target))
    torch.testing.assert_close(found.loss, torch.stack(losses).mean())
    found.loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_the_pipeline_writes_what_transcribe_writes(recognizer, sounds, tmp_path):
    """One by one and in batches, and from a folder that transformers has saved again."""
    saved, folder = recognizer
    pipe = transformers.pipeline(
        "automatic-speech-recognition", str(folder), trust_remote_code=True, device="cpu", dtype="float32"
    )
    slam = Slam.load(saved.path, device="cpu")
    texts = [slam.transcribe((sound.numpy(), RATE)) for sound in sounds]
    assert len({*texts}) > 3 and any(" " in text for text in texts)
    clips = [sound.numpy() for sound in sounds]
    assert [pipe(clip)["text"] for clip in clips] == texts
    assert [found["text"] for found in pipe(clips, batch_size=4)] == texts
    for part in (pipe.model, pipe.feature_extractor, pipe.tokenizer):
        part.save_pretrained(tmp_path / "again")
    again = transformers.pipeline(
        "automatic-speech-recognition", str(tmp_path / "again"), trust_remote_code=True, device="cpu"
    )
    assert [again(clip)["text"] for clip in clips] == texts


def test_times_of_pieces_and_words(recognizer, sounds):
    saved, folder = recognizer
    pipe = transformers.pipeline("automatic-speech-recognition", str(folder), trust_remote_code=True, device="cpu")
    found = pipe(sounds[1].numpy(), return_timestamps="word")
    assert [chunk["text"] for chunk in found["chunks"]] == found["text"].split()
    times = [time for chunk in found["chunks"] for time in chunk["timestamp"]]
    assert times == sorted(times) and 0 <= times[0] and times[-1] <= len(sounds[1]) / RATE
    ids = pipe.tokenizer("jede")["input_ids"]
    begin = 1 if len(pipe.tokenizer.convert_ids_to_tokens(ids[0])) > 1 else 3  # a space alone is of no word
    path = [0, *(number for number in ids for _ in range(2)), 0, 0]
    words = pipe.tokenizer.decode(path, output_word_offsets=True)
    assert words["word_offsets"] == [{"word": "jede", "start_offset": begin, "end_offset": 1 + 2 * len(ids)}]


@pytest.mark.parametrize("fill", [lambda data: None, pieces, bars, with_bytes], ids=["letters", "pieces", "|", "bytes"])
def test_every_symbol_is_written_as_the_vocabulary_writes_it(tmp_path, fill):
    """Drawn paths of all symbols: repeats, blanks, unknown, spaces at the ends. Text becomes the same pieces."""
    saved = checkpoints.save(tmp_path / "run", *checkpoints.CTC, fill=fill)
    export_weights(saved.path, tmp_path / "hf")
    tokenizer, rows = (
        transformers.AutoTokenizer.from_pretrained(tmp_path / "hf", trust_remote_code=True),
        rows_of(saved),
    )
    assert len(tokenizer) == len(rows) and tokenizer.pad_token_id == 0
    vocabulary, random = saved.task.vocabulary, np.random.default_rng(0)
    for length in range(40):
        path = random.integers(0, len(rows), length).repeat(random.integers(1, 3, length))
        kept = [rows[symbol] for place, symbol in enumerate(path) if symbol and symbol != [0, *path][place]]
        assert tokenizer.decode(path.tolist()) == vocabulary.decode(torch.tensor(kept, dtype=torch.long))
    for text in (*checkpoints.LINES, "b|c a", "žluť Ahoj"):
        ids = tokenizer(text)["input_ids"]
        assert [rows[number] for number in ids] == vocabulary.encode(text).tolist()
        assert tokenizer.decode(ids, group_tokens=False) == vocabulary.decode(vocabulary.encode(text))


WITHOUT_THE_PLUGIN = """
import sys
for name in ("slam_plugin", "fairseq", "data_prep"):
    sys.modules[name] = None  # importing it fails
{snippet}
"""


def run_snippet(folder, tmp_path, end):
    """What the snippet on the card of a folder prints in a process without the plugin."""
    card = (folder / "README.md").read_text()
    assert "trust_remote_code is true" in card
    snippet = re.search(r"```python\n(.*?)```", card, re.DOTALL)[1].replace("FOLDER", str(folder))
    *lines, last = snippet.strip().splitlines()
    script = WITHOUT_THE_PLUGIN.format(snippet="\n".join([*lines, end.format(last=last)]))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"HF_MODULES_CACHE": str(tmp_path / "modules"), "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_cards_snippets_run_without_the_plugin(recognizer, encoder, tmp_path):
    (tmp_path / "clip.wav").write_bytes((recognizer[1].parent / "1.wav").read_bytes())
    expected = Slam.load(recognizer[0].path, device="cpu").transcribe(tmp_path / "clip.wav")
    assert run_snippet(recognizer[1], tmp_path, "print({last})").strip("\n") == expected
    assert run_snippet(encoder[1], tmp_path, "{last}\nprint(tuple(states.shape))") == "(1, 47, 16)\n"


def files_of(recognizer):
    return recognizer[1].glob("*.py")


def test_the_code_imports_little(recognizer):
    """Nothing of the plugin, and only what the document names."""
    found = set()
    for path in files_of(recognizer):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level < 2 and (not node.level or (recognizer[1] / f"{node.module}.py").is_file())
                found |= set() if node.level else {node.module.partition(".")[0]}
    assert found - sys.stdlib_module_names == {"numpy", "torch", "torchaudio", "transformers", "sentencepiece"}


def test_a_file_that_transformers_loads_names_all_that_it_needs(recognizer):
    """Version 4 copies no other file of a local folder."""
    named = {path.stem: {*re.findall(r"^from \.(\w+) import", path.read_text(), re.M)} for path in files_of(recognizer)}
    for entry in ("configuration_slam", "modeling_slam", "feature_extraction_slam", "tokenization_slam"):
        assert all(named[other] <= named[entry] for other in named[entry]), entry


def test_modules_that_cannot_be_copied(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "_ROOT", tmp_path / "slam_plugin")
    for name, text in {
        "a/x": "from slam_plugin.b.x import y",
        "b/x": "",
        "a/whole": "import slam_plugin.b.x",
        "a/folder": "from slam_plugin import b",
    }.items():
        path = tmp_path / f"slam_plugin/{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    with pytest.raises(ValueError, match=r"x: found for slam_plugin\.b\.x and slam_plugin\.a\.x"):
        portable_sources(["slam_plugin.a.x"])
    for name in ("whole", "folder"):
        with pytest.raises(ValueError, match=rf"slam_plugin\.a\.{name}: line 1"):
            portable_sources([f"slam_plugin.a.{name}"])


@torch.no_grad()
def test_adapters_are_merged(tmp_path, sounds):
    """The model with adapters, whose sums are not merged, is the reference."""
    saved = checkpoints.save(tmp_path / "run", *checkpoints.CTC)
    checkpoints.add_adapters(saved)
    trunk = saved.model.encoder.trunk
    report = export_weights(saved.path, tmp_path / "hf")
    assert report[-1].startswith("merged: adapters") and "left out: nothing" in report
    features, padding_mask = features_of(sounds, trunk.front_end)
    found = load(tmp_path / "hf", "AutoModel")[0](features, ~padding_mask).last_hidden_state
    ours, states_mask = trunk.encode_speech(features, padding_mask)
    torch.testing.assert_close(found[~states_mask], ours[~states_mask], rtol=0, atol=1e-5)


@torch.no_grad()
def test_bf16(recognizer, sounds):
    features, padding_mask = features_of(sounds, recognizer[0].model.encoder.trunk.front_end)
    model = load(recognizer[1], dtype=torch.bfloat16)[0]
    found = model(features.bfloat16(), ~padding_mask).logits
    exact = load(recognizer[1])[0](features, ~padding_mask).logits
    valid = exact[..., 0] != 0
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found[valid].float(), exact[valid], rtol=0.1, atol=0.2)


# ---- refusals


def test_what_is_no_speech_is_refused(recognizer):
    extractor = transformers.AutoFeatureExtractor.from_pretrained(recognizer[1], trust_remote_code=True)
    with pytest.raises(ValueError, match="sampling_rate: found 8000, expected 16000"):
        extractor(np.zeros(RATE, np.float32), sampling_rate=8000)
    with pytest.raises(ValueError, match=r"found a waveform of shape \(800, 2\)"):
        extractor([np.zeros((800, 2), np.float32)], sampling_rate=RATE)
    for samples in (399, 0):
        with pytest.raises(ValueError, match=f"{samples} samples at 16 kHz are less than one window"):
            extractor(np.zeros(samples, np.float32), sampling_rate=RATE)


def refused(path, out, match):
    with pytest.raises(DataError, match=match):
        export_weights(path, out)
    assert not out.exists() and not list(out.parent.glob(f"{out.name}*"))


@pytest.mark.parametrize("name", ["encoder.trunk.subsampler.first.bias", "output.weight"])
def test_weights_that_do_not_fit_or_are_not_finite_are_refused(tmp_path, recognizer, name):
    state = torch.load(recognizer[0].path, weights_only=False)
    value = state["model"][name]
    state["model"][name] = value[:-1].clone()
    torch.save(state, tmp_path / "cut.pt")
    refused(
        tmp_path / "cut.pt", tmp_path / "hf", r"cut\.pt: its weights do not fit its configuration: of another shape"
    )
    state["model"][name] = torch.full_like(value, float("nan"))
    torch.save(state, tmp_path / "nan.pt")
    refused(tmp_path / "nan.pt", tmp_path / "hf", "found numbers that are NaN or infinite")
    del state["model"][name]
    torch.save(state, tmp_path / "gone.pt")
    refused(tmp_path / "gone.pt", tmp_path / "hf", rf"missing .*{name.removeprefix('encoder.trunk.')}")


def test_a_model_of_text_is_refused(tmp_path):
    saved = checkpoints.save(tmp_path / "run", *checkpoints.TEXT)
    refused(saved.path, tmp_path / "hf", "has no speech side")
