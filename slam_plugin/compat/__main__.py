"""Run a program of fairseq with the workarounds applied from its first line on.

    python -m slam_plugin.compat fairseq-hydra-train --config-dir ...

``fairseq-train`` imports its ``--user-dir`` while it reads its flags. ``fairseq-hydra-train`` does so after it has made
or joined the ranks, too late for the workarounds "launched ranks" and "meeting of ranks", and for signals to a process
that starts ranks.
"""

import sys
from collections.abc import Sequence
from importlib import metadata

from slam_plugin import compat


def main(arguments: Sequence[str]) -> None:
    """Run the console script of fairseq that ``arguments`` begin with. SystemExit with its exit code."""
    programs = {s.name: s for s in metadata.entry_points(group="console_scripts") if s.value.startswith("fairseq_cli.")}
    if not arguments or arguments[0] not in programs:
        found = arguments[0] if arguments else "no program"
        sys.exit(f"python -m slam_plugin.compat: found {found}, expected one of {', '.join(sorted(programs))}")
    compat.apply()
    sys.argv = list(arguments)
    sys.exit(programs[arguments[0]].load()())


if __name__ == "__main__":
    main(sys.argv[1:])
