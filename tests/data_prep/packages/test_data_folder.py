"""The command of a whole data folder makes it, puts ``corpora.yaml`` into it, and ends with one message."""

import yaml

from data_prep.engine.folder import make_folder
from data_prep.packages.data_folder import folder_program


def test_a_corpora_file_is_put_beside_the_data(tmp_path, capsys):
    wanted, data, made = tmp_path / "mine.yaml", tmp_path / "data", []

    def prepare(tree, out, limit, jobs):
        def fill(folder):
            made.append((tree.name, limit, jobs))
            folder.mkdir()
            return {"symbols": {"joint": 9}}

        return make_folder(out, {"limit": limit}, fill)

    main = folder_program("any", "Make any folder.", prepare, str)
    arguments = ["--tree", str(tmp_path / "tree"), "--out", str(data), "--corpora", str(wanted)]
    for kind in ("speech", "text"):
        wanted.write_text(yaml.safe_dump({"stages": {0: [kind]}}))
        assert main(arguments) == 0
        assert yaml.safe_load((data / "corpora.yaml").read_text()) == {"stages": {0: [kind]}}
    assert made == [("tree", None, 2)]
    assert "'joint': 9" in capsys.readouterr().out
    assert main([*arguments, "--limit", "3"]) == 1
    assert "was made by another recipe (limit: found None, expected 3)" in capsys.readouterr().err
