"""The time to find the nearest images in a gallery of a million, exactly and in bounded memory; also with faiss.

The gallery is a memory-mapped file. faiss runs only if it is installed. Its exact index holds the whole gallery in
memory. Its approximate index (inverted lists) looks into a part of the gallery and finds only a part of the nearest
images; that part is the recall.
"""

import argparse
import importlib
import importlib.util
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from harness import Contender, arguments, begin, print_table, race, require, retrieval_arguments

from msinet.retrieval import nearest

CHUNK = 2**15  # images that are drawn at a time


def gallery_file(path: Path, args: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
    """Return (queries, gallery): about 20 images around each identity's centre, normalised; the gallery is a file."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((max(2, args.gallery // 20), args.dim), dtype=np.float32)

    def drawn(count: int) -> np.ndarray:
        images = centres[rng.integers(0, len(centres), count)]
        images += 0.8 * rng.standard_normal(images.shape, dtype=np.float32)
        return images / np.linalg.norm(images, axis=1, keepdims=True)

    gallery = np.memmap(path, np.float32, "w+", shape=(args.gallery, args.dim))
    for start in range(0, args.gallery, CHUNK):
        gallery[start : start + CHUNK] = drawn(min(CHUNK, args.gallery - start))
    gallery.flush()
    queries = drawn(args.queries)
    del gallery
    return queries, np.memmap(path, np.float32, "r", shape=(args.gallery, args.dim))


def recall(found_QK: np.ndarray, exact_QK: np.ndarray) -> float:
    """Return the share of the nearest images that were found."""
    pairs = zip(found_QK, exact_QK, strict=True)
    return float(np.mean([len(np.intersect1d(*pair)) / exact_QK.shape[1] for pair in pairs]))


def faiss_contenders(args: argparse.Namespace, queries: np.ndarray, gallery: np.ndarray) -> list[Contender]:
    """Return faiss's exact index, and its approximate index once for each number of lists that it looks into."""
    faiss: Any = importlib.import_module("faiss")
    faiss.omp_set_num_threads(args.threads)
    _, exact_QK = nearest(queries, gallery, args.k)
    flat = faiss.IndexFlatIP(args.dim)
    lists = faiss.IndexIVFFlat(faiss.IndexFlatIP(args.dim), args.dim, args.lists, faiss.METRIC_INNER_PRODUCT)
    lists.train(np.array(gallery[:: max(1, args.gallery // (40 * args.lists))]))
    for index in (flat, lists):
        for start in range(0, args.gallery, CHUNK):
            index.add(np.array(gallery[start : start + CHUNK]))
    require("what faiss's exact index does not find", 1 - recall(flat.search(queries, args.k)[1], exact_QK), 1e-4)
    contenders = [Contender("nearest: faiss, exact", args.queries, partial(flat.search, queries, args.k))]
    for probes in args.probes:

        def search(probes: int = probes) -> np.ndarray:
            lists.nprobe = probes
            return lists.search(queries, args.k)[1]

        found = recall(search(), exact_QK)
        contenders.append(Contender(f"nearest: faiss, {probes} lists, recall {found:.3f}", args.queries, search))
    return contenders


def main(argv: Sequence[str] | None = None) -> list[Contender]:
    parser = arguments(__doc__, repeats=3)
    retrieval_arguments(parser, 1000, 1_000_000)
    parser.add_argument("--k", type=int, default=50, help="images to find for each query")
    parser.add_argument("--lists", type=int, default=1024, help="lists of faiss's approximate index")
    parser.add_argument("--probes", type=int, nargs="+", default=[8, 64, 256], help="lists that this index looks into")
    args, device = begin(parser, argv)
    if device.type != "cpu":
        parser.error(f"this benchmark needs the processor, but got `--device {device}`.")
    with tempfile.TemporaryDirectory() as folder:
        queries, gallery = gallery_file(Path(folder) / "gallery.f32", args)
        contenders = [Contender("nearest: ours, exact", args.queries, lambda: nearest(queries, gallery, args.k))]
        if importlib.util.find_spec("faiss"):
            contenders += faiss_contenders(args, queries, gallery)
        else:
            print("faiss is not installed (pip install faiss-cpu): only ours runs")
        race(contenders, args, device)
    print_table(contenders)
    return contenders


if __name__ == "__main__":
    main()
