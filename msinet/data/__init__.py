"""Datasets: records, readers, generated pictures, splits, samplers, shards and batches."""

from msinet.data.dataset import DataError, Dataset
from msinet.data.records import Record

__all__ = ["DataError", "Dataset", "Record"]
