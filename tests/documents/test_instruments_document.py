"""``docs/is_my_pretraining_working.md``: its commands run, its names are logged, its limits are the warnings'."""

import re
import shutil

import pytest

from docs import log_keys
from slam_plugin.instruments import verdicts
from slam_plugin.objectives.base import REGISTRY
from tests.instruments.test_measure import KINDS, batches, built, text_of
from tests.support import documents

DOCUMENT = "docs/is_my_pretraining_working.md"


@pytest.fixture(scope="module")
def text() -> str:
    return documents.read(DOCUMENT)


def test_every_command_runs(text, tmp_path, reference):
    run = tmp_path / "runs/mine"
    run.mkdir(parents=True)
    shutil.copy(reference.folder / "rank0.log", run / "pretrain.log")
    commands = list(documents.commands(text))
    assert len(commands) == 2
    for command in commands:
        documents.run(command, tmp_path)
    assert (run / "report.html").exists() and (run / "instruments.svg").exists()


def test_every_name_in_the_table_is_logged(text, reference):
    from slam_plugin.instruments.measure import measure

    logged = {*reference.logged("valid")[0], *measure(built(), batches(), text_of, KINDS), "ctc_progress"}
    rows = [line.split("|")[2:4] for line in text.splitlines() if line.startswith("| ") and "?" in line.split("|")[1]]
    names = {name for row in rows for cell in row for name in re.findall(r"`(\w+)`", cell)} - {"_fresh", "gradient_"}
    assert len(rows) == 8 and len(names) == 18
    assert names <= logged
    assert any(name.startswith("gradient_") for name in logged)


def test_the_limits_are_those_of_the_warnings(text):
    assert (verdicts.MIN_OWN, verdicts.MIN_RANK, verdicts.CTC_PATIENCE) == (0.3, 0.1, 0.15)
    assert (verdicts.DEAD_PERPLEXITY, verdicts.DEAD_SHARE, verdicts.MAX_BLANKS) == (4.0, 0.05, 0.99)
    assert verdicts.SPELLING_CER == 80.0 and "`ctc_cer` under 80" in text
    for words in (
        "under .3, unless CTC spells: **w",
        "under a tenth of it: **w",
        "after 15 % of its",
        "under 4, or under 5 % of",
        "under 99 %",
    ):
        assert words in text


def test_what_a_run_logs_is_in_the_reference(reference):
    """Training and validation of a toy, its instruments included."""
    described = {key for objective in REGISTRY.values() for key in log_keys.keys_of(objective)}
    described |= {*log_keys.LOGGED["Pre-training, beside the objectives"], *log_keys.INSTRUMENTS}
    described |= {key for keys in log_keys.FAIRSEQ for key in keys.split(", ")} | {"epoch", "update"}
    patterns = [re.sub(r"N$|NAME|KIND|METRIC|\\\{.*?\\\}", r".+", re.escape(key)) for key in described]
    logged = {key for subset in ("train_inner", "valid") for record in reference.logged(subset) for key in record}
    assert len(logged) > 40
    assert not [key for key in sorted(logged) if not any(re.fullmatch(pattern, key) for pattern in patterns)]
