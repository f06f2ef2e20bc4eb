"""Source files of the plugin, copied to one folder in which they import each other and nothing else of the plugin.

So a folder that transformers loads holds the model's own code. A change of a module reaches the next export.
"""

import ast
from collections.abc import Iterable
from pathlib import Path

_PACKAGE = "slam_plugin"
_ROOT = Path(__file__).resolve().parent.parent
_HEADER = """# Written by `slam export` from {path}.
# SLAM for fairseq, MIT License, copyright (c) 2026 the authors of SLAM for fairseq.
"""


def portable_sources(modules: Iterable[str]) -> dict[str, str]:
    """Return the sources of modules, and of all modules of the plugin that they import, by their new names.

    An import ``from slam_plugin.modules.norm import X`` becomes ``from .norm import X``. Raises ValueError if two
    modules have the same last name, or one imports a module of the plugin in another form: a fault of this program.

    Example:
        >>> sorted(portable_sources(["slam_plugin.modules.rotary"]))
        ['rotary.py']

    Args:
        modules: full names.
    """
    found: dict[str, str] = {}
    origins: dict[str, str] = {}
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        name = f"{module.rpartition('.')[2]}.py"
        if origins.setdefault(name, module) != module:
            raise ValueError(f"{name}: found for {module} and {origins[name]}, expected modules of different names")
        if name in found:
            continue
        path = Path(*module.split(".")[1:]).with_suffix(".py")
        text = (_ROOT / path).read_text(encoding="utf-8")
        imported = _imports_of(text, module)
        found[name] = _HEADER.format(path=Path(_PACKAGE, path).as_posix()) + _with_relative_imports(text, imported)
        waiting.extend(imported.values())
    return found


def _imports_of(text: str, module: str) -> dict[int, str]:
    """Return the modules of the plugin that a file imports from, by the line of the import, from 0."""
    imported = {}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
            whole = any(name.partition(".")[0] == _PACKAGE for name in names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == _PACKAGE:
            imported[node.lineno - 1] = node.module
            whole = not (_ROOT.parent / node.module.replace(".", "/")).with_suffix(".py").is_file()
        else:
            continue
        if whole:
            raise ValueError(f"{module}: line {node.lineno}: expected `from MODULE import NAME` alone")
    return imported


def _with_relative_imports(text: str, imported: dict[int, str]) -> str:
    lines = text.splitlines(keepends=True)
    for line, module in imported.items():
        lines[line] = lines[line].replace(f"from {module} import", f"from .{module.rpartition('.')[2]} import")
    return "".join(lines)
