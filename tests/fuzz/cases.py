"""From a reader and a number to the files of a case."""

import fnmatch
from pathlib import Path
from random import Random

from tests.fuzz.containers import damaged_within
from tests.fuzz.invented import invented
from tests.fuzz.mutations import mutated
from tests.fuzz.reader import Reader

_INVENTED_EVERY = 5  # a case of so many is invented, if the format is text


def tree_of(folder: Path) -> dict[str, bytes]:
    """Return the content of all files below a folder by their paths."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def changed_files(reader: Reader, tree: dict[str, bytes], number: int) -> dict[str, bytes]:
    """Return the new content of the files that case ``number`` changes: one, now and then two. Case 0 changes none."""
    if number == 0:
        return {}
    random = Random(f"{reader.name} {number}")
    names = [name for name in tree if any(fnmatch.fnmatch(name, pattern) for pattern in reader.files)]
    assert names, f"{reader.name}: no file of {sorted(tree)} matches {reader.files}"
    chosen = random.sample(names, min(len(names), random.choice((1, 1, 1, 1, 2))))
    return {name: _changed(name, tree[name], tree[random.choice(names)], number, random) for name in chosen}


def _changed(name: str, data: bytes, other: bytes, number: int, random: Random) -> bytes:
    if number % _INVENTED_EVERY == 0 and _is_text(data):
        return invented(name, data, number // _INVENTED_EVERY)

    def damage(content: bytes) -> bytes:
        return mutated(content, other, random)

    if random.random() < 0.7:
        within = damaged_within(name, data, damage, random)
        if within is not None:
            return within
    return damage(data)


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return b"\x00" not in data


def write_files(folder: Path, files: dict[str, bytes]) -> None:
    """Write files below a folder."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
