"""fairseq-train in a process of its own that may be disturbed while it imports.

python -m tests.torture.fresh FOLDER RANK DISTURBANCE ARGUMENTS... The disturbance may be an empty string.
"""

import sys
from pathlib import Path

from tests.torture import hooks
from tests.torture.disturbance import Disturbance


def main() -> None:
    folder, rank, disturbance, *arguments = sys.argv[1:]
    planned = Disturbance.parse(disturbance) if disturbance else None
    if planned is not None and planned.rank == int(rank):
        hooks.install(hooks.Trigger(planned, Path(folder), int(rank)))
    from fairseq_cli.train import cli_main

    sys.argv = ["fairseq-train", *arguments]
    cli_main()


if __name__ == "__main__":
    main()
