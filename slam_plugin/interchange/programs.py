"""From a checkpoint to a folder of graphs that run without this project: ONNX, or programs of ``torch.export``."""

import io
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch

from slam_plugin.checkpoints import read_checkpoint
from slam_plugin.data.constants import FRAME_LENGTH, FRAME_SHIFT, SAMPLE_RATE
from slam_plugin.data.errors import DataError
from slam_plugin.data.extras import require_packages
from slam_plugin.data.text.languages import start_symbol
from slam_plugin.data.text.pieces import WORD_START
from slam_plugin.data.text.vocabulary import MASK
from slam_plugin.inference.checkpoints import Checkpoint
from slam_plugin.interchange.card import CARD, program_card
from slam_plugin.interchange.graphs import Graph, decoder_graphs, dynamic_sizes, encoder_graph, recognizer_graph
from slam_plugin.interchange.new_folder import check_free, write_folder
from slam_plugin.models.ctc import SlamCtc
from slam_plugin.models.speech_to_text import SlamSpeechToText
from slam_plugin.models.transducer import SlamTransducer

ABOUT = "model.json"
ONNX, TORCH = "onnx", "torch"
SUFFIXES = {ONNX: ".onnx", TORCH: ".pt2"}
INT8 = ".int8"
ENCODER, RECOGNIZER, STEP = "encoder", "model", "decoder_step"
MAX_TOKENS = 200  # of a hypothesis, as in this project's search
_ONE_FILE = 2**31 - 1  # bytes of an ONNX file; larger weights are in a file beside it
_QUANTIZED = ["MatMul", "Gemm"]  # products by weights; convolutions stay in fp32: those of integers are slow


class Export(NamedTuple):
    """What a checkpoint is exported as.

    Attributes:
        kind: "recognizer" (CTC), "translator" (a decoder with attention) or "encoder".
        graphs: by name.
        text: fields of ``model.json`` about the text that comes out.
    """

    kind: str
    graphs: dict[str, Graph]
    text: dict[str, Any]


def export_program(checkpoint: str | Path, out: str | Path, to: str = ONNX, int8: bool = False) -> list[str]:
    """Write a folder of graphs. Return a report, a sentence an item.

    Waveforms go in: features, their normalization and padding are inside. A ``slam_ctc`` model is one graph, to logits.
    A ``slam_speech_to_text`` model is an encoder and a step of the decoder. Of any other checkpoint with a speech side
    the encoder is written. ``model.json`` describes inputs, outputs and vocabulary. Adapters are merged. The folder
    appears whole or not at all.

    Raises :class:`DataError` if ``out`` holds files already, a package is missing, or the checkpoint is a transducer,
    has no speech side, or holds numbers that are not finite.

    Args:
        to: "onnx", or "torch" for programs of ``torch.export``.
        int8: write each graph of ONNX a second time, its products by weights in eight bits.

    Example::

        export_program("runs/recognizer/checkpoint_best.pt", "recognizer", int8=True)
    """
    out = Path(out)
    check_free(out)
    if to == ONNX:
        require_packages("export to ONNX", "onnx")
    found = Checkpoint.load(checkpoint, device="cpu")
    made = _export(found)
    suffix = SUFFIXES[to]
    about = _about(found, made, suffix, int8)
    report = _report(found, made, about)
    state = read_checkpoint(checkpoint)
    card = program_card(state, made.kind, to, _numbers(made), _notes(made, int8))

    def write(folder: Path) -> None:
        for name, graph in made.graphs.items():
            path = folder / (name + suffix)
            _write(graph, path)
            if int8:
                _quantize(path, folder / (name + INT8 + suffix))
        content = json.dumps(about, indent=2, ensure_ascii=False)
        (folder / ABOUT).write_text(content + "\n", encoding="utf-8")
        (folder / CARD).write_text(card, encoding="utf-8")

    write_folder(out, write)
    return report


def _export(found: Checkpoint) -> Export:
    model, trunk = found.model, found.trunk
    if isinstance(model, SlamTransducer):
        raise DataError(
            f"{found.path}: found a transducer, whose search calls three networks by turns; expected a CTC model, a "
            "model with a decoder, or a checkpoint of pre-training"
        )
    if not trunk.has_speech:
        raise DataError(f"{found.path}: has no speech side; expected a checkpoint that reads speech")
    for name, value in model.state_dict().items():
        if not value.isfinite().all():
            raise DataError(f"{found.path}: {name}: found numbers that are NaN or infinite, expected none")
    trunk.checkpoint_activations = False  # of no use without gradients
    vocabulary = found.vocabulary
    dictionary, languages = vocabulary.dictionary, vocabulary.languages
    text = {
        "vocabulary": list(dictionary.symbols),
        "word_delimiter": WORD_START,
        "text_normalization": found.text_normalization,
    }
    if isinstance(model, SlamCtc):
        never = [dictionary.pad(), dictionary.eos()]
        text |= {"blank": model.blank, "never": never}
        return Export("recognizer", {RECOGNIZER: recognizer_graph(trunk, model.output)}, text)
    if isinstance(model, SlamSpeechToText):
        default = found.config.get("tgt_lang") if languages else None
        text |= {
            # None if the caller has to choose among the languages.
            "start": None if languages and default is None else start_symbol(vocabulary, default),
            "languages": languages,
            "end": dictionary.eos(),
            "never": [dictionary.pad(), dictionary.index(MASK), *languages.values()],
            "max_tokens": min(MAX_TOKENS, model.decoder.max_positions() - 1),
        }
        encoder, step = decoder_graphs(trunk, model.decoder)
        return Export("translator", {ENCODER: encoder, STEP: step}, text)
    return Export("encoder", {ENCODER: encoder_graph(trunk)}, {})


