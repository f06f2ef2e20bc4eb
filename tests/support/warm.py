"""Imported before forking: warms up the parsers of configurations for all forks.

fairseq lets hydra parse each of its three hundred defaults, and ANTLR's parsers fill their tables on the way.
"""

import warnings

from fairseq import options
from fairseq.dataclass.utils import convert_namespace_to_omegaconf

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # hydra's warnings about fairseq
    convert_namespace_to_omegaconf(
        options.parse_args_and_arch(options.get_training_parser(), ["data", "--arch", "transformer"])
    )
