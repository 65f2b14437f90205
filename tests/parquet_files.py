"""Folders of Parquet in the layouts of Spark and Ray Data."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


def lists_of(kind, values):
    """As Spark (list<float>), Ray Data (large_list) or we (fixed_size_list) have features."""
    flat = pa.array(values.astype(np.float16 if kind == "half" else np.float32).ravel())
    if kind in ("fixed", "half"):
        return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
    ends = np.arange(0, values.size + 1, values.shape[1])
    if kind == "large":
        return pa.LargeListArray.from_arrays(pa.array(ends, pa.int64()), flat)
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), flat)


def write_parquet(folder, rows, chosen, rejected, kind="list", files=3, row_group_size=7):
    """A folder as Spark leaves it: numbered files, a marker and hidden checksums."""
    folder.mkdir(parents=True)
    for number, own in enumerate(np.array_split(np.arange(len(rows)), files)):
        columns = {
            "id": pa.array([rows[row].id for row in own]),
            "prompt": pa.array([f"Prompt {row // 2}" for row in own]),
            "margin": pa.array([rows[row].margin for row in own]),
            "chosen": lists_of(kind, chosen[own]),
            "rejected": lists_of(kind, rejected[own]),
            "note": pa.array(["not read"] * len(own)),
        }
        name = f"part-{number:05d}-c0ffee.snappy.parquet"
        pq.write_table(pa.table(columns), folder / name, row_group_size=row_group_size)
        (folder / f".{name}.crc").write_bytes(b"crc")
    (folder / "_SUCCESS").touch()
    return folder
