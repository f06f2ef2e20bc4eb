"""Graphs of ``slam export --to onnx`` and ``--to torch`` compute what the model computes, without this project."""

import json
import re
import subprocess
import sys
from contextlib import redirect_stdout
from io import StringIO

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

from slam_plugin.commands import cli
from slam_plugin.data.audio import log_mel, normalize, read_audio
from slam_plugin.data.errors import DataError
from slam_plugin.hub import Slam
from slam_plugin.inference.checkpoints import Checkpoint
from slam_plugin.interchange import programs
from slam_plugin.interchange.programs import export_program
from slam_plugin.interchange.waveforms import Waveforms
from slam_plugin.modules.front_end import FrontEnd
from tests.support import checkpoints
from tests.support.full_disk import files_of_at_most

RATE = 16000
# From the waveform on: another library's convolution rounds quiet mel bins differently.
ROUNDING = 1e-4
FRONT_ENDS = [FrontEnd(), FrontEnd("conv", 2), FrontEnd("stacked", 2)]
W2V_BERT = ["--size=w2v_bert_2_tiny", "--conv-kernel=4"]


def sizes(seed):
    """Flags of a trunk of drawn sizes, with few layers: exporters take a second for each."""
    random = np.random.default_rng(seed)
    heads = int(random.choice([2, 4]))
    drawn = {
        "encoder-dim": heads * int(random.choice([6, 8, 10])),
        "encoder-heads": heads,
        "encoder-ffn-dim": int(random.integers(20, 60)),
        "speech-layers": 1,
        "multimodal-layers": 1,
    }
    return [f"--{name}={value}" for name, value in drawn.items()]


def papers(seed):
    return ["--subsample-channels=3", "--conv-groups=2", "--positions=rotary", *sizes(seed)]


def ctc(*others):
    return ["--task=slam_speech_to_text", "--arch=slam_ctc", "--criterion=slam_ctc", *others]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("programs")


@pytest.fixture(scope="module")
def paths(folder):
    return checkpoints.write_sounds(folder)


@pytest.fixture(scope="module")
def sounds(paths):
    """Sounds of many lengths: frames of every rest by four, and the shortest of two states of 40 ms."""
    drawn = [0.1 * torch.randn(RATE + 160 * number + 7) for number in range(4)] + [0.1 * torch.randn(1040)]
    return [read_audio(path) for path in paths] + drawn


def exported(folder, name, flags, to="onnx", *others, fill=lambda data: None):
    saved = checkpoints.save(folder / f"{name}.run", *flags, fill=fill)
    command = ["export", "--to", to, "--checkpoint", str(saved.path), "--out", str(folder / name), *others]
    assert cli.main(command) == 0
    return saved, folder / name


@pytest.fixture(scope="module")
def recognizer(folder):
    pytest.importorskip("onnxruntime")
    return exported(folder, "papers", ctc("--checkpoint-activations", *papers(0)), "onnx", "--int8")


@pytest.fixture(scope="module")
def translator(folder):
    pytest.importorskip("onnxruntime")
    flags = ["--task=slam_speech_to_text", "--arch=slam_speech_to_text", "--criterion=label_smoothed_cross_entropy"]
    decoder = [flag.replace("layers=1", "layers=2") for flag in checkpoints.DECODER]
    return exported(folder, "translator", [*flags, *papers(1), *decoder])


def batch_of(sounds):
    """Waveforms with noise at padding, and their lengths."""
    lengths = torch.tensor([len(sound) for sound in sounds])
    padded = pad_sequence(sounds, batch_first=True)
    padding = torch.arange(padded.shape[1]) >= lengths[:, None]
    return torch.where(padding, torch.randn(padded.shape), padded), lengths


def run(path, *inputs):
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    names = [value.name for value in session.get_inputs()]
    arrays = (np.asarray(value) for value in inputs)
    return [torch.from_numpy(output) for output in session.run(None, dict(zip(names, arrays, strict=True)))]


def check(found, lengths, expected, padding_mask, atol=ROUNDING):
    """Outputs (batch, T, ...) with lengths (batch,) equal the model's, whose mask is (batch, T)."""
    assert torch.equal(lengths, (~padding_mask).sum(1))
    for row, theirs, length in zip(found, expected, lengths, strict=True):
        torch.testing.assert_close(row[:length], theirs[:length], rtol=0, atol=atol)


