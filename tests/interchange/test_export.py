"""Folders of ``slam export`` load in transformers without custom code, and give the same outputs."""

import json

import numpy as np
import pytest
import torch

from data_prep.text.vocab import train_vocabulary
from slam_plugin.commands import cli
from slam_plugin.data.audio import log_mel, normalize, read_audio
from slam_plugin.data.errors import DataError
from slam_plugin.hub import Slam
from slam_plugin.interchange import export, tokenizer
from slam_plugin.interchange.export import export_weights
from slam_plugin.interchange.folders import Weights
from slam_plugin.interchange.w2v_bert_2 import import_weights
from slam_plugin.modules.front_end import FrontEnd
from tests.support import checkpoints, w2v_bert_2

transformers = pytest.importorskip("transformers")

STACKED = FrontEnd("stacked", 2)
RATE = 16000


def shape(seed):
    """Flags of a trunk of drawn sizes in the shape of w2v-BERT 2.0."""
    random = np.random.default_rng(seed)
    heads = int(random.choice([2, 4]))
    sizes = {
        "encoder-dim": heads * int(random.choice([6, 8, 10])),
        "encoder-heads": heads,
        "encoder-ffn-dim": int(random.integers(20, 60)),
        "speech-layers": int(random.integers(1, 3)),
        "multimodal-layers": int(random.integers(1, 4)),
        "conv-kernel": int(random.choice([3, 4, 9, 31])),
    }
    return ["--size=w2v_bert_2_tiny", *(f"--{name}={value}" for name, value in sizes.items())]


def flags(task, arch, criterion, *others, seed=0):
    return [f"--task={task}", f"--arch={arch}", f"--criterion={criterion}", *shape(seed), *others]


def ctc(*others, seed=0):
    return flags("slam_speech_to_text", "slam_ctc", "slam_ctc", *others, seed=seed)


def pieces(data):
    """Replace the vocabulary of characters by one of longer pieces, some of which begin words."""
    for path in data.iterdir():
        path.unlink()
    train_vocabulary([*checkpoints.LINES, "ryby jede", "lod cte"] * 9, data, 30, "bpe")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("exported")


@pytest.fixture(scope="module")
def recognizer(folder):
    """A CTC model and the folder it becomes."""
    saved = checkpoints.save(folder / "ctc", *ctc())
    assert cli.main(["export", "--to", "hf", "--checkpoint", str(saved.path), "--out", str(folder / "hf")]) == 0
    return saved, folder / "hf"


@pytest.fixture(scope="module")
def sounds(folder):
    """Sounds of several lengths, two of which have an odd number of frames."""
    return [read_audio(path) for path in checkpoints.write_sounds(folder)] + [0.1 * torch.randn(RATE + 80)]


def features_of(sounds):
    """Our features of a batch, noise at padding, and the padding mask."""
    each = [normalize(log_mel(sound), STACKED) for sound in sounds]
    padded = torch.randn(len(each), max(map(len, each)), 80)
    padding_mask = torch.ones(padded.shape[:2], dtype=torch.bool)
    for row, features in enumerate(each):
        padded[row, : len(features)] = features
        padding_mask[row, : len(features)] = False
    return padded, padding_mask


def stacked(padded, padding_mask):
    """The same as transformers takes them: two frames side by side."""
    states = padded.shape[1] // 2
    mask = (~padding_mask)[:, 1::2][:, :states]
    return {"input_features": padded[:, : 2 * states].reshape(len(padded), states, 160), "attention_mask": mask.long()}


def load(folder, kind="AutoModelForCTC"):
    model, found = getattr(transformers, kind).from_pretrained(folder, output_loading_info=True)
    assert not any(found[name] for name in ("missing_keys", "mismatched_keys", "error_msgs"))
    return model.eval(), found["unexpected_keys"]


def rows_of(saved):
    """The rows of our CTC layer that the folder has: the blank, unknown, the pieces."""
    dictionary = saved.task.target_dictionary
    left_out = (dictionary.pad(), dictionary.eos())
    return [number for number in range(len(dictionary)) if number not in left_out]


def test_features_are_those_of_the_plugin(recognizer, sounds):
    extractor = transformers.AutoFeatureExtractor.from_pretrained(recognizer[1])
    found = extractor([sound.numpy() for sound in sounds], sampling_rate=RATE, return_tensors="pt")
    expected = stacked(*features_of(sounds))
    lengths = found["attention_mask"].sum(1)
    assert torch.equal(lengths, expected["attention_mask"].sum(1)) and len(lengths.unique()) > 3
    for theirs, ours, length in zip(found["input_features"], expected["input_features"], lengths, strict=True):
        torch.testing.assert_close(theirs[:length], ours[:length], rtol=0, atol=3e-4)


