"""``docs/finetuning.md`` and ``docs/decoding.md``: the paper's fine-tuning as toys, and at full size."""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import soundfile
import torch
from fairseq import tasks

from data_prep.text.binarize import binarize
from data_prep.text.labeled import Row
from data_prep.text.sentences import write_sentences
from data_prep.text.vocab import train_vocabulary
from data_prep.text.vocabulary_files import place_vocabulary
from slam_plugin.data.manifests.manifest import Manifest
from tests.support import training
from tests.support.configurations import composed, parsed, plain
from tests.support.documents import (
    DECODING,
    FINETUNING,
    ROOT,
    VOCABULARY,
    Command,
    after,
    commands,
    kind,
    pieces,
    read,
    run,
    run_python,
)

CONFIGS, LAPTOP = ROOT / "examples/slam/config/finetune", ROOT / "examples/slam/config/laptop"
LANGUAGES = ("de", "ca", "ar", "tr")
SUBSETS = (
    *("test-ami-ihm", "test-ami-sdm1", "test-common-voice", "test-switchboard", "test-callhome"),
    *("test-tedlium", "test-wsj"),
)
# file: the folder that its command of the document saves to
RECIPES = {
    "st": "runs/covost_de",
    "st_multilingual": "runs/covost",
    "st_joint": "runs/covost_joint",
    "asr_ctc": "runs/asr_ctc",
    "asr_transducer": "runs/asr_transducer",
    "speechstew": "runs/speechstew",
    "glue": "runs/glue/mnli",
    "normalization": "runs/normalization",
    "mt": "runs/mt",
}
SMALL_RECIPES = {"finetune_asr": "runs/few_asr", "finetune_st": "runs/few_st"}
PLACES = {**dict.fromkeys(RECIPES, CONFIGS), **dict.fromkeys(SMALL_RECIPES, LAPTOP)}


def trainings() -> dict[str, Command]:
    """The document's fairseq-train commands by the folder they save to."""
    found = [command for command in commands(read(FINETUNING)) if command.words[0] == "fairseq-train"]
    return {after(command.words, "--save-dir"): command for command in found}


# ---------------------------------------------------------------------------------------------------------------------
# a folder with a toy in the stated layout


