"""Imported before forking: makes ready what every fork would make for itself.

hydra parses each of fairseq's three hundred defaults (see composing), and ANTLR's parsers fill their tables on the way.
In each fork the garbage collector would visit all imported objects, and so copy the memory that the forks share.
"""

import gc
import warnings

import dateutil.relativedelta  # noqa: F401  (of the loop's first epoch)
import torch.utils.serialization.config  # noqa: F401  (of the first checkpoint)
from fairseq import options
from fairseq.dataclass.utils import convert_namespace_to_omegaconf

import tests.support.composing  # noqa: F401

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # hydra's warnings about fairseq
    convert_namespace_to_omegaconf(
        options.parse_args_and_arch(options.get_training_parser(), ["data", "--arch", "transformer"])
    )

gc.collect()
gc.freeze()
