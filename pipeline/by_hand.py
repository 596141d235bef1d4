"""The verb `evaluate`: it evaluates one model on any datasets, without an experiment and without Ray."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from msinet.data.dataset import TARGET
from msinet.genotype import Genotype
from msinet.spaces import Space, as_space
from pipeline.config.describe import describe_errors
from pipeline.config.load import kind_and_path
from pipeline.config.parts import MAX_SIDE, MIN_SIDE, Baseline, DiskData
from pipeline.errors import RequestError
from pipeline.plan.kinds import SHARDS
from pipeline.plan.preflight import checked_fingerprint, read_dataset, require_pictures
from pipeline.plan.stage import content_key
from pipeline.reports.console import aligned
from pipeline.results import Done, Failed, scored_queries
from pipeline.stages.attempt import execute
from pipeline.stages.task import Task
from pipeline.storage.open import require_conditions
from pipeline.storage.workspace import Workspace

if TYPE_CHECKING:
    from torch import nn

    from msinet.data.packed import ImageStore
    from msinet.data.records import Record
    from msinet.interop.card import Card

COLUMNS = ("mAP", "rank1", "rank5", "rank10", "mINP")


def evaluate_by_hand(
    model_file: Path,
    network: str | None,
    options: dict[str, Any],
    targets: list[str],
    image_size: tuple[int, int] | None,
    workspace: Workspace,
    *,
    after_neck: bool,
    rerank: bool,
) -> str:
    """Return the scores of a model on datasets, as a table in percent.

    Args:
        model_file: Weights under our own names, the released implementation's, torchvision's or torchreid's.
        network: A name for `msinet.build_model`; by default what the file says, else `msinet`.
        options: Options of that network: `genotype`, or `scales`; by default what the file says.
        targets: The datasets, each as `KIND=PATH`.
        image_size: (height, width) in pixels; by default what the file says, else each dataset's own.
        workspace: Where the prepared datasets are stored.
        after_neck: Whether embeddings are taken after the necks.
        rerank: Whether each dataset gets a second row, after k-reciprocal re-ranking.

    Raises:
        RequestError: The file says that it holds another network, the weights do not fit the network, a dataset does
            not exist or is damaged, or the workspace cannot be written to.
    """
    import torch

    from msinet.engine.evaluate import embed, rank_records

    require_conditions(workspace.store)
    workspace.make()
    model, card = load_network(model_file, network, options, image_size, after_neck=after_neck)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows = [["target", *COLUMNS, "queries"]]
    for target in targets:
        pictures = target_pictures(target, card.image_size if card else image_size, workspace)
        try:
            embedding_ND = embed(model, pictures.store, device, after_neck=after_neck)
        except ValueError as error:
            raise RequestError(f"{error} (MODEL)") from error
        for reranked in [False, True] if rerank else [False]:
            scores, _ = rank_records(pictures.records, embedding_ND, pictures.protocol, rerank=reranked)
            label = f"{target}{' re-ranked' if reranked else ''}"
            queries = scored_queries(scores).removesuffix(" queries") or "all"
            rows.append([label, *(f"{100 * scores[name]:.1f}" for name in COLUMNS), queries])
    return aligned(rows)


def load_network(
    model_file: Path,
    network: str | None,
    options: dict[str, Any],
    image_size: tuple[int, int] | None,
    *,
    after_neck: bool,
) -> "tuple[nn.Module, Card | None]":
    """Return a network with the weights of a file, and what it is; None if the size of its pictures is unknown.

    The arguments are those of `evaluate_by_hand`.

    Raises:
        RequestError: The file says that it holds another network, or the weights do not fit the network.
    """
    from msinet.interop.card import Card
    from msinet.interop.start import is_embedded, load_start
    from msinet.interop.state_dicts import read_state_dict
    from msinet.models import build_model

    try:
        weights = read_state_dict(model_file)
        network, options, image_size = _checked(model_file, network, options, image_size)
        if image_size and not all(MIN_SIDE <= side <= MAX_SIDE for side in image_size):
            raise ValueError(f"each side of a picture must have {MIN_SIDE} to {MAX_SIDE} pixels, but got {image_size}.")
        model = build_model(network, num_classes=0, **options)
        report = load_start(model, weights)
    except (ValueError, OSError) as error:
        raise RequestError(f"{error} (MODEL, --network, --genotype, --scales, --image-size)") from error
    missing = [name for name in report.left if is_embedded(name, after_neck)]
    if missing:
        raise RequestError(
            f"MODEL must hold all weights that an embedding needs, but {model_file} lacks {', '.join(missing[:5])}."
        )
    return model, Card(network, options, 0, image_size) if image_size else None


@dataclass(frozen=True)
class TargetPictures:
    """The test pictures of a target.

    Attributes:
        records: The queries, then the gallery.
        store: The decoded pictures, in the same order.
        protocol: How the target is scored (`msinet.engine.evaluate.rank_records`).
        fingerprint: The fingerprint of the target.
    """

    records: "list[Record]"
    store: "ImageStore"
    protocol: str
    fingerprint: str


def target_pictures(target: str, image_size: tuple[int, int] | None, workspace: Workspace) -> TargetPictures:
    """Return the test pictures of a target, which is prepared in the workspace if it was not before.

    Args:
        target: `KIND=PATH`.
        image_size: (height, width) in pixels; None for the dataset's own.
        workspace: A workspace that was made.

    Raises:
        RequestError: The dataset does not exist or is damaged, or no size is known.
    """
    from msinet.data.packed import ImageStore, PackedDataset

    data, prepared = _prepare(target, workspace)
    size = image_size or data.training_size
    if size is None:
        raise RequestError(f"a manifest states no picture size: give `--image-size H W` for {target}.")
    packed = PackedDataset(workspace.files(prepared) / SHARDS)
    indices = [*packed.subset("query"), *packed.subset("gallery")]
    store = ImageStore.open(packed, indices, size, workspace.cache, prepared["fingerprint"])
    records = [packed.records[index] for index in indices]
    return TargetPictures(records, store, prepared["protocol"], prepared["fingerprint"])


def _checked(
    model_file: Path, network: str | None, options: dict[str, Any], image_size: tuple[int, int] | None
) -> tuple[str, dict[str, Any], tuple[int, int] | None]:
    """Return network, options and picture size as the file says, or as given if the file does not say.

    Raises:
        ValueError: The file says something else than what was given.
    """
    from msinet.interop.card import SUPERNET, read_card

    asked = network or "msinet"
    card = read_card(model_file)
    options = _spelled_alike(options, as_space(card.options.get("space") if card else None))
    if card is None:
        print(f"{model_file} does not say which network it holds: what was given could not be checked.")
        return asked, options, image_size
    if card.network == SUPERNET:
        raise ValueError(f"{model_file} holds the weights of a search: give those of a retraining.")
    if network or options:
        card.require(asked, options or (dict(card.options) if asked == card.network else {}))
    if image_size not in (None, card.image_size):
        height, width = card.image_size
        raise ValueError(f"the weights were trained on pictures of {height}×{width} pixels, but got {image_size}.")
    return card.network, dict(card.options), card.image_size


def _spelled_alike(options: dict[str, Any], space: Space) -> dict[str, Any]:
    """Return the options of a network in the spelling that plans and files of weights use.

    Args:
        options: What the user gave.
        space: The space of a genotype that is given as twelve letters.
    """
    if "genotype" in options:
        return {**options, **Genotype.parse(options["genotype"], space).options}
    if "scales" in options:
        baseline = {"name": "osnet", "scales": options["scales"]}
        try:
            return Baseline.model_validate(baseline).options
        except ValidationError as error:
            raise ValueError(" ".join(describe_errors(error, baseline))) from None
    return options


def _prepare(target: str, workspace: Workspace) -> tuple[DiskData, dict[str, Any]]:
    kind, path = kind_and_path(target)
    location = {"path": str(path)}
    data = DiskData.model_validate({"kind": kind, **location})
    dataset = read_dataset(target, data)
    require_pictures(TARGET, target, dataset)
    fingerprint = checked_fingerprint(target, dataset, workspace, print, "--data", [TARGET])
    spec = {"dataset": {"kind": kind, "fingerprint": fingerprint}}
    ended = execute(
        workspace.address, Task("prepare", content_key("prepare", spec), spec, location=location), lambda report: None
    )
    if isinstance(ended, Failed):
        raise RequestError(ended.failure.message)
    if not isinstance(ended, Done):
        raise RequestError(f"another process is preparing {target}: try again when that process has ended.")
    return data, ended.result
