"""Continue a w2v-BERT 2.0 jointly with text, and hand the result back to transformers: the whole way, in small.

``python -m examples.slam.w2v_bert_2 --data runs/demo/data --run runs/w2v_bert_2`` trains a small random model of
transformers a little, imports it, continues it on speech, text and pairs, fine-tunes it to recognition, exports it, and
transcribes the test set with transformers. Each step is a command that can be run by hand: ``--print`` prints them. A
run that was killed resumes when it is started again. ``--quick`` runs the same steps for a few updates each. Without
``--data`` it takes the demo's data, or fetches and prepares it if the demo has not run.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from examples.slam.steps import Step, run_steps
from examples.slam.study.plan import shown
from examples.slam.training_steps import ROOT, data_steps
from examples.slam.w2v_bert_2.comparison import table
from examples.slam.w2v_bert_2.plan import FULL, QUICK, steps
from slam_plugin.data.extras import absent_packages
from slam_plugin.machine import cores

DEMO = ROOT / "runs/demo/data"
LIMIT = 40  # utterances of each split with --quick


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the unfinished steps and print the figures, or print the commands."""
    options = _parser().parse_args(arguments)
    absent = absent_packages("bench")
    if absent is not None:
        raise SystemExit(f"the comparison needs {absent}")
    run = (options.run or ROOT / "runs" / ("w2v_bert_2-quick" if options.quick else "w2v_bert_2")).absolute()
    scale = QUICK if options.quick else FULL
    found = options.data or (DEMO if (DEMO / "stats.json").exists() else None)
    data = found.absolute() if found else run / "data"
    debs = os.environ.get("DEBS") or None
    prepared = [] if found else data_steps(run, "english", options.tree, debs, LIMIT if options.quick else None)
    plan = [*prepared, *steps(run, data, scale, options.threads or cores(), options.seed)]
    if options.print:
        print("# in the repository, with its environment active")
        print(shown([step for group in plan for step in ([group] if isinstance(group, Step) else group)]))
        return 0
    run_steps(plan, run / "logs")
    print(table(json.loads((run / "results.json").read_text(encoding="utf-8"))))
    print(f"\nFigures: {run / 'results.json'}\nModel of transformers: {run / 'exported'}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m examples.slam.w2v_bert_2", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--data", type=Path, help="folder made by slam prepare english (default: that of make demo, else fetched)"
    )
    parser.add_argument("--tree", type=Path, help="folder of the unpacked packages (default: fetch them)")
    parser.add_argument("--run", type=Path, help="folder of the run (default: runs/w2v_bert_2)")
    parser.add_argument("--seed", type=int, default=1, help="seed of every training (default: 1)")
    parser.add_argument("--threads", type=int, help="threads of each training (default: all cores)")
    parser.add_argument("--quick", action="store_true", help="a few updates of each training, to check that it works")
    parser.add_argument("--print", action="store_true", help="print the commands without running them")
    return parser


if __name__ == "__main__":
    sys.exit(main())
