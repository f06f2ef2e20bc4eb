"""The short way to a configuration, which most tests go, leads to hydra's."""

import warnings
from pathlib import Path

import fairseq
import pytest
from fairseq import options
from fairseq.dataclass import utils
from hydra import initialize_config_dir
from hydra.errors import ConfigCompositionException, OverrideParseException
from omegaconf import OmegaConf

from slam_plugin import compat
from tests.support import checkpoints, composing, training

OTHERS = ["--optimizer=slam_muon", "--lr=0.1,2e-3", "--lr-scheduler=slam_inverse_sqrt"]
COMMANDS = {
    "toy": training.command(Path("a folder's = {data}"), Path("saved, [here]"), seed=7),
    **{
        name: ["data", *getattr(checkpoints, name), *OTHERS, "--update-freq=1,2"]
        for name in ("TRANSDUCER", "PRETRAINING", "JOINT", "CLASSIFIER")
    },
    "fairseq": ["data", "--task=translation", "--arch=transformer", "--optimizer=adam", "--criterion=cross_entropy"],
}


def configuration(way, arguments, monkeypatch):
    compat.register()
    monkeypatch.setattr(utils, "compose", way)
    parsed = options.parse_args_and_arch(options.get_training_parser(), arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # hydra's about fairseq
        return utils.convert_namespace_to_omegaconf(parsed)


@pytest.mark.parametrize("name", COMMANDS)
def test_both_ways_lead_to_the_same_configuration(name, monkeypatch):
    found, expected = (configuration(way, COMMANDS[name], monkeypatch) for way in (composing.compose, composing.HYDRAS))
    assert list(found) == list(expected)
    for section in expected:
        assert found[section] == expected[section], section
        if OmegaConf.is_config(expected[section]):
            assert list(map(type, found[section].values())) == list(map(type, expected[section].values())), section


@pytest.mark.parametrize(
    ("override", "error"),
    [
        ("common.no_such_field=1", ConfigCompositionException),
        ("common.seed=one", ConfigCompositionException),
        ("common.seed='1", OverrideParseException),
    ],
)
def test_what_hydra_refuses_is_refused(override, error):
    compat.register()
    for way in (composing.compose, composing.HYDRAS):
        with initialize_config_dir(str(Path(fairseq.__file__).parent / "config")), pytest.raises(error):
            way("config", [override], strict=False)
