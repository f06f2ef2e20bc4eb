"""fairseq's configurations of a recipe, from a file as hydra does it and from a command's flags."""

import warnings
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fairseq import options
from fairseq.dataclass.initialize import add_defaults, hydra_init
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from slam_plugin import compat


def composed(folder: Path, name: str, given: Mapping[str, object]) -> DictConfig:
    """Return the configuration that ``fairseq-hydra-train`` makes of ``folder/name.yaml`` and overrides."""
    compat.register()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # hydra's warnings about fairseq
        hydra_init(name)
        with initialize_config_dir(str(folder)):
            cfg = compose(name, overrides=[f"{key}={value}" for key, value in given.items()])
        add_defaults(cfg)
    return OmegaConf.create(OmegaConf.to_container(cfg, resolve=True, enum_to_str=True))


def parsed(words: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the configuration that ``fairseq-train`` makes of its arguments, section by section."""
    compat.register()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        flags = options.parse_args_and_arch(options.get_training_parser(), list(words))
        cfg = convert_namespace_to_omegaconf(flags)
    return {name: plain(section) for name, section in cfg.items() if section is not None}


def plain(section: Any) -> dict[str, Any]:
    """Return a section's fields. A section without a dataclass is a namespace of all flags."""
    if isinstance(section, Namespace):
        return vars(section)
    return OmegaConf.to_container(section, resolve=True, enum_to_str=True)
