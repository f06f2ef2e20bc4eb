"""Make a checkpoint to start from, of another library's weights.

    slam import w2v-bert-2 w2v-bert-2.0 --vocab data --out start.pt

FOLDER is what transformers saves of ``Wav2Vec2BertModel`` or ``Wav2Vec2BertForCTC``: ``config.json`` and
``model.safetensors``, its shards, or ``pytorch_model.bin``. Nothing in it is run. The checkpoint holds its
configuration and vocabulary, and pre-training and every fine-tuning take it as ``--pretrained``. docs/interchange.md
says what fits.
"""

import argparse

from slam_plugin.program import Program, positive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    parser.add_argument("format", choices=("w2v-bert-2",), help="what the folder holds")
    parser.add_argument("folder", metavar="FOLDER", help="folder with config.json and the weights")
    parser.add_argument("--vocab", required=True, metavar="FOLDER", help="folder with dict.txt and spm.model")
    parser.add_argument("--out", required=True, metavar="FILE", help="checkpoint to write")
    parser.add_argument(
        "--speech-layers",
        type=positive,
        metavar="N",
        help="layers of the speech encoder, from the lowest one; text shares the others (default: a third of all)",
    )
    parser.add_argument(
        "--text-embedding",
        metavar="FOLDER",
        help="XLM-R of the same size, whose word embeddings the pieces take that both vocabularies have (default: the "
        "text embedding begins afresh)",
    )


def run(options: argparse.Namespace) -> None:
    """Write the checkpoint. Print what was taken and what begins afresh, and its path."""
    from slam_plugin.interchange.w2v_bert_2 import import_weights  # not before --help: it needs torch

    report = import_weights(options.folder, options.vocab, options.out, options.speech_layers, options.text_embedding)
    print(*report, options.out, sep="\n")


main = Program("slam import", __doc__, add_arguments, run)
