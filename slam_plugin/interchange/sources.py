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
_NAMED = """
# What the files above need. transformers before version 5 copies only the files that this one names.
"""


def portable_sources(modules: Iterable[str]) -> dict[str, str]:
    """Return the sources of modules, and of all modules of the plugin that they import, by their new names.

    An import ``from slam_plugin.modules.norm import X`` becomes ``from .norm import X``. Raises ValueError if two
    modules have the same last name, or one imports a module of the plugin in another form: a fault of this program.

    Example:
        >>> sorted(portable_sources(["slam_plugin.modules.relative_key"]))
        ['distances.py', 'relative_key.py']

    Args:
        modules: full names. Their files name all that they need, also indirectly: version 4 of transformers copies
            no others.
    """
    found: dict[str, str] = {}
    origins: dict[str, str] = {}
    for entry in modules:
        needed = _needed_by(entry)
        for module, (text, imported) in needed.items():
            name = _name(module)
            if origins.setdefault(name, module) != module:
                raise ValueError(f"{name}: found for {module} and {origins[name]}, expected modules of different names")
            found.setdefault(f"{name}.py", _portable(module, text, imported))
        indirect = sorted(_name(module) for module in needed.keys() - {entry, *needed[entry][1].values()})
        found[f"{_name(entry)}.py"] = (
            _portable(entry, *needed[entry])
            + _NAMED * bool(indirect)
            + "".join(f"from .{name} import __name__ as _\n" for name in indirect)
        )
    return found


def _needed_by(entry: str) -> dict[str, tuple[str, dict[int, str]]]:
    """Return the source of a module and of all that it needs, and the modules of the plugin that each imports."""
    needed: dict[str, tuple[str, dict[int, str]]] = {}
    waiting = [entry]
    while waiting:
        module = waiting.pop()
        if module not in needed:
            text = (_ROOT / _path(module)).read_text(encoding="utf-8")
            needed[module] = text, _imports_of(text, module)
            waiting.extend(needed[module][1].values())
    return needed


def _name(module: str) -> str:
    return module.rpartition(".")[2]


def _path(module: str) -> Path:
    """Return the place of a module in the plugin's folder."""
    return Path(*module.split(".")[1:]).with_suffix(".py")


def _imports_of(text: str, module: str) -> dict[int, str]:
    """Return the modules of the plugin that a file imports from, by the line of the import, from 0."""
    imported = {}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
            whole = any(name.partition(".")[0] == _PACKAGE for name in names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == _PACKAGE:
            imported[node.lineno - 1] = node.module
            whole = node.module == _PACKAGE or not (_ROOT / _path(node.module)).is_file()
        else:
            continue
        if whole:
            raise ValueError(f"{module}: line {node.lineno}: expected `from MODULE import NAME` alone")
    return imported


def _portable(module: str, text: str, imported: dict[int, str]) -> str:
    lines = text.splitlines(keepends=True)
    for line, other in imported.items():
        lines[line] = lines[line].replace(f"from {other} import", f"from .{_name(other)} import")
    return _HEADER.format(path=Path(_PACKAGE, _path(module)).as_posix()) + "".join(lines)