# ---- features


@pytest.mark.parametrize("front_end", FRONT_ENDS, ids=str)
def test_features_are_those_of_the_plugin(sounds, front_end):
    """In a batch and alone, up to the rounding of the Fourier transform."""
    features, padding_mask = Waveforms(front_end)(*batch_of(sounds))
    for sound, row, padding in zip(sounds, features, padding_mask, strict=True):
        expected = normalize(log_mel(sound), front_end)
        assert (~padding).sum() == len(expected) and not padding[: len(expected)].any()
        torch.testing.assert_close(row[: len(expected)], expected, rtol=0, atol=1e-3)
        alone, _ = Waveforms(front_end)(sound[None], torch.tensor([len(sound)]))
        torch.testing.assert_close(row[: len(expected)], alone[0, : len(expected)], rtol=0, atol=1e-3)


# ---- graphs


@torch.no_grad()
def check_recognizer(saved, path, sounds):
    model = saved.model
    front_end = model.encoder.trunk.front_end
    shortest = 400 + 160 * (front_end.fewest_frames(1) - 1)
    batches = [sounds, sounds[3:4], [sounds[1][:shortest]], sounds[4:7]]
    for batch in map(batch_of, batches):
        expected = model(*Waveforms(front_end)(*batch))
        logits, lengths = run(path, *batch)
        check(logits, lengths, expected["logits"], expected["padding_mask"])
        assert logits.shape[2] == len(saved.task.target_dictionary)
    # From the sound on, and each alone.
    logits, lengths = run(path, *batch_of(sounds))
    for sound, row, length in zip(sounds, logits, lengths, strict=True):
        features = normalize(log_mel(sound), front_end)[None]
        expected = model(features, torch.zeros(features.shape[:2], dtype=torch.bool))
        check(row[None], length[None], expected["logits"], expected["padding_mask"], atol=1e-3)


def test_a_recognizer_of_the_papers_shape(recognizer, sounds):
    saved, out = recognizer
    check_recognizer(saved, out / "model.onnx", sounds)


def test_a_recognizer_of_the_shape_of_w2v_bert_2(folder, sounds):
    """Built for torch.compile, with relative keys, and adapters whose sums are not merged in the reference."""
    pytest.importorskip("onnxruntime")
    saved = checkpoints.save(folder / "bert.run", *ctc(*W2V_BERT, *sizes(2)))
    checkpoints.add_adapters(saved, compile=True)
    export_program(saved.path, folder / "bert")
    check_recognizer(saved, folder / "bert/model.onnx", sounds)


@torch.no_grad()
def check_steps(model, encoder, step, batch):
    """Logits of each step, for several hypotheses that are exchanged between the steps."""
    reference = model.encoder(*Waveforms(model.encoder.trunk.front_end)(*batch))
    cross_keys, cross_values, lengths = encoder(*batch)
    layers, count, heads, _, dim = cross_keys.shape
    hypotheses, generator = 3, torch.Generator().manual_seed(0)
    keys = values = torch.zeros(layers, count, hypotheses, heads, 0, dim)
    tokens = torch.randint(4, len(model.decoder.dictionary), (count, hypotheses, 1), generator=generator)
    order = torch.arange(count * hypotheses) // hypotheses
    encoded = model.encoder.reorder_encoder_out(reference, order)
    for _ in range(6):
        logits, keys, values = step(tokens[..., -1], keys, values, cross_keys, cross_values, lengths)
        expected = model.decoder(tokens.flatten(0, 1), encoder_out=encoded)[0][:, -1]
        torch.testing.assert_close(logits.flatten(0, 1), expected, rtol=0, atol=ROUNDING)
        follow = torch.randint(0, hypotheses, (count, hypotheses), generator=generator)
        rows = torch.arange(count)[:, None]
        keys, values, tokens = keys[:, rows, follow], values[:, rows, follow], tokens[rows, follow]
        latest = torch.randint(4, len(model.decoder.dictionary), (count, hypotheses, 1), generator=generator)
        tokens = torch.cat((tokens, latest), dim=2)


def test_steps_are_those_of_the_decoder(translator, sounds):
    saved, out = translator

    def graph(name):
        return lambda *inputs: run(out / f"{name}.onnx", *inputs)

    for batch in (sounds, sounds[2:3], sounds[-1:]):
        check_steps(saved.model, graph("encoder"), graph("decoder_step"), batch_of(batch))


