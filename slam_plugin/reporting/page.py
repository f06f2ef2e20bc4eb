"""One page that shows what a run did.

It reads these files of the run's folder, if they exist. A section whose input is missing says so. The section on a
learned codebook is left out if the run has none:

- ``*.log`` and ``logs/*.log``: what fairseq printed with ``--log-format json``. The log of pre-training is known by
  its objectives, those of fine-tuning by their names (``asr`` or ``st``; ``scratch``: the twin without pre-training);
- ``results.json``: pretraining, codebook, asr, st, seconds, machine, versions;
- ``clips.json``: a list of ``{"file", "reference", "pretrained", "scratch"}``, test utterances and what was
  recognized, or translated where there is a ``"source"``;
- ``attention.npz``: ``weights`` (heads, pieces, frames), ``pieces`` (strings), ``seconds`` (of the utterance).

The page is one file that loads nothing.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from slam_plugin.data.files import atomic_write
from slam_plugin.reporting import downstream, instruments, pretraining
from slam_plugin.reporting.clips import clips_section
from slam_plugin.reporting.figures import sheet
from slam_plugin.reporting.logs import Record, codebook_summary, is_pretraining, pretraining_summary, read_log
from slam_plugin.reporting.style import CHARTS, COLORS, STYLE

CAVEAT = (
    "This is one run with one seed on a very small set. It shows that every part works on real input, and proves "
    "nothing about the method: the twins may differ by no more than another seed would change, so no claim is made."
)

# Charts of ``--picture``, which make sense without text.
PICTURE = ("own", "rank_speech", "rank_top", "ctc_cer", "ctc_blanks", "tlm_text", "retrieval")


def write_report(run_dir: str | Path) -> Path:
    """Write ``report.html`` into ``run_dir`` from what is there, and return its path.

    Raises FileNotFoundError where there is no such folder, ValueError where an input is malformed.
    """
    run_dir = Path(run_dir)
    if not run_dir.is_dir():
        raise FileNotFoundError(f"{run_dir}: no such folder")
    logs = read_logs(run_dir)
    page = _page(
        pretraining_records(logs),
        {name: records for name, records in logs.items() if not is_pretraining(records)},
        _read_json(run_dir / "results.json", {}),
        run_dir / "attention.npz",
        clips_section(_read_json(run_dir / "clips.json", []), run_dir),
    )
    with atomic_write(run_dir / "report.html") as file:
        file.write(page)
    return run_dir / "report.html"


def read_logs(run_dir: str | Path) -> dict[str, list[Record]]:
    """Return the statistics of each log of a run by the log's name without its ending."""
    run_dir = Path(run_dir)
    return {path.stem: read_log(path) for path in sorted([*run_dir.glob("*.log"), *run_dir.glob("logs/*.log")])}


def pretraining_records(logs: Mapping[str, Sequence[Record]]) -> Sequence[Record]:
    """Return the statistics of pre-training: of the longest log that holds its objectives; empty where none does."""
    return max((records for records in logs.values() if is_pretraining(records)), key=len, default=[])


def write_picture(run_dir: str | Path, path: str | Path) -> None:
    """Write the main charts of a run's pre-training into ``path``, an SVG for a document.

    Raises ValueError where the run's logs hold none of them.
    """
    records = pretraining_records(read_logs(run_dir))
    found = instruments.instrument_charts(records)
    charts = [found[name] for name in PICTURE if name in found]
    charts += pretraining.codebook_charts(records)[:1]
    if not charts:
        raise ValueError(f"{run_dir}: found no log of pre-training with instruments or a codebook")
    with atomic_write(path) as file:
        file.write(sheet(charts, 3, COLORS + CHARTS))


def _read_json(path: Path, default):
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else default


