"""The Arrow shards of a prepared dataset: the records and the bytes of the original files. PyTorch is not needed."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from msinet.data.dataset import DataError
from msinet.data.records import Record

SCHEMA = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field("pid", pa.string(), nullable=False),
        pa.field("pid_is_int", pa.bool_(), nullable=False),
        pa.field("camid", pa.int32()),
        pa.field("subset", pa.string(), nullable=False),
        pa.field("image", pa.large_binary(), nullable=False),
    ]
)


def shards_of(folder: Path) -> list[Path]:
    """Return the shards in a folder, in order."""
    return sorted(folder.glob("shard-*.arrow"))


def batches_of(folder: Path) -> Iterator[pa.RecordBatch]:
    """Yield the batches of all shards in a folder, memory-mapped.

    Raises:
        DataError: The folder contains no shards, or a shard is incomplete.
    """
    shards = shards_of(folder)
    if not shards:
        raise DataError(f"a prepared dataset must hold shard-00000.arrow, but {folder} does not.")
    for shard in shards:
        try:
            file = pa.ipc.open_file(pa.memory_map(str(shard)))
            batches = [file.get_batch(i) for i in range(file.num_record_batches)]
        except pa.ArrowException as error:
            raise DataError(f"a shard must be a whole Arrow file, but {shard} is not: {error}") from error
        yield from batches


def records_in(batch: pa.RecordBatch) -> Iterator[Record]:
    """Yield the records of a batch, without reading a picture."""
    columns = [batch.column(name).to_pylist() for name in ("path", "pid", "pid_is_int", "camid", "subset")]
    for path, pid, pid_is_int, camid, subset in zip(*columns, strict=True):
        yield Record(path, int(pid) if pid_is_int else pid, camid, subset)


def target_records(folder: Path) -> list[Record]:
    """Return the records of the queries, then those of the gallery, as evaluations embed them: each side by path.

    Raises:
        DataError: The folder contains no shards, or a shard is incomplete.
    """
    records = [record for batch in batches_of(folder) for record in records_in(batch)]
    return [record for subset in ("query", "gallery") for record in records if record.subset == subset]