@pytest.fixture(scope="module")
def checkout(toy: Path, reference: training.Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("slam_plugin", "examples"):
        (folder / name).symlink_to(ROOT / name)
    earlier = {after(command.words, "--pretrained") for command in trainings().values()}
    for name in {name for name in earlier if str(Path(name).parent) not in trainings()}:
        (folder / name).parent.mkdir(parents=True)
        (folder / name).symlink_to(reference.folder / "checkpoint_last.pt")
    manifest = Manifest.open(toy / "pairs/train.tsv")
    texts = [manifest.value(row, "tgt_text") for row in range(len(manifest))]
    for language in LANGUAGES:
        (folder / "texts").mkdir(exist_ok=True)
        (folder / f"texts/{language}.txt").write_text("\n".join(texts) + "\n")
    (folder / "texts/en.txt").write_text("\n".join(texts) + "\n")
    (folder / "names.txt").write_text(f"{texts[0].split()[0]}\n")
    shutil.copytree(toy / "wav", folder / "recordings", ignore=lambda _, names: sorted(names)[2:])
    samples, rate = soundfile.read(toy / manifest.value(0, "audio"))
    soundfile.write(folder / "talk.flac", samples, rate)
    soundfile.write(folder / "recordings/a.wav", samples, rate)
    write_speech(toy, folder / "data", texts)
    write_text(toy, folder / "data", texts)
    return folder


def write_speech(toy: Path, data: Path, texts: Sequence[str]) -> None:
    sets = {
        "covost_de": ("train", "valid", "test"),
        "covost": ("train", "valid", "test"),
        "librispeech": ("train", "dev-clean", "dev-other", "test-clean", "test-other"),
        "speechstew": ("train", "valid", *SUBSETS),
        "few": ("train", "valid"),
        "few_st": ("train", "valid"),
    }
    for name, splits in sets.items():
        (data / name).mkdir(parents=True)
        (data / name / "wav").symlink_to(toy / "wav")
        for split in splits:
            lines = (toy / f"pairs/{'train' if split == 'train' else 'valid'}.tsv").read_text().splitlines()
            if name == "few_st":
                texts_of = ["src_text", *(line.rpartition("\t")[2] for line in lines[1:])]
                lines = [f"{line}\t{text}" for line, text in zip(lines, texts_of, strict=True)]
            if name == "covost":
                languages = ["tgt_lang", *LANGUAGES * len(lines)]
                lines = [f"{line}\t{language}" for line, language in zip(lines, languages, strict=False)]
            (data / name / f"{split}.tsv").write_text("\n".join(lines) + "\n")
        if name == "few":
            place_vocabulary(toy, data / name)
        elif name != "covost":
            train_vocabulary(texts, data / name, VOCABULARY)
    # The command of the document makes the same vocabulary of the same text.
    train_vocabulary(texts * len(LANGUAGES), data / "covost", VOCABULARY, languages=LANGUAGES)
    for name in ("covost", "few_st"):
        place_vocabulary(toy, data / name / "source")
    for language in LANGUAGES:
        write_sides(data / f"covost/mt/{language}/train.source-target", texts, toy, data / "covost")


def write_text(toy: Path, data: Path, texts: Sequence[str]) -> None:
    labels = ("contradiction", "entailment", "neutral")
    rows = [Row(labels[i % 3], (text, texts[i - 1])) for i, text in enumerate(texts)]
    write_sentences(dict.fromkeys(("train", "valid", "valid1", "test"), rows), toy, data / "glue/mnli", labels)
    place_vocabulary(toy, data / "normalization")
    train_vocabulary(texts, data / "mt", VOCABULARY)
    place_vocabulary(toy, data / "mt/source")
    for split in ("train", "valid", "test"):
        write_sides(data / f"normalization/{split}.written-spoken", texts, toy, toy)
        write_sides(data / f"mt/{split}.en-de", texts, toy, data / "mt")
    (data / "normalization/valid.classes").write_text("".join(f"{'plain' if i % 2 else 'date'}\n" for i in range(12)))


def write_sides(prefix: Path, texts: Sequence[str], read_by: Path, written_by: Path) -> None:
    """Two binarised sides, the second one the first backwards."""
    sides = prefix.suffix.removeprefix(".").split("-")
    prefix.parent.mkdir(parents=True, exist_ok=True)
    for side, vocabulary in zip(sides, (read_by, written_by), strict=True):
        lines = texts if side == sides[0] else [" ".join(reversed(text.split())) for text in texts]
        path = prefix.with_name(f"{prefix.name}.{side}.txt")
        path.write_text("\n".join(lines) + "\n")
        binarize(path, vocabulary, prefix.with_name(f"{prefix.name}.{side}"))


def smaller(command: Command, folder: Path) -> Command:
    """The command on fewer test sets. What only a longer run leaves is put there."""
    words = list(command.words)
    if "--subsets" in words:
        at = words.index("--subsets") + 1
        end = next(i for i in range(at, len(words)) if words[i].startswith("--"))
        del words[at + 2 : end]
    if kind(words) == "slam average":
        best = folder / Path(after(words, "--inputs")).parent
        for number in range(2):
            shutil.copy(best / "checkpoint_last.pt", best / f"checkpoint.best_bleu_{number}.0.pt")
    return Command(command.line, words, command.log)


def test_the_commands_run_as_toys(checkout):
    """Those of fine-tuning, then those of decoding with what they made."""
    found = [*commands(read(FINETUNING)), *commands(read(DECODING))]
    kinds = {kind(command.words) for command in found}
    for name in ("slam_speech_to_text", "slam_joint_translation", "slam_sentence_prediction", "slam_translation"):
        assert f"fairseq-train {name}" in kinds
    for command in found:
        run(smaller(command, checkout), checkout)
    blocks = [piece.text for piece in pieces(read(DECODING)) if piece.language == "python"]
    assert len(blocks) == 1
    run_python(blocks[0], checkout)
    assert (checkout / "states/talk.npy").is_file()
    log = (checkout / "runs/covost/scores/scores.md").read_text()
    assert all(f"| test {language} " in log for language in ("de", "ca"))


# ---------------------------------------------------------------------------------------------------------------------
# flags and configurations


def test_every_file_has_its_command_and_the_other_way_round():
    assert {path.stem for path in CONFIGS.glob("*.yaml")} == {*RECIPES, "joint_corpora"}
    assert {path.stem for path in LAPTOP.glob("finetune_*.yaml")} == {*SMALL_RECIPES}
    assert set(trainings()) == {*RECIPES.values(), *SMALL_RECIPES.values()}
    table = read(FINETUNING)
    assert all(f"{name}.yaml`" in table for name in PLACES)


def overrides(words: Sequence[str]) -> dict[str, object]:
    """What a file leaves to the command line, as the flags have it."""
    given = {"task.data": words[1], "checkpoint.save_dir": after(words, "--save-dir")}
    given["model.pretrained"] = after(words, "--pretrained")
    return given | ({"task.corpora": after(words, "--corpora")} if "--corpora" in words else {})


@pytest.mark.parametrize("name", PLACES)
def test_the_flags_say_what_the_configuration_says(name):
    """Every field of every section, those left out included."""
    words = trainings()[{**RECIPES, **SMALL_RECIPES}[name]].words
    cfg, flags = composed(PLACES[name], name, overrides(words)), parsed(words[1:])
    for section in ("common", "task", "dataset", "distributed_training", "model", "criterion", "optimizer"):
        _same(plain(cfg[section]), dict(flags[section]), section)
    for section in ("lr_scheduler", "optimization", "checkpoint"):
        _same(plain(cfg[section]), dict(flags[section]), section)
    assert flags["model"]["_name"] == f"{cfg.model._name}_{cfg.model.size}"
    header = (PLACES[name] / f"{name}.yaml").read_text().split("\ncommon:")[0].replace("\\\n#", " ")
    for key, value in overrides(words).items():
        assert f"{key}=$PWD/{value}" in header, f"{name}.yaml: {key}"


def _same(found: dict, expected: dict, section: str) -> None:
    apart = {"_name"} if section == "model" else set()
    for key in found.keys() - apart:
        assert _plain(found[key]) == _plain(expected.get(key)), f"{section}.{key}"


def _plain(value: object) -> object:
    """A number as hydra and argparse have it alike."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


@pytest.mark.parametrize("name", RECIPES)
def test_each_model_at_full_size(name, checkout):
    """The paper's trunk and what it has above it, without memory."""
    words = trainings()[RECIPES[name]].words
    given = {key: checkout / str(value) for key, value in overrides(words).items()}
    given |= {"model.pretrained": "null", "checkpoint.save_dir": checkout / "none"}
    cfg = composed(CONFIGS, name, given | {"common.user_dir": ROOT / "slam_plugin"})
    task = tasks.setup_task(cfg.task)
    with torch.device("meta"):
        model = task.build_model(cfg.model)
    assert all(parameter.is_meta for parameter in model.parameters())
    trunk = model.encoder.trunk
    assert (trunk.dim, len(trunk.multimodal_layers)) == (1024, 16)
    hears, reads = name not in ("glue", "normalization", "mt"), name in ("glue", "normalization", "mt", "st_joint")
    assert len(getattr(trunk, "speech_layers", ())) == (8 if hears else 0)
    assert (trunk.text_embedding is not None) == reads
    if hasattr(model, "decoder"):
        layer = model.decoder.layers[0]
        assert (len(model.decoder.layers), layer.embed_dim, layer.nh) == (4, 384, 4) and layer.fc1.out_features == 1536
    if name in ("asr_transducer", "speechstew"):
        assert (model.prediction.lstm.num_layers, model.prediction.lstm.hidden_size) == (2, 640)
    if name != "glue":
        assert cfg.optimization.lr[0] * cfg.model.encoder_lr_scale == pytest.approx(3e-4)
        assert (cfg.model.encoder_warmup_updates, cfg.lr_scheduler.warmup_updates) == (5000, 1500)


def test_lengths_of_glue_are_three_epochs():
    """Of the sets' published sizes, in batches of 32. The warm-up is six percent."""
    sizes = {"QNLI": 104_743, "QQP": 363_846, "SST-2": 67_349}
    found = {}
    for line in read(FINETUNING).splitlines():
        cells = [cell.strip(" `") for cell in line.strip("|").split("|")]
        if cells[0] in sizes:
            found[cells[0]] = (int(cells[2]), int(cells[3]))
    words = trainings()["runs/glue/mnli"].words
    found["MNLI"] = (int(after(words, "--warmup-updates")), int(after(words, "--max-update")))
    assert found.keys() == {*sizes, "MNLI"}
    for task, (warmup, updates) in found.items():
        assert updates == pytest.approx(3 * {**sizes, "MNLI": 392_702}[task] / 32, rel=0.01), task
        assert warmup == pytest.approx(0.06 * updates, rel=0.02), task
    assert re.search(r"three epochs in batches of 32", read(FINETUNING))
