"""Imported before forking, beside warm: the options of the plugin are parsed, and its workarounds applied."""

import warnings
from pathlib import Path

from fairseq import options
from fairseq.dataclass.utils import convert_namespace_to_omegaconf

import tests.support.composing  # noqa: F401
from slam_plugin import compat
from tests.support import checkpoints, training

compat.register()
for arguments in (
    training.command(Path("data"), Path("saved")),
    *(["data", *flags, "--optimizer=slam_adamw"] for flags in (checkpoints.CTC, checkpoints.TRANSLATION)),
):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # hydra's warnings about fairseq
        convert_namespace_to_omegaconf(options.parse_args_and_arch(options.get_training_parser(), arguments))
