"""The report's jinja2 templates, which lie in the folder ``templates`` beside this file."""

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

FOLDER = Path(__file__).parent / "templates"


def render(template: str, **values: Any) -> str:
    """Return a template filled in. What is not marked as safe is escaped; a name without a value is an error."""
    return _environment().get_template(template).render(**values).rstrip()


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
