"""``setup.py`` lists each package that the plugin and its data preparation import."""

import ast
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OWN = {"slam_plugin", "data_prep"}


def required() -> set[str]:
    """Return the names in ``install_requires`` and in ``extras_require``."""
    (call,) = [
        node.value
        for node in ast.parse((ROOT / "setup.py").read_text(encoding="utf-8")).body
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    ]
    keywords = {keyword.arg: keyword.value for keyword in call.keywords}
    lists = [keywords["install_requires"], *keywords["extras_require"].values]
    # An f-string begins with its name as well.
    texts = [getattr(entry, "values", [entry])[0].value for each in lists for entry in each.elts]
    return {normalized(re.match(r"[\w.-]+", text)[0]) for text in texts}


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def imported(package: str) -> set[str]:
    """Return the top-level names that the files of a package import, inside functions as well."""
    names = set()
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names.add(node.module.partition(".")[0])
    return names - OWN - sys.stdlib_module_names


@pytest.mark.parametrize("package", sorted(OWN))
def test_every_import_is_of_a_package_that_setup_names(package):
    named, providers = required(), packages_distributions()
    found = imported(package)
    assert {"numpy", "torch", "fairseq"} <= found
    missing = {name for name in found if not named & {normalized(each) for each in providers.get(name, ())}}
    assert not missing, f"setup.py does not name the packages of {sorted(missing)}"
