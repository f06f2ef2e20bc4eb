"""Names that the file system refuses: each is named, and none ends what reads it."""

import pytest

from slam_plugin.data.audio import load_features
from slam_plugin.data.errors import DataError
from slam_plugin.data.lengths import count_frames
from slam_plugin.data.locations import missing, outside, parse_location
from slam_plugin.data.sound.reading import is_large

NAMES = ["nul\0.wav", "nul\0.npy", "nul\0.zip:0:10", "nul\0.wav:0:10", "a" * 300 + ".wav", "a/" * 2100 + "a.wav"]


@pytest.mark.parametrize("name", NAMES)
def test_names_that_the_file_system_refuses(tmp_path, name):
    place = parse_location(name, tmp_path)
    assert missing(place).startswith(f"{place}: ")
    assert not is_large(place)
    for read in (load_features, count_frames):
        with pytest.raises(DataError) as error:
            read(name, tmp_path)
        assert str(error.value).startswith(f"{place}: ")
    if "\0" in name:
        assert outside(place, tmp_path).startswith(f"{place}: cannot be read (embedded null")
    else:
        assert outside(place, tmp_path) is None
