"""Trained networks outside this project: a file for another runtime, and a model that takes pictures.

ONNX, ONNX Runtime and OpenVINO come with the extra `export`. They are imported only by what needs them.
"""

from msinet.export.card import ExportCard
from msinet.export.embedder import Embedder, load
from msinet.export.files import FORMATS, write

__all__ = ["FORMATS", "Embedder", "ExportCard", "load", "write"]