def _in_short(records: Sequence[Record], results: Mapping) -> list[str]:
    """Return the sentences at the head of the page."""
    lines = []
    losses = {k: v for k, v in pretraining_summary(records).items() if k.endswith("_loss") and v["chance"] is not None}
    if losses:
        beat = sum(entry["last"] < entry["chance"] for entry in losses.values())
        lines.append(f"<b>{beat} of {len(losses)}</b> losses with a chance level end below it on validation.")
    codebook = codebook_summary(records) if records else results.get("codebook", {})
    if codebook.get("perplexity") is not None and codebook.get("codes_used") is not None:
        state = "dead" if pretraining.codebook_is_dead(codebook) else "alive"
        lines.append(f"The codebook is <b>{state}</b> (perplexity {codebook['perplexity']:.0f}).")
    for task, metric, words in (("asr", "cer", "Character error rate"), ("st", "bleu", "BLEU")):
        scores = results.get(task, {})
        if all(metric in scores.get(twin, {}) for twin in downstream.TWINS):
            lines.append(
                f"{words} on the test set: <b>{scores['pretrained'][metric]:.1f}</b> pre-trained, "
                f"<b>{scores['scratch'][metric]:.1f}</b> from scratch."
            )
    if results.get("seconds"):
        lines.append(
            f"The steps’ times add up to <b>{downstream.duration(sum(results['seconds'].values()))}</b>; "
            "steps that ran side by side count each."
        )
    return lines


def _page(
    records: Sequence[Record],
    fine_tuning: Mapping[str, Sequence[Record]],
    results: Mapping,
    attention: Path,
    clips: str,
) -> str:
    short = "".join(f"<li>{line}</li>" for line in _in_short(records, results))
    warned = instruments.warnings_section(records)
    sections = [
        (
            "Scores on the test set",
            "Both twins are fine-tuned on the same data with the same number of updates. Error rates and BLEU are in "
            "percent, the arrow points to better.",
            downstream.scores_section(results),
        ),
        (
            "Listen",
            "Test utterances, which are in no training data, and what each twin recognized and translated.",
            clips,
        ),
        (
            "Pre-training: is anything learned?",
            "For each objective, look whether the validation curve leaves the dashed line, which is what a guess "
            "without knowledge gets. Validation covers pairs from the first epoch on, training only from the second "
            "stage: the curves on pairs begin untrained.",
            pretraining.objectives_section(records),
        ),
        (
            "Codebook: are the speech targets worth predicting?",
            "A quantiser likes to put everything into a few codes; the objectives on speech then become easy and "
            "empty. Look for curves well above the dashed line.",
            pretraining.codebook_section(records, results),
        ),
        (
            "Instruments: is the pre-training worth going on with?",
            "Measured at each validation on a small fixed set. Dashed lines are what an untrained trunk or a guess "
            "gets. At a red line begins a warning.",
            instruments.instruments_section(records),
        ),
        (
            "Attention: does text find its place in speech?",
            "A pair that no training saw. Each row is a piece of the transcript, bright where it looks in the "
            "utterance, and of one colour where it looks everywhere alike. Were text and speech aligned, a diagonal "
            "would run from the top left to the bottom right.",
            pretraining.attention_section(attention),
        ),
        (
            "Fine-tuning",
            "Validation while training. Look at how early the curves part, if they do.",
            downstream.curves_section(fine_tuning),
        ),
        (
            "Time",
            "Wall time of each step, summed over its attempts where it was stopped and went on.",
            downstream.seconds_section(results.get("seconds", {})),
        ),
        ("What it ran on", "Times above mean something only beside these.", downstream.facts_section(results)),
    ]
    body = "".join(
        f"<section><h2>{title}</h2><p>{words}</p>{content}</section>" for title, words, content in sections if content
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><title>SLAM for fairseq: report</title>'
        f"<style>{STYLE}</style></head><body><header><h1>SLAM for fairseq</h1>"
        '<p class="lead">One Conformer pre-trained on unpaired speech, unpaired text and pairs, then fine-tuned to '
        f'recognise and to translate.</p>{warned}<ul class="short">{short}</ul><p class="caveat">{CAVEAT}</p></header>'
        f"<main>{body}</main></body></html>\n"
    )