# ---- eight bits


def test_eight_bits_are_smaller_and_near(recognizer, sounds):
    """Their logits stay closer to the model's than those of another waveform."""
    _, out = recognizer
    batch = batch_of(sounds)
    (exact, lengths), (near, _) = (run(out / f"model{kind}.onnx", *batch) for kind in ("", ".int8"))
    valid = torch.arange(exact.shape[1]) < lengths[:, None]
    error = (exact - near)[valid].square().mean()
    assert 0 < error < 0.02 * exact[valid].var()
    about = json.loads((out / "model.json").read_text())
    assert about["graphs"]["model"]["files"] == {"float32": "model.onnx", "int8": "model.int8.onnx"}


# ---- cards and descriptions


def snippet(out, sound):
    (code,) = re.findall(r"```python\n(.*?)```", (out / "README.md").read_text(), re.DOTALL)
    return code.replace("FOLDER", str(out)).replace("clip.wav", sound)


def printed(code):
    with redirect_stdout(StringIO()) as out:
        exec(code, {})
    return out.getvalue().strip()


def test_the_cards_code_writes_what_transcribe_writes(recognizer, paths):
    saved, out = recognizer
    slam = Slam.load(saved.path, device="cpu")
    expected = [slam.transcribe(path) for path in paths]
    assert [printed(snippet(out, path)) for path in paths] == expected and len({*expected}) > 1


def test_the_cards_code_writes_what_translate_writes(translator, paths):
    saved, out = translator
    slam = Slam.load(saved.path, device="cpu")
    expected = [slam.translate(path, beam=1) for path in paths]
    assert [printed(snippet(out, path)) for path in paths] == expected and any(expected)


def test_the_description_names_what_the_graph_takes(recognizer, translator):
    import onnxruntime

    for _, out in (recognizer, translator):
        about = json.loads((out / "model.json").read_text())
        for graph in about["graphs"].values():
            session = onnxruntime.InferenceSession(out / graph["files"]["float32"])
            sides = (graph["inputs"], session.get_inputs()), (graph["outputs"], session.get_outputs())
            for described, values in sides:
                assert list(described) == [value.name for value in values]
                for field, value in zip(described.values(), values, strict=True):
                    sizes = zip(field["shape"], value.shape, strict=True)
                    assert all(size == found for size, found in sizes if isinstance(size, int))
    dictionary = translator[0].task.target_dictionary
    assert about["vocabulary"] == dictionary.symbols and about["start"] == about["end"] == dictionary.eos()


def test_the_description_names_the_languages(tmp_path):
    saved = checkpoints.save(tmp_path / "run", *checkpoints.JOINT, fill=checkpoints.joint_plan)
    made = programs._export(Checkpoint.load(saved.path, device="cpu"))
    symbols = made.text["vocabulary"]
    assert made.text["start"] is None and made.kind == "translator"
    tags = {name: symbols.index(f"<lang:{name}>") for name in ("de", "ca")}
    assert made.text["languages"] == tags and {*tags.values()} < {*made.text["never"]}


def test_no_file_names_this_machine(recognizer, folder):
    for path in recognizer[1].iterdir():
        assert str(folder).encode() not in path.read_bytes() and b"site-packages" not in path.read_bytes(), path


# ---- torch alone

ALONE = """
import sys
sys.modules.update(slam_plugin=None, fairseq=None)  # importing either fails
import torch
trunk, encoder, step = (torch.export.load(path).module() for path in sys.argv[1:4])
given = torch.load(sys.argv[4])
found = {"states": [trunk(*batch) for batch in given["batches"]], "logits": []}
cross_keys, cross_values, lengths = encoder(*given["batches"][0])
layers, batch, heads, _, dim = cross_keys.shape
keys = values = torch.zeros(layers, batch, 1, heads, 0, dim)
for tokens in given["tokens"]:
    logits, keys, values = step(tokens, keys, values, cross_keys, cross_values, lengths)
    found["logits"].append(logits)
torch.save(found, sys.argv[5])
"""


