"""The verb `evaluate`: it evaluates one model on any datasets, without an experiment and without Ray."""

from pathlib import Path
from typing import Any

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

    from msinet.data.packed import ImageStore, PackedDataset
    from msinet.engine.evaluate import embed, rank_records
    from msinet.interop import load_start, read_state_dict
    from msinet.models import build_model

    require_conditions(workspace.store)
    workspace.make()
    try:
        weights = read_state_dict(model_file)
        network, options, image_size = _checked(model_file, network, options, image_size)
        if image_size and not all(MIN_SIDE <= side <= MAX_SIDE for side in image_size):
            raise ValueError(f"each side of a picture must have {MIN_SIDE} to {MAX_SIDE} pixels, but got {image_size}.")
        model = build_model(network, num_classes=0, **options)
        report = load_start(model, weights)
    except (ValueError, OSError) as error:
        raise RequestError(f"{error} (MODEL, --network, --genotype, --scales, --image-size)") from error
    missing = [name for name in report.left if _is_embedded(name, after_neck)]
    if missing:
        raise RequestError(
            f"MODEL must hold all weights that an embedding needs, but {model_file} lacks {', '.join(missing[:5])}."
        )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows = [["target", *COLUMNS, "queries"]]
    for target in targets:
        data, prepared = _prepare(target, workspace)
        size = image_size or data.training_size
        if size is None:
            raise RequestError(f"a manifest states no picture size: give `--image-size H W` for {target}.")
        packed = PackedDataset(workspace.files(prepared) / SHARDS)
        indices = [*packed.subset("query"), *packed.subset("gallery")]
        store = ImageStore.open(packed, indices, size, workspace.cache, prepared["fingerprint"])
        try:
            embedding_ND = embed(model, store, device, after_neck=after_neck)
        except ValueError as error:
            raise RequestError(f"{error} (MODEL)") from error
        records = [packed.records[index] for index in indices]
        for reranked in [False, True] if rerank else [False]:
            scores, _ = rank_records(records, embedding_ND, prepared["protocol"], rerank=reranked)
            label = f"{target}{' re-ranked' if reranked else ''}"
            queries = scored_queries(scores).removesuffix(" queries") or "all"
            rows.append([label, *(f"{100 * scores[name]:.1f}" for name in COLUMNS), queries])
    return aligned(rows)


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


def _is_embedded(name: str, after_neck: bool) -> bool:
    """Return whether the embedding depends on the weight of this name. The necks matter only with `after_neck`."""
    parts = name.split(".")
    if "classifier" in parts or name.endswith("num_batches_tracked"):
        return False
    return after_neck or not {"neck", "linear"} & set(parts)


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
