"""The report as one page: scores, examples, curves of pre-training and fine-tuning, warnings.

It reads these files of the run's folder, as far as they exist. A section whose input is missing says so; the section on
a learned codebook is left out if the run has none:

- ``*.log`` and ``logs/*.log``: fairseq's output with ``--log-format json``. The log of pre-training is recognized by
  its metrics, those of fine-tuning by their names (``asr`` or ``st``; ``scratch`` for the model without pre-training);
- ``results.json``: pretraining, codebook, asr, st, seconds, machine, versions;
- ``clips.json``: a list of ``{"file", "reference", "pretrained", "scratch"}``: test utterances with both models'
  transcripts, or their translations if there is a ``"source"``;
- ``attention.npz``: ``weights`` (heads, pieces, frames), ``pieces`` (strings), ``seconds`` (of the utterance).

The page is one file that loads nothing else.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from slam_plugin.data.files import atomic_write
from slam_plugin.reporting import downstream, instruments, pretraining
from slam_plugin.reporting.clips import clips_section
from slam_plugin.reporting.figures import sheet
from slam_plugin.reporting.logs import Record, codebook_summary, is_pretraining, pretraining_summary, read_log
from slam_plugin.reporting.style import CHARTS, COLORS, STYLE
from slam_plugin.reporting.templating import render

CAVEAT = (
    "This is one run with one seed on a very small data set. It shows that every part works on real input and proves "
    "nothing about the method: another seed may change the scores by more than the two models differ, so no claim is "
    "made."
)

# Charts of ``--picture``, which can be read without text.
PICTURE = ("own", "rank_speech", "rank_top", "ctc_cer", "ctc_blanks", "tlm_text", "retrieval")


def write_report(run_dir: str | Path) -> Path:
    """Write ``report.html`` into ``run_dir`` from the files that are there, and return its path.

    Raises FileNotFoundError if there is no such folder, ValueError if an input is malformed or there is none.
    """
    run_dir = Path(run_dir)
    if not run_dir.is_dir():
        raise FileNotFoundError(f"{run_dir}: no such folder")
    logs = read_logs(run_dir)
    if not any(logs.values()) and not (run_dir / "results.json").exists():
        raise ValueError(
            f"{run_dir}: found no *.log with statistics, here or in logs, expected the output of fairseq-train with "
            f"--log-format json, such as by 2>&1 | tee {run_dir}/train.log"
        )
    page = _page(
        pretraining_records(logs),
        {name: records for name, records in logs.items() if not is_pretraining(records)},
        _read_json(run_dir / "results.json", {}),
        run_dir / "attention.npz",
        clips_section(_read_json(run_dir / "clips.json", []), run_dir),
    )
    with atomic_write(run_dir / "report.html") as file:
        file.write(f"{page}\n")
    return run_dir / "report.html"


def read_logs(run_dir: str | Path) -> dict[str, list[Record]]:
    """Return the statistics of each log of a run, by the log's path in the run's folder without its suffix."""
    run_dir = Path(run_dir)
    paths = sorted([*run_dir.glob("*.log"), *run_dir.glob("logs/*.log")])
    return {path.relative_to(run_dir).with_suffix("").as_posix(): read_log(path) for path in paths}


def pretraining_records(logs: Mapping[str, Sequence[Record]]) -> Sequence[Record]:
    """Return the statistics of the longest log of pre-training, empty if there is none."""
    return max((records for records in logs.values() if is_pretraining(records)), key=len, default=[])


def write_picture(run_dir: str | Path, path: str | Path) -> None:
    """Write the main charts of a run's pre-training to ``path``, an SVG for use in a document.

    Raises ValueError if the run's logs have none of them.
    """
    records = pretraining_records(read_logs(run_dir))
    found = instruments.instrument_charts(records)
    charts = [found[name] for name in PICTURE if name in found]
    charts += pretraining.codebook_charts(records)[:1]
    if not charts:
        raise ValueError(f"{run_dir}: found no log of pre-training with instruments or a codebook, expected one")
    with atomic_write(path) as file:
        file.write(sheet(charts, 3, COLORS + CHARTS))


def _read_json(path: Path, default):
    """Return the content of a file of the default's type, the default if there is none. ValueError names the file."""
    if not path.exists():
        return default
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: is not JSON in UTF-8 ({error})") from error
    if not isinstance(found, type(default)):
        raise ValueError(f"{path}: found a {type(found).__name__}, expected a {type(default).__name__}")
    return found


