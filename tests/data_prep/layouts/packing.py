"""Clips and manifests to pack, and the contents of folders."""

import os

import numpy as np
import soundfile

from slam_plugin.data.audio import frames_in
from slam_plugin.data.manifests.manifest import Manifest, write_manifest

COLUMNS = ("id", "audio", "n_frames", "tgt_text", "speaker")


def rows_of(folder, names):
    return [
        {
            "id": f"u-{name}",
            "audio": os.path.relpath(folder.parent / "clips" / f"{name}.flac", folder),
            "n_frames": frames_in(soundfile.info(folder.parent / "clips" / f"{name}.flac").frames),
            "tgt_text": f'some "text" {name}',
            "speaker": "",
        }
        for name in names
    ]


def make(top):
    """Write twelve clips, and two manifests in two folders that share four of them."""
    (top / "clips").mkdir(parents=True)
    for name in range(12):
        noise = np.random.default_rng(name).standard_normal(4000 + 801 * name) * 0.1
        soundfile.write(top / "clips" / f"{name}.flac", noise, 16000)
    write_manifest(top / "speech/train.tsv", rows_of(top / "speech", range(8)), COLUMNS)
    write_manifest(top / "pairs/train.tsv", rows_of(top / "pairs", range(4, 12)), COLUMNS)
    return [top / "speech/train.tsv", top / "pairs/train.tsv"]


def contents(top):
    return {
        str(path.relative_to(top)): path.read_bytes()
        for path in sorted(top.rglob("*"))
        if path.suffix != ".arrow" and path.is_file()
    }


def seen(top):
    """Return the files that a user sees, without the hidden files of unfinished work."""
    return {name: data for name, data in contents(top).items() if not os.path.basename(name).startswith(".")}


def all_rows(path):
    manifest = Manifest.open(path)
    return [manifest.row(index) for index in range(len(manifest))]
