"""Folders as ``save_to_disk`` of ``datasets`` 5.2 writes them: Arrow streams and their descriptions."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

AUDIO = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_FEATURES = {AUDIO: {"sampling_rate": 16000, "_type": "Audio"}}


def write_data_set(
    folder: Path,
    columns: Mapping[str, tuple[pa.DataType, Sequence[Any]]],
    shards: int = 1,
    batch: int = 2,
    classes: Mapping[str, Sequence[str]] | None = None,
) -> Path:
    """Write a data set of ``columns``, each a type and its values, in record batches of ``batch`` rows."""
    folder.mkdir(parents=True, exist_ok=True)
    features = {
        name: _FEATURES.get(kind, {"dtype": str(kind), "_type": "Value"}) for name, (kind, _) in columns.items()
    }
    features |= {name: {"names": list(names), "_type": "ClassLabel"} for name, names in (classes or {}).items()}
    table = pa.table({name: pa.array(values, kind) for name, (kind, values) in columns.items()})
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    names = [f"data-{shard:05d}-of-{shards:05d}.arrow" for shard in range(shards)]
    size = -(-len(table) // shards)
    for shard, name in enumerate(names):
        with pa.OSFile(str(folder / name), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
            # Not a slice of larger buffers: the library gathers the rows of each batch.
            rows = table.take(list(range(shard * size, min((shard + 1) * size, len(table)))))
            writer.write_table(rows.combine_chunks(), max_chunksize=batch)
    state = {"_data_files": [{"filename": name} for name in names], "_fingerprint": "a24ff9d9eb7eff05"}
    state |= {"_format_columns": None, "_format_kwargs": {}, "_format_type": None}
    state |= {"_output_all_columns": False, "_split": None}
    info = {"citation": "", "description": "", "features": features, "homepage": "", "license": ""}
    (folder / "state.json").write_text(json.dumps(state, indent=2))
    (folder / "dataset_info.json").write_text(json.dumps(info, indent=2))
    return folder


def write_splits(folder: Path, splits: Sequence[str]) -> None:
    """Write what a DatasetDict has above its data sets."""
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": list(splits)}))