@pytest.mark.parametrize("seed", range(3))
@torch.no_grad()
def test_logits_are_those_of_the_plugin(tmp_path, sounds, seed):
    """On our features of a padded batch, and from the waveform on."""
    saved = checkpoints.save(tmp_path / "run", *ctc("--state-mask-rate=0.3", seed=seed))
    export_weights(saved.path, tmp_path / "hf")
    model, unexpected = load(tmp_path / "hf")
    assert not unexpected
    batch = features_of(sounds)
    found = saved.model(*batch)
    valid = ~found["padding_mask"]
    expected = found["logits"][valid][:, rows_of(saved)]
    inputs = stacked(*batch)
    theirs = model(**inputs).logits
    torch.testing.assert_close(theirs[inputs["attention_mask"].bool()], expected, rtol=0, atol=1e-5)
    extractor = transformers.AutoFeatureExtractor.from_pretrained(tmp_path / "hf")
    extracted = extractor([sound.numpy() for sound in sounds], sampling_rate=RATE, return_tensors="pt")
    from_waveform = model(**extracted).logits[extracted["attention_mask"].bool()]
    torch.testing.assert_close(from_waveform, expected, rtol=0, atol=5e-4)
    assert torch.equal(model.wav2vec2_bert.masked_spec_embed, saved.model.encoder.speech_mask)


@torch.no_grad()
def test_a_changed_weight_shows(recognizer, sounds, tmp_path):
    """Each kind of tensor, changed alone in the checkpoint, changes the logits by more than the comparison allows."""
    saved, _ = recognizer
    batch = stacked(*features_of(sounds[1:2]))  # long enough for the farthest distance
    state = torch.load(saved.path, weights_only=False)
    expected = load(recognizer[1])[0](**batch).logits
    names = [name for name in state["model"] if "multimodal_layers" not in name and name != "vocabulary_hash"]
    for number, name in enumerate(names):
        before = state["model"][name]
        state["model"][name] = before.clone()
        # The first number of a bias of q, k and v is a q's: a bias of keys changes nothing.
        state["model"][name].view(-1)[0] += 0.5
        torch.save(state, tmp_path / "changed.pt")
        state["model"][name] = before
        export_weights(tmp_path / "changed.pt", tmp_path / str(number))
        difference = (load(tmp_path / str(number))[0](**batch).logits - expected).abs().max()
        assert difference > 1e-4, name


@pytest.mark.parametrize("fill", [lambda data: None, pieces], ids=["letters", "pieces"])
@torch.no_grad()
def test_the_pipeline_writes_what_transcribe_writes(tmp_path, sounds, fill):
    saved = checkpoints.save(tmp_path / "run", *ctc(seed=4), fill=fill)
    export_weights(saved.path, tmp_path / "hf")
    pipe = transformers.pipeline("automatic-speech-recognition", str(tmp_path / "hf"), device="cpu")
    slam, texts = Slam.load(saved.path, device="cpu"), []
    for sound in sounds:
        if len(log_mel(sound)) % 2:
            continue
        texts.append(slam.transcribe((sound.numpy(), RATE)))
        assert pipe(sound.numpy())["text"] == texts[-1]
    assert len(texts) > 3 and len({*texts}) > 3 and any(" " in text for text in texts)
    # For odd numbers of frames, the pipeline adds a padded state; without it the text is the same.
    odd = next(sound for sound in sounds if len(log_mel(sound)) % 2)
    inputs = pipe.feature_extractor(odd.numpy(), sampling_rate=RATE, return_tensors="pt")
    ids = pipe.model(**inputs).logits[inputs["attention_mask"].bool()].argmax(-1)
    assert pipe.tokenizer.decode(ids) == slam.transcribe((odd.numpy(), RATE))


def test_every_symbol_is_written_as_the_vocabulary_writes_it(tmp_path):
    """Drawn paths of all symbols: repeats, blanks, unknown, spaces at the ends."""
    saved = checkpoints.save(tmp_path / "run", *ctc(), fill=pieces)
    export_weights(saved.path, tmp_path / "hf")
    theirs, rows = transformers.AutoTokenizer.from_pretrained(tmp_path / "hf"), rows_of(saved)
    assert len(theirs) == len(rows) and theirs.pad_token_id == 0
    vocabulary, random = saved.task.vocabulary, np.random.default_rng(0)
    for length in range(40):
        path = random.integers(0, len(rows), length).repeat(random.integers(1, 3, length))
        kept = [rows[symbol] for place, symbol in enumerate(path) if symbol and symbol != [0, *path][place]]
        assert theirs.decode(path.tolist()) == vocabulary.decode(torch.tensor(kept, dtype=torch.long))


