"""Reading of JSON files that others have written."""

import json
from pathlib import Path
from typing import Any

from slam_plugin.data.errors import DataError

MAX_JSON = 64 << 20  # bytes


def read_json(path: Path) -> dict[str, Any]:
    """Return the fields of a JSON file.

    Raises :class:`DataError` if it is absent, cannot be read, is longer than ``MAX_JSON``, is no JSON or holds
    something else than fields by name.
    """
    if not path.is_file():
        raise DataError(f"{path}: there is no such file, expected one of JSON")
    try:
        with path.open("rb") as file:
            content = file.read(MAX_JSON + 1)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    if len(content) > MAX_JSON:
        raise DataError(f"{path}: found more than {MAX_JSON:,} bytes, expected at most as many")
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        raise DataError(f"{path}: is not JSON ({error})") from error
    if not isinstance(found, dict):
        raise DataError(f"{path}: found {type(found).__name__}, expected fields by name")
    return found
