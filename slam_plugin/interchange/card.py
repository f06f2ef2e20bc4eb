"""The model card, ``README.md``, of an exported folder: what its checkpoint knows, and what a person has to add."""

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from omegaconf import OmegaConf

CARD = "README.md"
_SHOWN = 200  # characters of a value
_FRONT = """---
library_name: transformers
pipeline_tag: {pipeline}
tags:
- {tag}
- slam
# To fill in before others get the model:
# license:
# language:
# datasets:
---
"""
_TO_FILL_IN = """
## To fill in

- License of the weights, and of the weights that the training started from:
- Data: corpora, hours, languages, their licenses:
- Scores on test sets:
- Intended use, and limits:
"""
_CTC = """
```python
from transformers import pipeline

recognizer = pipeline("automatic-speech-recognition", "FOLDER")
recognizer("clip.wav")["text"]
```
"""
_MODEL = """
```python
from transformers import AutoFeatureExtractor, AutoModel

extractor, model = AutoFeatureExtractor.from_pretrained("FOLDER"), AutoModel.from_pretrained("FOLDER")
states = model(**extractor(waveform, sampling_rate=16000, return_tensors="pt")).last_hidden_state
```
"""
_CTC_WITH_CODE = """
```python
import soundfile
from transformers import pipeline

recognizer = pipeline("automatic-speech-recognition", "FOLDER", trust_remote_code=True)
waveform, rate = soundfile.read("clip.wav")
recognizer({"raw": waveform, "sampling_rate": rate})["text"]
```
"""
_MODEL_WITH_CODE = """
```python
import soundfile
from transformers import AutoFeatureExtractor, AutoModel

extractor = AutoFeatureExtractor.from_pretrained("FOLDER", trust_remote_code=True)
model = AutoModel.from_pretrained("FOLDER", trust_remote_code=True)
waveform, rate = soundfile.read("clip.wav")
states = model(**extractor(waveform, sampling_rate=rate, return_tensors="pt")).last_hidden_state
```
"""
# Whether the folder holds code, and whether the model recognizes speech: how to use it.
_SNIPPETS = {
    (False, True): _CTC,
    (False, False): _MODEL,
    (True, True): _CTC_WITH_CODE,
    (True, False): _MODEL_WITH_CODE,
}
# Fields of the configuration: their title.
_RECIPE = {
    "criterion._name": "loss",
    "optimization.lr": "learning rate",
    "optimization.max_update": "updates planned",
    "optimization.update_freq": "batches per update",
    "dataset.max_tokens": "frames or tokens in a batch",
    "common.seed": "seed",
    "optimizer._name": "optimizer",
    "lr_scheduler._name": "schedule",
}


def model_card(state: Mapping[str, Any], kind: str, numbers: int, notes: Sequence[str], has_code: bool = False) -> str:
    """Return the text of the card. Values of the checkpoint are shown as code, so that none can be markup.

    Args:
        state: the checkpoint.
        kind: class of transformers.
        numbers: how many numbers the weights hold.
        notes: sentences on what the folder does and does not hold.
        has_code: whether the folder holds the code of its classes.
    """
    cfg, recognizes = state["cfg"], kind.endswith("ForCTC")
    title = "A speech recognizer" if recognizes else "A speech encoder"
    parts = [
        _FRONT.format(
            pipeline="automatic-speech-recognition" if recognizes else "feature-extraction",
            tag="custom_code" if has_code else "wav2vec2-bert",
        ),
        f"# {title}\n\n`{kind}` with {numbers:,} weights, trained with the SLAM plugin for fairseq: a Conformer "
        f"{'whose code is in this folder' if has_code else 'of the shape of w2v-BERT 2.0'}. Speech is mono at 16 kHz.\n"
        f"{_SNIPPETS[has_code, recognizes]}",
        *_table("Data", _data(state)),
        *_table("Recipe", {title: OmegaConf.select(cfg, name) for name, title in _RECIPE.items()}),
        *_table("Scores on validation data", _scores(state)),
        "\n## Notes\n\n" + "".join(f"- {_line(note)}\n" for note in notes),
        _TO_FILL_IN,
    ]
    return "".join(parts)


def _data(state: Mapping[str, Any]) -> dict[str, Any]:
    cfg, task = state["cfg"], state["task_state"]
    corpora = OmegaConf.select(cfg, "task.corpora")
    return {
        "task": OmegaConf.select(cfg, "task._name"),
        "folder": PurePath(str(OmegaConf.select(cfg, "task.data") or "")).name,  # not the path, which names a machine
        "corpora": PurePath(str(corpora)).name if corpora else None,
        "text normalization": task.get("text_normalization"),
        "objectives": ", ".join(_objectives(state["model"])),
    }


def _objectives(weights: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys(name.split(".")[1] for name in weights if name.startswith("objectives.")))


def _scores(state: Mapping[str, Any]) -> dict[str, Any]:
    history, extra = state.get("optimizer_history") or [{}], state.get("extra_state") or {}
    metric = OmegaConf.select(state["cfg"], "checkpoint.best_checkpoint_metric") or "loss"
    scores = {"this checkpoint": extra.get("val_loss"), "best of the run": extra.get("best")}
    found = {f"{metric}, {whose}": value for whose, value in scores.items() if value is not None}
    return {"updates": history[-1].get("num_updates"), **found}


def _table(title: str, rows: Mapping[str, Any]) -> list[str]:
    """Return a section with the rows that have a value, or an empty list if no row has one."""
    known = {name: value for name, value in rows.items() if value not in (None, "")}
    lines = "".join(f"| {_line(name)} | `{_line(value)}` |\n" for name, value in known.items())
    return [f"\n## {title}\n\n| | |\n|---|---|\n{lines}"] if known else []


def _line(value: Any) -> str:
    """Return a value as one line without the characters that end code or a cell."""
    text = re.sub(r"[`|\s]+", " ", str(value)).strip()
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
