"""The recipes for a laptop and for one GPU: read by the task, built at their size, each the other's diff."""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from fairseq import tasks
from fairseq.models import BaseFairseqModel

from slam_plugin.data.plan.config import Corpora
from slam_plugin.modules.cepstra import COEFFICIENTS
from slam_plugin.objectives.clusters import CEPSTRA, Clusters, write_clusters
from tests.support.configurations import composed
from tests.support.documents import PRETRAINING, README, ROOT, read, yaml_blocks

CONFIG = ROOT / "examples/slam/config"
FILES = ["speech/train.tsv", "speech/valid.tsv", "pairs/train.tsv", "pairs/synthetic.tsv", "pairs/valid.tsv"]
FILES += [f"text/{split}.{ending}" for split in ("train", "valid") for ending in ("bin", "idx")]
JOINT = {"kmeans", "span_mlm", "ctc"}
CONTINUED = {"contrastive", "masked_prediction", "span_mlm"}


class Recipe(NamedTuple):
    corpora: Corpora
    model: BaseFairseqModel


@pytest.fixture(scope="module")
def tree(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty file for each that the recipes name, a vocabulary, and centroids."""
    folder = tmp_path_factory.mktemp("tree")
    for name in FILES:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    for name in ("dict.txt", "spm.model"):
        (folder / name).write_bytes((toy / name).read_bytes())
    centroids, counts = np.zeros((5, 2 * COEFFICIENTS), dtype=np.float32), np.ones(5, dtype=np.int64)
    with (folder / "kmeans.npz").open("wb") as file:
        write_clusters(file, Clusters(centroids, counts, {"features": CEPSTRA}))
    return folder


def recipe(tree: Path, folder: str, name: str | Path) -> Recipe:
    given = {"task.data": tree, "task.corpora": CONFIG / folder / f"{name}.yaml", "checkpoint.save_dir": tree / "save"}
    cfg = composed(CONFIG / folder, "pretrain", {**given, "common.user_dir": ROOT / "slam_plugin"})
    task = tasks.setup_task(cfg.task)
    return Recipe(task.corpora, task.build_model(cfg.model))


@pytest.mark.parametrize(
    ("folder", "name", "objectives", "stages", "size"),
    [
        ("laptop", "pairs", {"ctc"}, [("pairs",)], 3.7),
        ("laptop", "text", {"span_mlm"}, [("text",)], 3.7),
        ("laptop", "speech_text_pairs", JOINT, [("speech", "text"), ("text", "pairs")], 3.7),
        ("laptop", "demo", JOINT, [("speech", "text"), ("text", "pairs")], 3.7),
        ("laptop", "speech_pairs", {"kmeans", "ctc"}, [("speech",), ("pairs",)], 3.7),
        ("laptop", "w2v_bert_2", CONTINUED | {"ctc"}, [("speech", "text", "pairs")], 3.7),
        ("one_gpu", "speech_text_pairs", JOINT, [("speech", "text"), ("speech", "text", "pairs")], 73.5),
        ("one_gpu", "w2v_bert_2", CONTINUED | {"tlm", "ctc"}, [("speech", "text", "pairs")], 73.5),
    ],
)
def test_a_recipe_is_what_its_name_says(tree, folder, name, objectives, stages, size):
    found = recipe(tree, folder, name)
    assert found.corpora.objectives.keys() == objectives == set(found.model.objectives)
    assert [stage.kinds for stage in found.corpora.stages] == stages
    assert sum(p.numel() for p in found.model.trunk.parameters()) / 1e6 == pytest.approx(size, rel=0.05)


def test_the_number_of_parameters_that_documents_name(tree):
    count = sum(parameter.numel() for parameter in recipe(tree, "laptop", "pairs").model.parameters())
    for document in (README, PRETRAINING):
        named = re.findall(r"`tiny`\s+(?:model|size)\s+\((\d\.\d)M\s+parameters", read(document))
        assert named == [f"{count / 1e6:.1f}"], document


def test_own_pairs_by_a_file_that_builds_on_a_recipe(tree, tmp_path):
    (block,) = [block for block in yaml_blocks(read(PRETRAINING)) if "pairs.yaml" in block]
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/corpora.yaml").write_text(block)
    own = recipe(tree, "laptop", tmp_path / "mine/corpora").corpora
    plain = recipe(tree, "laptop", "pairs").corpora
    assert own.objectives == plain.objectives and own.corpora == plain.corpora


def test_every_corpora_file_is_a_recipe_or_a_base():
    places = CONFIG / "laptop", CONFIG / "one_gpu"
    files = {path.relative_to(CONFIG).as_posix() for place in places for path in place.iterdir()}
    tried = {"laptop/pairs.yaml", "laptop/text.yaml", "laptop/speech_text_pairs.yaml", "one_gpu/speech_text_pairs.yaml"}
    tried |= {"laptop/demo.yaml", "laptop/speech_pairs.yaml", "laptop/w2v_bert_2.yaml", "one_gpu/w2v_bert_2.yaml"}
    bases = {"laptop/speech.yaml", "laptop/transcribed.yaml", "laptop/synthetic_pairs.yaml"}
    configurations = {f"{place}/pretrain.yaml" for place in ("laptop", "one_gpu")}
    fine_tuning = {"laptop/finetune_asr.yaml", "laptop/finetune_st.yaml", "laptop/translation_clauses.yaml"}
    assert files - fine_tuning == tried | bases | configurations
