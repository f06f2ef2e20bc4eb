"""The paper's runs (``examples/slam/config/paper``, ``docs/pretraining.md``): each is as its name and text say."""

import functools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
import yaml
from fairseq import tasks
from fairseq.data import Dictionary
from omegaconf import DictConfig

from slam_plugin.data.plan.config import Corpora
from slam_plugin.modules.schedule import Schedule
from slam_plugin.objectives.base import REGISTRY
from slam_plugin.objectives.clusters import read_clusters
from tests.support import training
from tests.support.configurations import composed, parsed
from tests.support.documents import (
    PRETRAINING,
    ROOT,
    Command,
    after,
    commands,
    execute,
    pieces,
    read,
    updates,
    yaml_blocks,
)

PAPER = ROOT / "examples/slam/config/paper"
SIZE = "pretrain_xl"
BASES = {"speech"}  # only included by others, not a run by itself

W2V_BERT = {"contrastive", "masked_prediction"}
SLAM = {*W2V_BERT, "span_mlm"}
TWO_STAGES = {0: {"speech", "text"}, 500_000: {"speech", "text", "pairs"}}
# name: objectives, stages
RECIPES = {
    "w2v_conformer": ({"contrastive"}, {0: {"speech"}}),
    "w2v_bert": (W2V_BERT, {0: {"speech"}}),
    "best_rq": ({"best_rq"}, {0: {"speech"}}),
    "bert": ({"span_mlm"}, {0: {"text"}}),
    "w2v_conformer_bert": ({"contrastive", "span_mlm"}, {0: {"speech", "text"}}),
    "slam": (SLAM, {0: {"speech", "text"}}),
    "slam_tlm": ({*SLAM, "tlm"}, TWO_STAGES),
    "slam_tlm_one_stage": ({*SLAM, "tlm"}, {0: {"speech", "text", "pairs"}}),
    "slam_tlm_stm": ({*SLAM, "tlm", "stm"}, TWO_STAGES),
    "slam_tlm_stm_w2v_bert": ({*SLAM, "tlm", "stm"}, {**TWO_STAGES, 1_000_000: {"speech"}}),
    "slam_tlm_ctc": ({*SLAM, "tlm", "ctc"}, TWO_STAGES),
}
VOCABULARY = 32_000
TINY = {"max-update": 3, "num-workers": 0, "distributed-world-size": 1}


def tables() -> Iterator[list[str]]:
    """The rows of all tables of the document, cell by cell."""
    for line in read(PRETRAINING).splitlines():
        if line.startswith("| "):
            yield [cell.strip() for cell in line.strip("|").split("|")]


def spans(text: str) -> list[str]:
    return [piece.text for piece in pieces(text) if piece.language is None]


def layout() -> list[str]:
    """The files of the data folder, after the document's table."""
    rows = [cells[0] for cells in tables() if re.match(r"`(dict|speech/|text/|pairs/)", cells[0])]
    names = [name for row in rows for name in spans(row)]
    return [n.replace("-00.", f"-{i:02d}.") for n in names for i in range(10 if "-00." in n else 1)]


class Row(NamedTuple):
    """A training command of the document."""

    command: Command
    recipe: str  # the corpora file's name
    data: str
    save_dir: str
    continued: bool  # begins with the weights of another run
    hydra: bool


def row_of(command: Command) -> Row:
    words, given = command.words, dict(word.split("=", 1) for word in command.words if "=" in word)
    if words[0] == "fairseq-train":
        return Row(command, Path(after(words, "--corpora")).stem, words[1], after(words, "--save-dir"), False, False)
    assert words[1:5] == ["--config-dir", "examples/slam/config/paper", "--config-name", SIZE]
    recipe = Path(given["task.corpora"]).stem
    assert given["task.corpora"] == f"$PWD/examples/slam/config/paper/{recipe}.yaml"
    places = [given[key].removeprefix("$PWD/") for key in ("task.data", "checkpoint.save_dir")]
    return Row(command, recipe, *places, "+model.pretrained" in given, True)


