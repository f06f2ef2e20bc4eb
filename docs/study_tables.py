"""Write ``study_tables.md`` and its charts: what the study's committed records say, without a word by hand.

    python -m docs.study_tables

A test fails if the committed files are not what this program writes.
"""

from pathlib import Path

from docs.markup import wrapped
from examples.slam.study.records import RESULTS, read
from examples.slam.study.report import commits, contents, machines
from examples.slam.study.scales import SCALES
from slam_plugin.data.files import atomic_write

FOLDER = Path(__file__).resolve().parent
PAGE = "study_tables.md"
PICTURED = "cpu"  # the scale whose charts are shown
HEAD = (
    "# The study in tables\n\n"
    "Every score of [the study](study.md), written by `make docs` from the records in "
    "`examples/slam/study/results.json`. What they say is in [results.md](results.md#the-study). Rows and columns are "
    "explained in [study.md](study.md#rows-and-columns), the numbers under [Read it](study.md#read-it).\n"
)
CHARTS = {
    "labels.svg": "Character and word error rates over 10, 30 and 100 minutes of labels.",
    "claims.svg": "Gains of one row over another with their intervals, for recognition and translation.",
    "alignment.svg": "Retrieval of transcripts and CKA by shared layer.",
}


def files() -> dict[str, str]:
    """Return the page and its charts, by name."""
    known, parts, found = read(RESULTS), [HEAD], {}
    for scale, settings in SCALES.items():
        ran = [run for run in known["runs"] if run["scale"] == scale]
        if not ran:
            continue
        made = contents(known, scale)
        parts.append(f"## `{scale}`: {settings.pretrain:,} updates of pre-training, size `{settings.size}`\n")
        parts.append(
            f"{len(ran)} runs on: {'; '.join(machines(ran))}. Commits: {', '.join(map(_short, commits(ran)))}.\n"
        )
        if scale == PICTURED:
            found = {name: made[name] for name in CHARTS if name in made}
            parts += [f'<img src="{name}" width="100%" alt="{CHARTS[name]}">\n' for name in found]
        parts.append(made["tables.md"].replace("## ", "### "))
    return {PAGE: wrapped("\n".join(parts)), **found}


def _short(commit: str) -> str:
    """Return the beginning of a commit's hash, with the + of uncommitted changes."""
    return commit[:7] + "+" * commit.endswith("+")


def main() -> None:
    """Write the files."""
    for name, text in files().items():
        with atomic_write(FOLDER / name) as file:
            file.write(text)


if __name__ == "__main__":
    main()
