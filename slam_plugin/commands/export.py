"""Write a model as a folder that another library loads.

    slam export --to hf --checkpoint runs/recognizer/checkpoint_best.pt --out recognizer

A CTC model becomes a folder for ``AutoModelForCTC`` and the pipeline ``automatic-speech-recognition`` of transformers,
with its tokenizer; the trunk of any other checkpoint one for ``AutoModel``. A trunk in another shape than that of
w2v-BERT 2.0 takes its code along: pass ``trust_remote_code=True``. Adapters are merged first. docs/interchange.md says
more.
"""

import argparse

from slam_plugin.program import Program


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    parser.add_argument("--to", required=True, choices=("hf",), help="what reads the folder: hf is transformers")
    parser.add_argument("--checkpoint", required=True, metavar="FILE", help="checkpoint of pre-training or fine-tuning")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="new folder to write")


def run(options: argparse.Namespace) -> None:
    """Write the folder. Print what was written and what was left out, and its path."""
    from slam_plugin.interchange.export import export_weights  # not before --help: it needs torch

    print(*export_weights(options.checkpoint, options.out), options.out, sep="\n")


main = Program("slam export", __doc__, add_arguments, run)
