"""Write ``reference.md``: every command, flag, option and log key, read from the code.

    python -m docs.reference

A test fails if the committed page is not what this program writes.
"""

from pathlib import Path

from docs import command_lines, corpora_keys, flags, log_keys
from docs.markup import wrapped
from slam_plugin.data.files import atomic_write

PAGE = Path(__file__).resolve().with_name("reference.md")
HEAD = """# Reference

Every command, flag, option and log key, written by `make docs` from the code: change the code, not
this page.

- [Commands](#commands) of `slam`, and the [corpora](#corpora-of-slam-prepare) of `slam prepare`
- [`corpora.yaml`](#corporayaml) and its [objectives](#objectives)
- What is registered with fairseq: [tasks](#tasks), [models](#models), [criterions](#criterions),
  [optimizers](#optimizers) and [schedulers](#schedulers). fairseq's own flags come on top;
  `--help` of its programs lists them.
- [Log keys](#log-keys)
"""


def page() -> str:
    """Return the page."""
    lines = HEAD.split("\n")
    for part in (command_lines, corpora_keys, flags, log_keys):
        lines += part.sections()
    return wrapped("\n".join(lines)).rstrip("\n") + "\n"


def main() -> None:
    """Write the page."""
    with atomic_write(PAGE) as file:
        file.write(page())


if __name__ == "__main__":
    main()
