"""How well a latency table predicts whole networks: random genotypes are timed and compared with their sums."""

import random
from collections.abc import Sequence

import torch
from harness import Contender, arguments, begin, image_arguments, race

from msinet.engine.costs import measure_latencies
from msinet.engine.evolution import genotype_of
from msinet.models import MSINet
from msinet.models.deploy import deployed
from msinet.statistics import rank_correlation


def main(argv: Sequence[str] | None = None) -> None:
    parser = arguments(__doc__, repeats=15)
    image_arguments(parser, batch_size=8)
    parser.add_argument("--genotypes", type=int, default=12, help="random genotypes that are timed")
    args, device = begin(parser, argv)
    table = measure_latencies(args.image_size, device, args.batch_size)
    rng = random.Random(0)
    paths = [tuple(rng.randrange(4) for _ in range(12)) for _ in range(args.genotypes)]
    images_BCHW = torch.randn(args.batch_size, 3, *args.image_size, device=device)
    images_BCHW = images_BCHW.to(memory_format=torch.channels_last)
    with torch.no_grad():
        contenders = [_timed(path, images_BCHW, device) for path in paths]
        race(contenders, args, device)
    predicted = [table.of(path) for path in paths]
    measured = [1e3 * contender.median for contender in contenders]
    errors = [predicted[i] / measured[i] - 1 for i in range(len(paths))]
    print(f"{'genotype':14}{'measured ms':>12}{'by the table':>14}{'error':>9}")
    for contender, found, sum_of_parts, error in zip(contenders, measured, predicted, errors, strict=True):
        print(f"{contender.what:14}{found:12.2f}{sum_of_parts:14.2f}{100 * error:8.1f}%")
    mean, worst = sum(map(abs, errors)) / len(errors), max(map(abs, errors))
    tau = rank_correlation(measured, predicted)
    print(f"\nmean error {100 * mean:.1f} %, largest {100 * worst:.1f} %")
    print(f"Kendall's τ of predicted and measured times: {tau.estimate:.2f} ({tau.low:.2f} to {tau.high:.2f})")


def _timed(path: tuple[int, ...], images_BCHW: torch.Tensor, device: torch.device) -> Contender:
    network = deployed(MSINet(genotype_of(path), 0).to(device).eval())
    return Contender(genotype_of(path).letters, len(images_BCHW), lambda: network.embed(images_BCHW), keeps_memory=True)


if __name__ == "__main__":
    main()
