"""Searches that share a device: how many at once are fastest in total, and so which share each should ask for.

Every search is a process of its own, like a stage. On a processor each search gets its part of the threads.
"""

import argparse
import multiprocessing
import time
from collections.abc import Sequence
from typing import Any

import torch
from harness import Contender, arguments, begin, image_arguments, print_table, random_batches

from msinet.engine.memory import kept_memory
from msinet.engine.search import Search
from msinet.models.supernet import Supernet
from msinet.recipes import SearchRecipe

PATIENCE = 600  # seconds until all searches have warmed up


def search(args: argparse.Namespace, threads: int, ready: Any, spans: Any) -> None:
    """Run the steps of one search. They begin when all searches are ready."""
    torch.set_num_threads(threads)
    device = torch.device(args.device)
    recipe = SearchRecipe(batch_size=args.batch_size, precision=args.precision)
    train, valid = (random_batches(recipe, args.image_size, device) for _ in range(2))
    batches = next(train.epoch(0)), next(valid.epoch(0))
    run = Search(Supernet(), train, valid, recipe, device)
    run.supernet.train()
    with kept_memory():
        for _ in range(args.warm_up):
            run.step(batches).tolist()
        ready.wait(PATIENCE)
        started = time.time()
        for _ in range(args.repeats):
            losses = run.step(batches)
        losses.tolist()  # waits for the device
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
    spans.put((started, time.time(), peak))


def together(args: argparse.Namespace, count: int) -> Contender:
    """Run `count` searches at once. Their time is from the first step of the first to the last step of the last."""
    context = multiprocessing.get_context("spawn")
    ready, spans = context.Barrier(count), context.Queue()
    threads = max(1, args.threads // count)
    processes = [context.Process(target=search, args=(args, threads, ready, spans)) for _ in range(count)]
    for process in processes:
        process.start()
    found = []
    while len(found) < count:
        if any(process.exitcode for process in processes):
            raise SystemExit(f"all {count} searches must succeed, but one failed: see above.")
        if not spans.empty():
            found.append(spans.get())
        time.sleep(0.05)
    for process in processes:
        process.join()
    started, ended, peaks = zip(*found, strict=True)
    images = 2 * args.batch_size * args.repeats * count
    contender = Contender(f"{count} at once", images, lambda: None, seconds=[max(ended) - min(started)])
    contender.peak = None if None in peaks else max(peaks)
    return contender


def main(argv: Sequence[str] | None = None) -> list[Contender]:
    parser = arguments(__doc__, repeats=10)
    image_arguments(parser, batch_size=64)
    parser.add_argument("--precision", choices=["float32", "bf16"], default="float32")
    parser.add_argument("--concurrent", type=int, nargs="+", default=[1, 2, 4, 8], help="searches at once")
    args, _ = begin(parser, argv)
    args.warm_up = max(1, args.warm_up)
    contenders = [together(args, count) for count in args.concurrent]
    print_table(contenders)
    best = max(contenders, key=lambda contender: contender.items / contender.median)
    print(f"\nmost steps a second: {best.what}")
    return contenders


if __name__ == "__main__":
    main()
