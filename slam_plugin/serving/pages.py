"""The files that a browser loads: one page, its style and its scripts. They load nothing from elsewhere."""

from pathlib import Path

from slam_plugin.hub import Slam
from slam_plugin.reporting.style import STYLE
from slam_plugin.reporting.templating import render
from slam_plugin.serving import answers
from slam_plugin.serving.bounds import MAX_CHARACTERS, MAX_SENTENCES, Bounds

FOLDER = Path(__file__).parent / "pages"
SCRIPTS = ("page.js", "results.js", "drawing.js", "recorder.js", "capture.js")


def files(slam: Slam, bounds: Bounds) -> dict[str, tuple[bytes, str]]:
    """Return path -> (content, media type) of the page for a model."""
    found = {"/": (page(slam, bounds).encode(), "text/html")}
    found["/page.css"] = ((STYLE + _read("page.css")).encode(), "text/css")
    return found | {f"/{name}": (_read(name).encode(), "text/javascript") for name in SCRIPTS}


def page(slam: Slam, bounds: Bounds) -> str:
    """Return the page for a model, with what it can do."""
    return render(
        "page.html.j2",
        FOLDER,
        model=answers.description(slam),
        name=Path(slam.path).name,
        max_bytes=bounds.max_bytes,
        max_seconds=bounds.max_seconds,
        max_sentences=MAX_SENTENCES,
        max_characters=MAX_CHARACTERS,
    )


def _read(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")