def rows() -> list[Row]:
    return [row_of(command) for command in commands(read(PRETRAINING)) if command.words[0].startswith("fairseq-")]


class Recipe(NamedTuple):
    cfg: DictConfig  # of the whole run
    task: Any
    corpora: Corpora


@pytest.fixture(scope="module")
def tree(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty file for each that the document names, and a vocabulary."""
    folder = tmp_path_factory.mktemp("tree")
    for name in layout():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    for name in ("dict.txt", "spm.model"):
        (folder / name).write_bytes((toy / name).read_bytes())
    return folder


@pytest.fixture(scope="module")
def recipe(tree: Path) -> Callable[[str], Recipe]:
    """A recipe by its name, over ``tree``."""

    @functools.cache
    def find(name: str) -> Recipe:
        return over(tree, PAPER / f"{name}.yaml")

    return find


def over(tree: Path, corpora: Path) -> Recipe:
    given = {"task.data": tree, "task.corpora": corpora, "checkpoint.save_dir": tree / "save"}
    cfg = composed(PAPER, SIZE, {**given, "common.user_dir": ROOT / "slam_plugin"})
    task = tasks.setup_task(cfg.task)
    return Recipe(cfg, task, task.corpora)


# ---------------------------------------------------------------------------------------------------------------------
# the files


def test_every_file_is_a_recipe_or_a_base():
    assert {path.stem for path in PAPER.glob("*")} == {*RECIPES, *BASES, SIZE}


def test_the_table_says_what_each_file_builds_on():
    table = {spans(cells[0])[0]: spans(cells[1]) for cells in tables() if re.match(r"`\w+\.yaml`$", cells[0])}
    assert {Path(name).stem for name in table} == {*RECIPES, *BASES}
    for name, bases in table.items():
        found = yaml.safe_load((PAPER / name).read_text()).get("base", [])
        assert bases == ([found] if isinstance(found, str) else found), name


@pytest.mark.parametrize("name", RECIPES)
def test_each_recipe_at_full_size(name, recipe):
    """The corpora and objectives of its row over the stated layout, and the paper's model, which takes no memory."""
    objectives, stages = RECIPES[name]
    cfg, task, corpora = recipe(name)
    assert corpora.objectives.keys() == objectives and corpora.mode == "all"
    assert {stage.start: set(stage.kinds) for stage in corpora.stages} == stages
    assert {corpus.kind for corpus in corpora.corpora.values()} == set.union(*stages.values())

    dictionary = Dictionary()
    for i in range(VOCABULARY):
        dictionary.add_symbol(f"piece{i}")
    task.vocabulary = SimpleNamespace(dictionary=dictionary, hash="00" * 32)
    with torch.device("meta"):
        model = task.build_model(cfg.model)
    assert model.objectives.keys() == objectives
    trunk = model.trunk
    assert (trunk.dim, len(trunk.speech_layers), len(trunk.multimodal_layers)) == (1024, 8, 16)
    assert all(parameter.is_meta for parameter in model.parameters())
    assert round(sum(parameter.numel() for parameter in trunk.parameters()) / 1e9, 1) == 0.6
    assert model.speech_mask is None, "the paper's mask vectors are random"


def test_options_that_make_a_row_what_it_is(recipe):
    contexts = {
        "w2v_conformer": "multimodal",
        "w2v_conformer_bert": "multimodal",
        "w2v_bert": "speech",
        "slam_tlm_stm": "speech",
    }
    for name, context in contexts.items():
        assert recipe(name).corpora.objectives["contrastive"].options["context"] == context
    tlm, ctc = recipe("slam_tlm").corpora.objectives, recipe("slam_tlm_ctc").corpora.objectives
    assert [objectives["span_mlm"].options["mask_span"] for objectives in (tlm, ctc)] == [5, 20]
    assert {objective.weight for objective in tlm.values()} == {Schedule.of(1.0)}
    weights = {"contrastive": 1.0, "masked_prediction": 1.0, "span_mlm": 0.3, "tlm": 0.03, "ctc": 0.03}
    assert {name: objective.weight for name, objective in ctc.items()} == {
        name: Schedule.of(weight) for name, weight in weights.items()
    }


def test_the_layout_is_what_the_recipes_read(recipe, tree):
    used = {"dict.txt", "spm.model"}
    for corpus in [corpus for name in RECIPES for corpus in recipe(name).corpora.corpora.values()]:
        endings = (".bin", ".idx") if corpus.kind == "text" else ("",)
        used |= {f"{path.relative_to(tree)}{end}" for path in (*corpus.train, corpus.valid) for end in endings}
    assert used == set(layout())


def test_the_global_batch_is_the_one_that_is_stated(recipe):
    cfg, _, corpora = recipe("slam_tlm")
    ranks = cfg.distributed_training.distributed_world_size
    lengths = {"speech": 1500, "text": 512, "pairs": 1230}  # frames of 10 ms, tokens
    items = {
        corpus.kind: corpus.budget // lengths[corpus.kind] * corpora.quota[corpus.kind] * ranks
        for corpus in corpora.corpora.values()
    }
    assert items == {"speech": 2048, "text": 8192, "pairs": 256} and cfg.optimization.update_freq == [1]
    assert corpora.corpora["pairs"].max_length > 3520, "LibriSpeech's development sets have utterances of 35 s"


def test_fewer_ranks_by_a_file_that_builds_on_a_recipe(recipe, tree, tmp_path):
    (block,) = [block for block in yaml_blocks(read(PRETRAINING)) if "slam_tlm.yaml" in block]
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "mine.yaml").write_text(block)
    mine, plain = over(tree, tmp_path / "mine.yaml").corpora, recipe("slam_tlm").corpora
    assert mine.quota == {kind: 8 * number for kind, number in plain.quota.items()}
    assert (mine.corpora, mine.stages, mine.objectives) == (plain.corpora, plain.stages, plain.objectives)