def _about(found: Checkpoint, made: Export, suffix: str, int8: bool) -> dict[str, Any]:
    """Return the content of ``model.json``."""
    limits = found.limits("speech")
    front_end = found.trunk.front_end
    samples = {
        "minimum": FRAME_LENGTH + FRAME_SHIFT * (limits.minimum - 1),
        "maximum": None if limits.maximum is None else FRAME_LENGTH + FRAME_SHIFT * limits.maximum - 1,
        "per_state": front_end.frames_per_state * FRAME_SHIFT,
    }
    files = {"float32": suffix, **({"int8": INT8 + suffix} if int8 else {})}
    graphs = {
        name: {
            "files": {kind: name + ending for kind, ending in files.items()},
            "inputs": {key: value._asdict() for key, value in graph.inputs.items()},
            "outputs": {key: value._asdict() for key, value in graph.outputs.items()},
        }
        for name, graph in made.graphs.items()
    }
    return {
        "format": 1,
        "kind": made.kind,
        "sample_rate": SAMPLE_RATE,
        "samples": samples,
        "graphs": graphs,
        **made.text,
    }


def _numbers(made: Export) -> int:
    weights = {id(weight): weight for graph in made.graphs.values() for weight in graph.module.parameters()}
    return sum(weight.numel() for weight in weights.values())


def _left_out(found: Checkpoint, made: Export) -> list[str]:
    """Return the parts of the model that no graph has."""
    used = {id(weight) for graph in made.graphs.values() for weight in graph.module.parameters()}
    names = [name for name, weight in found.model.named_parameters() if id(weight) not in used]
    parts = (name.removeprefix("encoder.").removeprefix("trunk.").split(".")[0] for name in names)
    return list(dict.fromkeys(parts))


def _report(found: Checkpoint, made: Export, about: Mapping[str, Any]) -> list[str]:
    files = [name for graph in about["graphs"].values() for name in graph["files"].values()]
    return [
        f"{found.path}: {made.kind}",
        f"written: {', '.join(files)} ({_numbers(made):,} weights)",
        f"left out: {', '.join(_left_out(found, made)) or 'nothing'}",
    ]


def _notes(made: Export, int8: bool) -> list[str]:
    notes = ["Graphs do not check their input: shorter waveforms than the minimum in `model.json` give no output."]
    if int8:
        notes.append("Files with `.int8` hold weights in eight bits. Their outputs differ: measure them on your data.")
    if any(symbol.startswith("<0x") for symbol in made.text.get("vocabulary", ())):
        notes.append("Pieces such as `<0xC3>` are single bytes of UTF-8.")
    return notes


# ---- files


def _write(graph: Graph, path: Path) -> None:
    # Layers that were built for torch.compile run, and are exported, as they are.
    with _quiet(), torch.no_grad(), torch.compiler.set_stance("force_eager"):
        # Not strict: strict tracing reads the byte code, for dynamic Python that these modules do not have.
        program = torch.export.export(graph.module, graph.example, dynamic_shapes=dynamic_sizes(graph), strict=False)
        for node in program.graph.nodes:
            node.meta.pop("stack_trace", None)  # it names files of this machine
        if path.suffix == SUFFIXES[TORCH]:
            # Not into the file: on a full disk the destructor of torch's writer throws, which ends the process.
            content = io.BytesIO()
            torch.export.save(program, content)
            path.write_bytes(content.getbuffer())
            return
        names = {"input_names": list(graph.inputs), "output_names": list(graph.outputs)}
        written = torch.onnx.export(program, dynamo=True, verbose=False, **names)
        for node in written.model.graph.all_nodes():
            node.metadata_props.clear()  # names of modules, a third of a small file
        written.save(path)


def _quantize(path: Path, out: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    size = sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*"))
    with _quiet():
        quantize_dynamic(
            path,
            out,
            op_types_to_quantize=_QUANTIZED,
            per_channel=True,
            weight_type=QuantType.QInt8,
            reduce_range=True,  # seven bits: without VNNI, sums of eight-bit products saturate
            use_external_data_format=size > _ONE_FILE,
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporters: they log each pass, and warn of what is as intended."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
