"""Run a program of fairseq with the plugin's workarounds applied from its start.

    python -m slam_plugin.launch fairseq-hydra-train --config-dir ...

``fairseq-train`` imports its ``--user-dir`` while it reads its flags. ``fairseq-hydra-train`` does so after it has
joined or started the ranks, too late for the workarounds "launched ranks" and "meeting of ranks", and for signals to a
process that has started ranks.
"""

import sys
from collections.abc import Sequence
from importlib import metadata


def main(arguments: Sequence[str]) -> None:
    """Run the console script of fairseq that ``arguments`` begin with. SystemExit with its exit code."""
    programs = {s.name: s for s in metadata.entry_points(group="console_scripts") if s.value.startswith("fairseq_cli.")}
    name = arguments[0] if arguments else "no program"
    if name not in programs:
        sys.exit(f"python -m slam_plugin.launch: found {name}, expected one of {', '.join(sorted(programs))}")
    run = programs[name].load()  # first of all, because it sets the form of the log
    from slam_plugin import compat

    compat.apply()
    sys.argv = list(arguments)
    sys.exit(run())


if __name__ == "__main__":
    main(sys.argv[1:])