@torch.no_grad()
def test_programs_of_torch_run_without_the_project(translator, folder, sounds, paths):
    """A trunk of pre-training, and a translator, in a process that can import neither this project nor fairseq."""
    flags = ["--task=slam_pretraining", "--arch=slam_pretraining", "--criterion=slam_pretraining", "--size=tiny"]
    pretrained, trunk = exported(folder, "trunk", [*flags, *papers(3)], "torch", fill=checkpoints.plan)
    export_program(translator[0].path, folder / "torch", "torch")
    batches = [batch_of(sounds), batch_of(sounds[:1]), batch_of([sounds[1][:400]])]
    tokens = [torch.randint(4, 9, (len(sounds), 1)) for _ in range(4)]
    torch.save({"batches": batches, "tokens": tokens}, folder / "given.pt")
    files = [trunk / "encoder.pt2", *(folder / f"torch/{name}.pt2" for name in ("encoder", "decoder_step"))]
    arguments = map(str, [*files, folder / "given.pt", folder / "found.pt"])
    subprocess.run([sys.executable, "-c", ALONE, *arguments], cwd=folder, check=True)
    found = torch.load(folder / "found.pt")
    trunk_model, model = pretrained.model.trunk, translator[0].model
    for batch, (states, lengths) in zip(batches, found["states"], strict=True):
        check(states, lengths, *trunk_model.encode_speech(*Waveforms(trunk_model.front_end)(*batch)))
    encoded = model.encoder(*Waveforms(model.encoder.trunk.front_end)(*batches[0]))
    expected = model.decoder(torch.cat(tokens, dim=1), encoder_out=encoded)[0]
    torch.testing.assert_close(torch.cat(found["logits"], dim=1), expected, rtol=0, atol=1e-5)
    slam = Slam.load(translator[0].path, device="cpu")
    assert printed(snippet(folder / "torch", paths[0])) == slam.translate(paths[0], beam=1)
    about = json.loads((trunk / "model.json").read_text())
    assert about["kind"] == "encoder" and "vocabulary" not in about and len({*trunk.iterdir()}) == 3


# ---- refusals


def refused(path, out, match, **options):
    with pytest.raises(DataError, match=match):
        export_program(path, out, **{"to": "torch", **options})
    assert not list(out.parent.glob(f"{out.name}*"))


def test_a_transducer_is_refused(tmp_path):
    saved = checkpoints.save(tmp_path / "run", *checkpoints.TRANSDUCER)
    refused(saved.path, tmp_path / "out", r"model\.pt: found a transducer")


def test_a_model_of_text_is_refused(tmp_path):
    saved = checkpoints.save(tmp_path / "run", *checkpoints.TEXT)
    refused(saved.path, tmp_path / "out", "has no speech side")


def test_numbers_that_are_not_finite_are_refused(tmp_path):
    saved = checkpoints.save(tmp_path / "run", *checkpoints.CTC)
    state = torch.load(saved.path, weights_only=False)
    state["model"]["output.bias"][3] = torch.nan
    torch.save(state, tmp_path / "nan.pt")
    refused(tmp_path / "nan.pt", tmp_path / "out", r"nan\.pt: output\.bias: found numbers that are NaN or infinite")


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    match = r"needs onnxscript: pip install 'onnxscript>=0.7' \(the extra \[onnx\]\)"
    refused(tmp_path / "none.pt", tmp_path / "out", match, to="onnx")


def test_eight_bits_of_torch_are_refused(tmp_path, capsys):
    command = ["export", "--to", "torch", "--int8", "--checkpoint", "none.pt", "--out", str(tmp_path / "out")]
    assert cli.main(command) == 2 and "--int8: found with --to torch, expected --to onnx" in capsys.readouterr().err


def test_a_folder_with_files_is_left_alone(tmp_path):
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(DataError, match="holds files already"):
        export_program("none.pt", tmp_path, "torch")
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_full_disk_leaves_no_folder(tmp_path, monkeypatch):
    saved = checkpoints.save(tmp_path / "run", *checkpoints.CTC)

    def full(graph, path):
        path.write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(programs, "_write", full)
    with pytest.raises(OSError, match="No space"):
        export_program(saved.path, tmp_path / "out", "torch")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_program_of_torch_on_a_full_disk_is_an_error(tmp_path):
    """torch's own writer would end the process."""
    saved = checkpoints.save(tmp_path / "run", *checkpoints.CTC)
    with pytest.raises(OSError, match="too large") as found, files_of_at_most(20_000):
        export_program(saved.path, tmp_path / "out", "torch")
    assert found.value.filename == str(tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
