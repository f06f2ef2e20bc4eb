"""Write a model as a folder that runs, or loads, without this project.

    slam export --to onnx --checkpoint runs/recognizer/checkpoint_best.pt --out recognizer

``onnx`` and ``torch`` write graphs, for onnxruntime or for torch alone, with waveforms as input. A CTC model is one
graph, to logits. A model with a decoder is an encoder and a step of the decoder. Of pre-training the encoder is
written. ``model.json`` beside them describes inputs, outputs and vocabulary. ``--int8`` adds quantized graphs of ONNX.

``hf`` writes a folder that transformers loads: a CTC model for ``AutoModelForCTC`` and the pipeline
``automatic-speech-recognition``, with its tokenizer, the trunk of any other checkpoint for ``AutoModel``. A trunk in
another shape than that of w2v-BERT 2.0 takes its code along: pass ``trust_remote_code=True``.

Adapters are merged first. docs/interchange.md says what fits.
"""

import argparse

from slam_plugin.program import Program, UsageError

TARGETS = {
    "hf": "a folder of transformers",
    "onnx": "ONNX graphs, for onnxruntime",
    "torch": "programs of torch.export, for torch alone",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    targets = "; ".join(f"{name}: {what}" for name, what in TARGETS.items())
    parser.add_argument("--to", required=True, choices=TARGETS, help=f"what is written. {targets}")
    parser.add_argument("--checkpoint", required=True, metavar="FILE", help="checkpoint of pre-training or fine-tuning")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="new folder to write")
    parser.add_argument(
        "--int8", action="store_true", help="with --to onnx: add graphs whose products by weights are in eight bits"
    )


def run(options: argparse.Namespace) -> None:
    """Write the folder. Print what was written and what was left out, and its path."""
    if options.int8 and options.to != "onnx":
        raise UsageError(f"--int8: found with --to {options.to}, expected --to onnx")
    # Not before --help: they need torch.
    if options.to == "hf":
        from slam_plugin.interchange.export import export_weights

        report = export_weights(options.checkpoint, options.out)
    else:
        from slam_plugin.interchange.programs import export_program

        report = export_program(options.checkpoint, options.out, options.to, options.int8)
    print(*report, options.out, sep="\n")


main = Program("slam export", __doc__, add_arguments, run)
