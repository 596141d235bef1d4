"""The time to embed images: MSINet, the released network unchanged, and ResNet-50 in the same deployed form as ours."""

from collections.abc import Callable, Sequence
from functools import cache
from types import SimpleNamespace
from typing import Any

import torch
from harness import (
    Contender,
    Load,
    apart,
    arguments,
    begin,
    forward_macs,
    image_arguments,
    print_table,
    quiet,
    race,
    released,
    require,
)
from torch import Tensor, nn
from torch.nn.functional import normalize

from msinet.engine.evaluate import embedding_batch
from msinet.export.compiled import in_runtime
from msinet.interop.card import Card
from msinet.interop.released import from_released_names
from msinet.models import build_model
from msinet.models.deploy import deployed

NUM_CLASSES = 2


def released_network(load: Load, images_BCHW: Tensor) -> nn.Module:
    """Return the released MSINet, with running statistics of `images_BCHW`, so that a comparison includes them."""
    settings = SimpleNamespace(genotypes="msmt", pretrained=False, source_dataset="msmt17", sam_mode="none")
    with quiet():
        network: nn.Module = load("reid.models.msinet").msinet_x1_0(settings, NUM_CLASSES).to(images_BCHW.device)
    for name, parameter in network.named_parameters():
        if name.endswith("gamma"):  # an attention with γ = 0 has no effect, so a comparison would miss it
            nn.init.constant_(parameter, 0.1)
    network.train()(images_BCHW)
    return network.eval()


def evaluating(embed: Callable[[Tensor], Tensor], images_BCHW: Tensor) -> Callable[[], Tensor]:
    def run() -> Tensor:
        with torch.no_grad():
            return embed(images_BCHW)

    return run


def ours(
    name: str, images_BCHW: Tensor, dtype: torch.dtype, runtime: Any = "torch", **options: Any
) -> tuple[nn.Module, Contender]:
    """Return a network of this package, and a contender that runs it as `msinet.engine.evaluate.embed` does.

    In another runtime than torch, the contender runs the network's export in batches of the same size.
    """
    model = build_model(name, num_classes=NUM_CLASSES, **options).to(images_BCHW.device)
    last_BCHW = images_BCHW.to(dtype=dtype, memory_format=torch.channels_last)
    height, width = images_BCHW.shape[2:]
    macs = forward_macs(model, (height, width))

    def exported(images_BCHW: Tensor) -> Tensor:
        run = exported_once(model, name, runtime, (height, width))
        return torch.cat([run(part_BCHW) for part_BCHW in images_BCHW.split(embedding_batch(last_BCHW.device))])

    def embed(images_BCHW: Tensor) -> Tensor:
        light = deployed_once(model, dtype)  # made at the first run, after the caller has loaded weights
        return torch.cat([light.embed(part_BCHW) for part_BCHW in images_BCHW.split(embedding_batch(last_BCHW.device))])

    run = evaluating(embed if runtime == "torch" else exported, last_BCHW)
    what = f"embed: {type(model).__name__}{'' if runtime == 'torch' else f', {runtime}'}"
    return model, Contender(what, len(images_BCHW), run, macs, keeps_memory=True)


@cache
def deployed_once(model: nn.Module, dtype: torch.dtype) -> Any:
    """Return the deployed form of a network, which is made at the first call and then kept."""
    return deployed(model, dtype)


class Plain(nn.Module):
    """A network as somebody exports it who wraps `embed` and does nothing else."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model.eval()

    def forward(self, images: Tensor) -> Tensor:
        return normalize(self.model.embed(images))  # type: ignore[operator]


def plain_export(model: nn.Module, images_BCHW: Tensor, runtime: Any) -> Contender:
    """Return a contender that runs a plain export of MSINet in batches of the same size."""
    height, width = images_BCHW.shape[2:]
    card = Card("msinet", {}, 0, (height, width))
    run = in_runtime(model, card, runtime, torch.get_num_threads(), form=Plain(model))
    parts = images_BCHW.split(embedding_batch(images_BCHW.device))
    what = f"embed: MSINet, plain export, {runtime}"
    return Contender(what, len(images_BCHW), lambda: torch.cat([run(part) for part in parts]))


@cache
def exported_once(model: nn.Module, name: str, runtime: Any, image_size: tuple[int, int]) -> Any:
    """Return the function that runs a network in another runtime, which is made at the first call and then kept."""
    return in_runtime(model, Card(name, {}, 0, image_size), runtime, torch.get_num_threads())


def main(argv: Sequence[str] | None = None) -> list[Contender]:
    parser = arguments(__doc__)
    image_arguments(parser, batch_size=128)
    parser.add_argument("--precision", choices=["float32", "bf16"], default="float32", help="precision of ours")
    parser.add_argument("--runtime", choices=["torch", "onnxruntime", "openvino"], default="torch", help="runs ours")
    args, device = begin(parser, argv)
    if args.runtime != "torch" and (args.precision != "float32" or device.type != "cpu"):
        parser.error("other runtimes than torch run on the processor, in float32")
    dtype = torch.bfloat16 if args.precision == "bf16" else torch.float32
    images_BCHW = torch.randn(args.batch_size, 3, *args.image_size, device=device)
    network, contender = ours("msinet", images_BCHW, dtype, args.runtime, genotype="MSINet")
    contenders = [contender, ours("resnet50", images_BCHW, dtype, args.runtime)[1]]
    if args.runtime != "torch":
        contenders.append(plain_export(network, images_BCHW, args.runtime))
    if args.reference:
        peer = released_network(released(args.reference, device), images_BCHW[:8])
        network.load_state_dict(from_released_names(peer.state_dict()))
        run = evaluating(peer, images_BCHW)
        macs = forward_macs(peer, args.image_size)
        contenders.append(Contender("embed: MSINet, released", args.batch_size, run, macs))
        embeddings = (normalize(embed().float()) for embed in (contender.run, run))  # exports have length 1
        require("embeddings", apart(*embeddings), 1e-4 if args.precision == "float32" else 0.1)
    race(contenders, args, device)
    print_table(contenders)
    return contenders


if __name__ == "__main__":
    main()
