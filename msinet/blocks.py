"""Matrices of distances are computed in blocks of rows that fit into the memory. PyTorch is not needed."""

from collections.abc import Iterator

# The number of distances that are held at a time (64 MB). An evaluation needs a small multiple of this memory. Smaller
# blocks make matrix products slower on processors: by a seventh at 2**22.
BLOCK = 2**24


def row_blocks(num_rows: int, num_columns: int) -> Iterator[slice]:
    """Divide a matrix into blocks of rows with at most `BLOCK` numbers each (but at least one row)."""
    step = max(1, BLOCK // num_columns)
    return (slice(start, min(start + step, num_rows)) for start in range(0, num_rows, step))
