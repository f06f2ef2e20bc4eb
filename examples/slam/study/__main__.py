"""The paper's comparisons at a laptop's scale: pre-train each row, fine-tune it for each column, and score.

``python -m examples.slam.study --rows 0 4 K --columns asr10 st-de --seeds 1 2 3`` runs the unfinished steps, one
training after the other, and writes a record of each finished cell to ``examples/slam/study/results.json``. Seed k of
a fine-tuning starts from seed k of the pre-training. ``--print`` prints the commands without running them; it writes
the corpora files that they name. ``--quick`` runs the same steps for a few updates each.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from examples.slam.steps import Step, run_steps
from examples.slam.study import records
from examples.slam.study.columns import COLUMNS, needed
from examples.slam.study.plan import Study, plans, record_path, shown
from examples.slam.study.rows import ROWS
from examples.slam.study.scales import QUICK, SCALES
from examples.slam.training_steps import ROOT, cluster, data_steps, folder_steps

FIRST_ROWS = ["0", "4", "K", "6", "P", "C", "8", "9", "J"]
FIRST_COLUMNS = ["asr10", "asr100", "st-de"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the unfinished steps of the study, or print its commands."""
    options = _parser().parse_args(arguments)
    name, scale = ("quick", QUICK) if options.quick else (options.scale, SCALES[options.scale])
    run = (options.run or ROOT / "runs" / f"study-{name}").absolute()
    data = options.data.absolute() if options.data else run / "data"
    study, columns = Study(run, data, run / "text_data", name, scale, options.threads), needed(options.columns)
    prepared = [] if options.data else _prepared(run, options.tree, scale.limit)
    text = [] if not any(COLUMNS[column].of_text for column in columns) else _text_tasks(study, options.tree)
    if options.print:
        print("# in the repository, with its environment active")
        steps = [*prepared, *text]
        for seed in options.seeds:
            for row in options.rows:
                steps += [step for plan in plans(study, row, columns, seed) for step in plan.steps]
        print(shown(steps))
        return 0
    results = options.results or (run / "results.json" if options.quick else records.RESULTS)
    for steps, logs in ((prepared, "data"), (text, "text_data")):
        if steps:
            run_steps(steps, run / "logs" / logs)
    for seed in options.seeds:
        for row in options.rows:
            for plan in plans(study, row, columns, seed):
                run_steps(plan.steps, plan.logs)
            found = [record_path(study, row, column, seed) for column in columns]
            finished = [json.loads(path.read_text(encoding="utf-8")) for path in found]
            records.merge(results, "runs", records.Cell._fields, finished)
    # Imported here: the runner must not start threads before the last step is done.
    from examples.slam.study.compare import KEYS, comparisons

    records.merge(results, "comparisons", KEYS, comparisons(study, results))
    print(f"Records: {results}")
    return 0


def _prepared(run: Path, tree: Path | None, limit: int | None) -> list[Step]:
    """Return the steps that make ``run/data``."""
    debs, data = os.environ.get("DEBS") or None, run / "data"
    return [*data_steps(run, "english", tree, debs, limit), cluster(data, data / "kmeans.npz")]


def _text_tasks(study: Study, tree: Path | None) -> list[Step]:
    """Return the steps that make the data of text tasks, with the vocabulary of ``study.data``."""
    flags, debs = ["--vocabulary", str(study.data)], os.environ.get("DEBS") or None
    packages = study.run / "text_packages"
    return folder_steps(study.text_data, "english-tasks", tree, packages, debs, study.scale.limit, flags)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m examples.slam.study", description=__doc__.split("\n")[0])
    rows = "; ".join(f"{name}: {row.title}" for name, row in ROWS.items())
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=FIRST_ROWS, metavar="ROW", help=rows)
    columns = "; ".join(f"{name}: {column.title}" for name, column in COLUMNS.items())
    parser.add_argument("--columns", nargs="+", choices=COLUMNS, default=FIRST_COLUMNS, metavar="COLUMN", help=columns)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3], metavar="SEED", help="(default: 1 2 3)")
    parser.add_argument(
        "--scale", choices=SCALES, default="cpu", help="length of training and model size (default: cpu)"
    )
    parser.add_argument("--quick", action="store_true", help="a few updates of each training, to check that it works")
    parser.add_argument("--threads", type=int, default=1, help="threads of each training (default: 1)")
    parser.add_argument("--run", type=Path, help="folder of the trainings (default: runs/study-SCALE)")
    parser.add_argument("--results", type=Path, help="file of the records (default: examples/slam/study/results.json)")
    parser.add_argument("--data", type=Path, help="folder made by slam prepare english, with kmeans.npz")
    parser.add_argument("--tree", type=Path, help="folder of the unpacked packages (default: fetch them)")
    parser.add_argument("--print", action="store_true", help="print the commands without running them")
    return parser


if __name__ == "__main__":
    sys.exit(main())
