import pytest

from slam_plugin.data.errors import DataError
from slam_plugin.data.text.classes import read_classes


def test_codes_name_the_class_of_each_line(tmp_path):
    path = tmp_path / "valid.classes"
    path.write_text("Date\nCARDINAL\nDATE \n")
    classes = read_classes(path, 3)
    assert classes.names == ("cardinal", "date") and classes.codes.tolist() == [1, 0, 1]


def test_faults_are_named(tmp_path):
    path = tmp_path / "valid.classes"
    path.write_text("DATE\n\nDATE\n  \n")
    with pytest.raises(DataError, match=r"valid\.classes:2: is empty.*\n.*valid\.classes:4: is empty"):
        read_classes(path, 4)
    with pytest.raises(DataError, match=r"valid\.classes: found 4 lines, expected 5"):
        read_classes(path, 5)
