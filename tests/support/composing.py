"""A short way to what hydra composes of a command's flags, for tests that start hundreds of commands.

fairseq gives hydra all of its three hundred options, most of which have their default. hydra parses each of them anew
and copies all of them several times, which takes a fifth of a toy training. Here an option that was parsed before is
not parsed again, and the options are set in a copy of the configuration without them.

tests/test_composing.py compares both ways. Processes that tests start as programs go hydra's.
"""

import copy
import functools
from collections.abc import Callable, Sequence

from fairseq.dataclass import utils
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

HYDRAS: Callable[..., DictConfig] = utils.compose


def compose(config_name: str, overrides: Sequence[str], strict: bool) -> DictConfig:
    """Return the configuration with a task, a model, an optimizer and so on, and their values.

    Args:
        overrides: ``GROUP=NAME`` or ``SECTION.FIELD=VALUE``, in hydra's grammar.
        strict: not looked at, as in hydra.
    """
    cfg = copy.deepcopy(_without_overrides(config_name))
    parsed = [_parsed(text) for text in overrides]
    values = [override for override in parsed if "." in override.key_or_group]
    OmegaConf.set_struct(cfg, False)
    for override in parsed:
        if "." not in override.key_or_group:
            path = f"{override.key_or_group}/{override.value()}.yaml"
            cfg[override.key_or_group] = ConfigStore.instance().load(path).node
    OmegaConf.set_struct(cfg, True)
    ConfigLoaderImpl._apply_overrides_to_config(values, cfg)
    return cfg


@functools.cache
def _without_overrides(config_name: str) -> DictConfig:
    return HYDRAS(config_name, overrides=[], strict=False)


@functools.cache
def _parsed(text: str) -> Override:
    (override,) = OverridesParser.create().parse_overrides([text])
    return override


utils.compose = compose