# ---------------------------------------------------------------------------------------------------------------------
# the document


def test_the_flags_say_what_the_configuration_says():
    (row,) = [row for row in rows() if not row.hydra]
    flags = parsed(row.command.words[1:])
    written = yaml.safe_load((PAPER / f"{SIZE}.yaml").read_text())
    places = {"data": row.data, "corpora": f"examples/slam/config/paper/{row.recipe}.yaml", "save_dir": row.save_dir}
    for section, values in written.items():
        for key, value in values.items():
            if key == "_name":
                assert flags[section][key].removesuffix("_xl") == value
            elif key != "size":  # which --arch says
                assert flags[section][key] == places.get(key, value), f"{section}.{key}"
    assert row.command.words[row.command.words.index("--arch") + 1] == "slam_pretraining_xl"


def test_each_table_of_the_paper_has_its_commands():
    """The rows with a figure of the paper, in the order of the table, then those in neither table."""
    table = [cells for cells in tables() if re.match(r"`\w+\.yaml`$", cells[0])]
    named = [
        [f"{data}/{Path(spans(cells[0])[0]).stem}" for cells in table if cells[column]]
        for data, column in (("mc4", 3), ("librilm", 4))
    ]
    found = [row for row in rows() if row.hydra and not row.continued]
    places = [f"{Path(row.data).name}/{row.recipe}" for row in found]
    assert places[: len(named[0]) + len(named[1])] == [*named[0], *named[1]]
    assert {row.recipe for row in found} == RECIPES.keys() and len(set(places)) == len(places)
    for row, place in zip(found, places, strict=True):
        assert (row.data, row.save_dir) == (f"data/{Path(place).parent}", f"runs/{place}")