def test_letters_are_encoded_too(recognizer):
    saved, folder = recognizer
    theirs, rows = transformers.AutoTokenizer.from_pretrained(folder), rows_of(saved)
    ids = [rows[number] for number in theirs("lod jede")["input_ids"]]
    assert ids == saved.task.vocabulary.encode("lod jede").tolist()[1:]  # SentencePiece begins with a space


PRETRAINED = (flags("slam_pretraining", "slam_pretraining", "slam_pretraining"), checkpoints.plan)
TRANSDUCER = flags("slam_speech_to_text", "slam_transducer", "slam_transducer", *checkpoints.TRANSDUCER[-4:])
TRANSLATION = flags(
    *("slam_speech_to_text", "slam_speech_to_text", "label_smoothed_cross_entropy"), *checkpoints.DECODER
)
LEFT_OUT = {
    "pretraining": (*PRETRAINED, ["text_embedding", "objectives.contrastive", "objectives.masked_prediction"]),
    "transducer": (TRANSDUCER, lambda data: None, ["prediction", "joint"]),
    "translation": (TRANSLATION, lambda data: None, ["decoder"]),
}


@pytest.mark.parametrize("name", LEFT_OUT)
@torch.no_grad()
def test_any_trunk_is_a_model(tmp_path, sounds, name):
    flags, fill, left_out = LEFT_OUT[name]
    saved = checkpoints.save(tmp_path / "run", *flags, fill=fill)
    report = "\n".join(export_weights(saved.path, tmp_path / "hf"))
    assert "Wav2Vec2BertModel" in report and all(part in report.split("left out: ")[1] for part in left_out), report
    model, unexpected = load(tmp_path / "hf", "AutoModel")
    assert not unexpected and not (tmp_path / "hf/vocab.json").exists()
    check_states(model, getattr(saved.model, "trunk", None) or saved.model.encoder.trunk, sounds)


def check_states(model, trunk, sounds):
    batch = features_of(sounds)
    inputs = stacked(*batch)
    found = model(**inputs).last_hidden_state[inputs["attention_mask"].bool()]
    ours = trunk(features=batch[0], feature_padding_mask=batch[1])
    torch.testing.assert_close(found, ours.speech[~ours.speech_padding_mask], rtol=0, atol=1e-5)


@torch.no_grad()
def test_the_trunk_of_a_recognizer_is_a_model_too(recognizer, sounds):
    model, unexpected = load(recognizer[1], "AutoModel")
    assert {*unexpected} <= {"lm_head.weight", "lm_head.bias"}
    check_states(model, recognizer[0].model.encoder.trunk, sounds)


@torch.no_grad()
def test_adapters_are_merged(tmp_path, sounds):
    """The model with adapters, whose sums are not merged, is the reference."""
    saved = checkpoints.save(tmp_path / "run", *ctc(seed=1))
    checkpoints.add_adapters(saved)
    trunk = saved.model.encoder.trunk
    report = export_weights(saved.path, tmp_path / "hf")
    assert report[-1].startswith("merged: adapters") and "left out: nothing" in report
    check_states(load(tmp_path / "hf", "AutoModel")[0], trunk, sounds)


@pytest.mark.parametrize("masks", [0.05, 0.0])
def test_imported_weights_come_out_equal(toy, tmp_path, masks):
    w2v_bert_2.make_model(3, mask_time_prob=masks).save_pretrained(tmp_path / "theirs")
    import_weights(tmp_path / "theirs", toy, tmp_path / "start.pt")
    export_weights(tmp_path / "start.pt", tmp_path / "back")
    theirs, back = Weights(tmp_path / "theirs"), Weights(tmp_path / "back")
    assert theirs.shapes == back.shapes and ("masked_spec_embed" in back.shapes) == bool(masks)
    assert all(torch.equal(theirs.read(name), back.read(name)) for name in theirs.shapes)
    configs = [json.loads((tmp_path / name / "config.json").read_text()) for name in ("theirs", "back")]
    free = {"vocab_size", "pad_token_id", "bos_token_id", "eos_token_id", "apply_spec_augment"}
    equal = {name for name in configs[1] if configs[0].get(name) == configs[1][name]}
    assert configs[1].keys() - equal - free <= {name for name in configs[1] if "dropout" in name}


