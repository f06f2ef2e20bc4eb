"""Imported where one process is forked into many: it learns for all of them how to parse a configuration.

fairseq has hydra parse each of its three hundred defaults, and ANTLR's parsers fill their tables as they go.
"""

import warnings

from fairseq import options
from fairseq.dataclass.utils import convert_namespace_to_omegaconf

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what hydra thinks of fairseq
    convert_namespace_to_omegaconf(
        options.parse_args_and_arch(options.get_training_parser(), ["data", "--arch", "transformer"])
    )