def test_lines_of_the_variants_are_options_that_exist():
    tried = 0
    for cells in tables():
        for span in spans(cells[1] if len(cells) == 3 else ""):
            if re.match(r"\w+: \{", span):
                ((name, given),) = yaml.safe_load(span).items()
                Schedule.of(given.pop("weight", 1.0))
                REGISTRY[name].Options(**given)
                tried += 1
    assert tried >= 8


# ---------------------------------------------------------------------------------------------------------------------
# the commands, as toys


@pytest.fixture(scope="module")
def checkout(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``examples``, and ``data/mc4`` and ``data/librilm`` with a toy in the stated layout."""
    folder = tmp_path_factory.mktemp("checkout")
    (folder / "examples").symlink_to(ROOT / "examples")
    data = folder / "data/mc4"
    for name in layout():
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        source = toy / re.sub(r"train-\d+", "a", name)
        (data / name).write_bytes(source.read_bytes())
    for kind in ("speech", "pairs"):
        (data / kind / "wav").symlink_to(toy / "wav")
    (folder / "data/librilm").symlink_to(data)
    (folder / "early").mkdir()
    for name, (_, stages) in RECIPES.items():
        early = {i: sorted(kinds) for i, kinds in enumerate(stages.values())}
        child = {"base": str(PAPER / f"{name}.yaml"), "stages": early}
        (folder / "early" / f"{name}.yaml").write_text(yaml.safe_dump(child))
    return folder


def toy_words(row: Row, folder: Path) -> list[str]:
    """The command of ``row`` as a toy in ``folder``, over three updates."""
    words = [word.replace("$PWD", str(folder)) for word in row.command.words]
    corpora = folder / "early" / f"{row.recipe}.yaml"
    if not row.hydra:
        flags = {**training.MODEL, **TINY, "corpora": corpora, "user-dir": ROOT / "slam_plugin"}
        return [*words, *(f"--{name}={value}" for name, value in flags.items()), "--cpu"]
    given = {
        **{f"+model.{name.replace('-', '_')}": value for name, value in training.MODEL.items()},
        "common.user_dir": ROOT / "slam_plugin",
        "dataset.num_workers": TINY["num-workers"],
        "distributed_training.distributed_world_size": TINY["distributed-world-size"],
        "optimization.max_update": TINY["max-update"],
        "task.corpora": corpora,
        "++common.cpu": "true",
    }
    return [*words, *(f"{key}={value}" for key, value in given.items())]


def test_the_clusters_are_fitted_where_the_objective_looks_for_them(checkout, pretraining):
    given = [command for command in commands(read(PRETRAINING)) if command.words[:2] == ["slam", "cluster"]]
    assert len(given) == 2
    for number, command in enumerate(given):
        smaller = ["--clusters", "8"]  # the toy is short
        if "--checkpoint" in command.words:
            smaller += ["--checkpoint", str(pretraining.path), "--layer", "1"]
        words = [*command.words, *smaller]
        execute(words, checkout, checkout / f"cluster{number}.log", f"{PRETRAINING}:{command.line}")
    for name, kind in ((REGISTRY["kmeans"].Options().centroids, "cepstra"), ("kmeans_layer.npz", "layer")):
        found = read_clusters(checkout / "data/librilm" / name)
        assert (len(found.centroids), found.recipe["features"]) == (8, kind)


def test_the_commands_train_as_toys(checkout):
    """Through every stage of each recipe. Continued pre-training starts from the run that its command names.

    Of commands that differ in the data folder alone the first one runs.
    """
    first = {(row.recipe, row.continued, row.hydra): row for row in reversed(rows())}
    for row in sorted(first.values(), key=lambda row: row.command.line):
        log = checkout / f"{row.recipe}{row.command.line}.log"
        output = execute(toy_words(row, checkout), checkout, log, f"{PRETRAINING}:{row.command.line}")
        assert updates(checkout / row.save_dir / "checkpoint_last.pt") == TINY["max-update"]
        for objective in RECIPES[row.recipe][0]:
            assert f'"train_{objective}_' in output, f"{row}: nothing was logged of {objective}"
        assert (": took " in output) == row.continued
