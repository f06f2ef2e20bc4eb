"""Pages from jinja2 templates: the report's, in the folder ``templates``, or those of another folder.

Templates of another folder may extend and import the report's, such as ``document.html.j2``.
"""

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

FOLDER = Path(__file__).parent / "templates"


def render(template: str, folder: Path = FOLDER, **values: Any) -> str:
    """Return a template of ``folder``, rendered with ``values``, which are escaped unless marked as safe.

    A name without a value is an error.
    """
    return _environment(folder).get_template(template).render(**values).rstrip()


@cache
def _environment(folder: Path) -> Environment:
    return Environment(
        loader=FileSystemLoader([folder, FOLDER]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