def _in_short(records: Sequence[Record], results: Mapping) -> dict[str, Any]:
    """Return the values of the summary at the top of the page, by their names in the template."""
    losses = [v for k, v in pretraining_summary(records).items() if k.endswith("_loss") and v["chance"] is not None]
    codebook = codebook_summary(records) if records else results.get("codebook", {})
    state = None
    if codebook.get("perplexity") is not None and codebook.get("codes_used") is not None:
        state = "dead" if pretraining.codebook_is_dead(codebook) else "in use"
    scores = []
    for task, metric, words in (("asr", "cer", "Character error rate"), ("st", "bleu", "BLEU")):
        found = [results.get(task, {}).get(twin, {}).get(metric) for twin in downstream.TWINS]
        if None not in found:
            scores.append((words, *found))
    seconds = results.get("seconds")
    return {
        "losses": (sum(entry["last"] < entry["chance"] for entry in losses), len(losses)) if losses else None,
        "codebook": (state, codebook["perplexity"]) if state else None,
        "scores": scores,
        "time": downstream.duration(sum(seconds.values())) if seconds else None,
    }


def _page(
    records: Sequence[Record],
    fine_tuning: Mapping[str, Sequence[Record]],
    results: Mapping,
    attention: Path,
    clips: str,
) -> str:
    sections = [
        (
            "Scores on the test set",
            "Both models are fine-tuned on the same data with the same number of updates; only one of them starts from "
            "the pre-trained checkpoint. CER and WER are character and word error rates in percent, BLEU and chrF are "
            "from 0 to 100. The arrow points to the better direction.",
            downstream.scores_section(results),
        ),
        (
            "Examples",
            "Utterances of the test set, which are not in the training data, with the output of both models.",
            clips,
        ),
        (
            "Pre-training: does each objective learn?",
            "An objective learns if its validation curve gets better than the dashed line: the score of a guess that "
            "does not look at the input. Validation covers pairs from the first epoch on, training only from the "
            "second stage, so curves on pairs begin untrained.",
            pretraining.objectives_section(records),
        ),
        (
            "Codebook: do the speech targets carry information?",
            "The quantizer turns each speech frame into one of a set of codes, which the model then predicts. A "
            "quantizer tends to use only a few codes; predicting them is then easy and teaches nothing. Healthy curves "
            "are well above the dashed line.",
            pretraining.codebook_section(records, results),
        ),
        (
            "Instruments: is it worth continuing this pre-training?",
            "Measured in each validation on a small fixed set of items. Dashed lines are the values of an untrained "
            "encoder or of a guess. Values beyond a red line cause a warning.",
            instruments.instruments_section(records),
        ),
        (
            "Attention: are text and speech aligned?",
            "A pair of speech and transcript that was not in training. Each row is a piece of the transcript; bright "
            "spots are the parts of the utterance that it attends to, and a row of one color attends everywhere "
            "equally. If the model has aligned text and speech, a diagonal runs from the top left to the bottom right.",
            pretraining.attention_section(attention),
        ),
        (
            "Fine-tuning: does pre-training help?",
            "Validation scores during fine-tuning, with and without pre-training. If pre-training helps, the curves "
            "separate, and the earlier the more.",
            downstream.curves_section(fine_tuning),
        ),
        (
            "Time",
            "Wall time of each step. For a step that was stopped and resumed, the times of all attempts are added up.",
            downstream.seconds_section(results.get("seconds", {})),
        ),
        (
            "Machine and versions",
            "The times above hold for this machine and these versions.",
            downstream.facts_section(results),
        ),
    ]
    in_short = _in_short(records, results)
    return render(
        "report.html.j2",
        title="SLAM for fairseq: report",
        style=STYLE,
        warnings=instruments.warnings_section(records),
        **in_short,
        caveat=CAVEAT if in_short["scores"] else None,
        sections=[section for section in sections if section[2]],
    )
