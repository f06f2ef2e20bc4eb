"""``slam recipes``: each file under the heading of the program that takes it, with a whole sentence."""

import pytest
import yaml

from slam_plugin.commands.recipes import FOLDER, main

CORPORA, CONFIGURATIONS = "Corpora files, for --corpora:", "Configurations, for fairseq-hydra-train:"


def test_each_recipe_stands_under_its_program(capsys):
    assert main([]) == 0
    first, second = capsys.readouterr().out.split("\n\n")
    found = {block.splitlines()[0]: {line.split()[0] for line in block.splitlines()[1:]} for block in (first, second)}
    files = {
        path.relative_to(FOLDER).as_posix(): yaml.safe_load(path.read_text("utf-8")) for path in FOLDER.rglob("*.yaml")
    }
    with_a_model = {name for name, content in files.items() if "model" in content}
    assert found == {CORPORA: files.keys() - with_a_model, CONFIGURATIONS: with_a_model}


def test_what_is_said_of_a_recipe_is_a_whole_sentence(capsys):
    main([])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith(" ")]
    assert not [line for line in lines if not line.endswith(".")]


@pytest.mark.parametrize(
    ("name", "meant"),
    [("laptop/speech_pairs", "did you mean laptop/speech_pairs.yaml?"), ("of my own", "`slam recipes` lists them")],
)
def test_a_name_that_is_not_in_the_list(capsys, name, meant):
    assert main([name]) == 1
    assert capsys.readouterr().err == f"slam recipes: there is no recipe {name!r}; {meant}\n"