def test_the_card_shows_what_the_checkpoint_knows(tmp_path):
    """As code in one line, whatever a value holds."""
    saved = checkpoints.save(tmp_path / "run", *ctc())
    state = torch.load(saved.path, weights_only=False)
    state["extra_state"]["val_loss"] = 12.5
    state["task_state"]["text_normalization"] = "a`|<b>\n---\n# no"
    torch.save(state, saved.path)
    export_weights(saved.path, tmp_path / "hf")
    card = (tmp_path / "hf/README.md").read_text()
    assert "| loss, this checkpoint | `12.5` |" in card and "| text normalization | `a <b> --- # no` |" in card
    assert card.startswith("---\nlibrary_name: transformers\n") and "# license:" in card
    assert str(tmp_path) not in card


# ---- refusals


def refused(path, out, match):
    with pytest.raises(DataError, match=match):
        export_weights(path, out)
    assert not out.exists() and not list(out.parent.glob(f"{out.name}*"))


def test_a_model_of_text_is_refused(tmp_path):
    saved = checkpoints.save(
        tmp_path / "run",
        *flags("slam_translation", "slam_text_to_text", "label_smoothed_cross_entropy", *checkpoints.TEXT[-6:]),
    )
    refused(saved.path, tmp_path / "hf", "has no speech side")


def test_a_vocabulary_that_the_tokenizer_cannot_write_is_refused(tmp_path):
    def bars(data):
        for path in data.iterdir():
            path.unlink()
        train_vocabulary(["a|b c", "b|c a"] * 9, data, 40, "char")

    saved = checkpoints.save(tmp_path / "run", *ctc(), fill=bars)
    refused(saved.path, tmp_path / "hf", r"found the piece '\|' in its vocabulary")


def test_too_many_pieces_are_refused(tmp_path, monkeypatch):
    """The pieces are counted, not the characters."""
    saved = checkpoints.save(tmp_path / "run", *ctc(), fill=pieces)
    symbols = saved.task.target_dictionary.symbols[4:-1]
    longer = sum(len(symbol) > 1 for symbol in symbols)
    assert 1 < longer < len(symbols)
    monkeypatch.setattr(tokenizer, "MAX_PIECES", longer - 1)
    refused(saved.path, tmp_path / "hf", f"found {longer} pieces longer than a character")
    monkeypatch.setattr(tokenizer, "MAX_PIECES", longer)
    export_weights(saved.path, tmp_path / "hf")


def test_byte_pieces_are_refused(tmp_path):
    def with_bytes(data):
        for path in data.iterdir():
            path.unlink()
        w2v_bert_2.train_pieces(data / "spm", ["ahoj ryby"] * 9, 280, model_type="bpe", byte_fallback=True)
        lines = (data / "spm.vocab").read_text().splitlines()
        symbols = [line.split("\t")[0] for line in lines if line.split("\t")[0] not in ("<unk>", "<s>", "</s>")]
        (data / "dict.txt").write_text("".join(f"{symbol} 1\n" for symbol in [*symbols, "<mask>"]))

    saved = checkpoints.save(tmp_path / "run", *ctc(), fill=with_bytes)
    refused(saved.path, tmp_path / "hf", "found pieces for single bytes")


@pytest.mark.parametrize("name", ["encoder.trunk.subsampler.project.bias", "output.weight"])
def test_weights_that_do_not_fit_or_are_not_finite_are_refused(tmp_path, recognizer, name):
    state = torch.load(recognizer[0].path, weights_only=False)
    value = state["model"][name]
    state["model"][name] = value[:-1].clone()
    torch.save(state, tmp_path / "cut.pt")
    refused(tmp_path / "cut.pt", tmp_path / "hf", r"cut\.pt: its weights do not fit")
    state["model"][name] = torch.full_like(value, float("nan"))
    torch.save(state, tmp_path / "nan.pt")
    refused(tmp_path / "nan.pt", tmp_path / "hf", "found numbers that are NaN or infinite")


def test_a_folder_with_files_is_left_alone(tmp_path, recognizer):
    (tmp_path / "file").write_text("mine")
    for out, match in ((tmp_path, "holds files already"), (tmp_path / "file", "is a file")):
        with pytest.raises(DataError, match=match):
            export_weights(recognizer[0].path, out)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]
    (tmp_path / "empty").mkdir()
    export_weights(recognizer[0].path, tmp_path / "empty")
    assert (tmp_path / "empty/model.safetensors").exists()


def test_a_full_disk_leaves_no_folder(tmp_path, recognizer, monkeypatch):
    def full(*args, **named):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export, "save_file", full)
    with pytest.raises(OSError, match="No space"):
        export_weights(recognizer[0].path, tmp_path / "hf")
    assert not list(tmp_path.iterdir())
