"""The verb `export`: a model as files for other runtimes, with a card."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.by_hand import load_network
from pipeline.errors import RequestError
from pipeline.export.document import INT8, Place, facts_of
from pipeline.export.page import LICENCE
from pipeline.plan.kinds import WEIGHTS
from pipeline.results import Result
from pipeline.storage.workspace import Workspace

KEY = re.compile("[0-9a-f]{6,64}")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def export_model(
    model: str,
    out: Path,
    name: str | None,
    formats: Sequence[str],
    network: str | None,
    options: dict[str, Any],
    image_size: tuple[int, int] | None,
    calibration: str | None,
    workspace: Workspace,
    *,
    after_neck: bool,
) -> Place:
    """Write a model in some formats, with its card.

    Args:
        model: A file of weights, or the key of a retraining in the workspace (its first six characters are enough).
        out: Folder of the files, created if it is missing.
        name: First part of the files' names; by default the file's, or the network's with the key.
        formats: Some of `msinet.export.FORMATS`.
        network, options, image_size: See `pipeline.by_hand.evaluate_by_hand`.
        calibration: The dataset `KIND=PATH` whose training pictures calibrate an INT8 file; None for no such file.
        workspace: Where the retraining is.
        after_neck: Whether embeddings are taken after the necks.

    Raises:
        RequestError: The model does not exist or is damaged, or the name is no name of a file.
    """
    from msinet.export import write

    file, training = _found(model, workspace)
    name = name or _default_name(file, training)
    if not NAME.fullmatch(name):
        raise RequestError(f"`--name` must consist of letters, digits, `.`, `_` and `-`, but got {name!r}.")
    trained, card = load_network(file, network, options, image_size, after_neck=after_neck)
    if card is None:
        raise RequestError(f"{file} does not say the size of its pictures: give it (--image-size H W).")
    place = Place(out, name)
    try:
        export, paths = write(trained, card, out, name, formats, after_neck=after_neck)
        if calibration:
            from pipeline.export.calibrate import quantised

            paths["int8"] = quantised(trained, export, paths.get("onnx"), out / f"{name}{INT8}.onnx", calibration)
    except ValueError as error:
        raise RequestError(f"{error} (--format, --int8)") from error
    place.write(
        {
            "name": name,
            **export.document(),
            "parameters": _parameters(trained),
            "made_with": _versions(),
            "licence": LICENCE,
            "files": {format_: facts_of(path, out) for format_, path in paths.items()},
            "training": training and _told(training, workspace),
            "scores": _scores(training, workspace) if training else [],
            "verified": [],
            "operating_points": [],
        }
    )
    return place


def _found(model: str, workspace: Workspace) -> tuple[Path, Result | None]:
    """Return the file of weights, and the retraining that it belongs to if a key was given."""
    if Path(model).exists() or not KEY.fullmatch(model):
        return Path(model), None
    results = [result for result in workspace.all_results("retrain") if result["key"].startswith(model)]
    if len(results) != 1:
        count = f"{len(results)} retrainings have" if results else "no retraining has"
        raise RequestError(
            f"MODEL must be a file, or the key of one retraining in {workspace.address}, but {count} a key that begins "
            f"with {model} (--workspace)."
        )
    path = workspace.file(results[0], WEIGHTS)
    if path is None:
        raise RequestError(f"the retraining {results[0]['key']} must have its weights, but {WEIGHTS} is missing.")
    return path, results[0]


def _default_name(file: Path, training: Result | None) -> str:
    if training:
        return f"{training['network']}_{training['key'][:8]}"
    return file.stem if NAME.fullmatch(file.stem) and file.stem != Path(WEIGHTS).stem else "msinet_model"


def _parameters(model: Any) -> int:
    from msinet.models import count_parameters

    return count_parameters(model)


def _versions() -> dict[str, Any]:
    import torch

    import msinet
    from msinet.export.files import OPSET

    return {"msinet": msinet.__version__, "torch": torch.__version__, "opset": OPSET}


def _told(training: Result, workspace: Workspace) -> dict[str, Any]:
    """Return what a retraining's specification says, for the card."""
    spec = training["spec"]
    known = ("seed", "recipe", "hold_out", "start")
    return {
        "key": training["key"],
        "place": workspace.location(training),
        "source": _dataset(spec.get("source_data"), "train_fingerprint", workspace),
        **{name: spec[name] for name in known if name in spec},
    }


def _scores(training: Result, workspace: Workspace) -> list[dict[str, Any]]:
    """Return the scores of all evaluations of a retraining, with intervals over identities."""
    import pyarrow.parquet as pq

    from msinet.statistics import QueryScores, score_interval
    from pipeline.plan.kinds import PER_QUERY

    found = []
    for result in workspace.all_results("evaluate"):
        if result["spec"].get("model") != training["key"]:
            continue
        table = workspace.file(result, PER_QUERY)
        runs = [QueryScores.from_columns(pq.read_table(table).to_pydict())] if table else []
        target = result["spec"].get("target_data")
        scores = {
            metric: vars(replace(score_interval(runs, metric), estimate=result["metrics"][metric]))
            if runs and len(runs[0].names) > 1
            else {"estimate": result["metrics"][metric]}
            for metric in ("mAP", "rank1")
        }
        where = _dataset(target["fingerprint"], "fingerprint", workspace) if target else "held-out training pictures"
        found.append({"target": where, "queries": result["metrics"]["num_valid_queries"], **scores})
    return found


def _dataset(fingerprint: Any, field: str, workspace: Workspace) -> str:
    """Return what a dataset is, by the fingerprint of all its pictures or of its training pictures."""
    for result in workspace.all_results("prepare"):
        if result[field] == fingerprint:
            dataset = result["spec"]["dataset"]
            more = f" {dataset['domain']}" if "domain" in dataset else ""
            return f"{dataset['kind']}{more} (fingerprint {str(fingerprint)[:12]})"
    return f"fingerprint {str(fingerprint)[:12]}"
