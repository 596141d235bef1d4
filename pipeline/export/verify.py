"""The verb `verify`: an exported file against its network, in terms of retrieval, written to the card."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msinet.data.galleries import sides
from msinet.data.packed import ImageStore
from msinet.engine.pairs import count_pairs
from msinet.export import Embedder, load
from msinet.export.embedder import BATCH, batched
from msinet.export.proof import Proof, prove
from msinet.statistics.operating import RATES, PairCounts, operating_points
from msinet.visual.figures import png_of
from msinet.visual.operating import draw_operating
from pipeline.by_hand import TargetPictures, target_pictures
from pipeline.errors import RequestError
from pipeline.export.document import Place, place_of
from pipeline.reports.console import aligned
from pipeline.storage.workspace import Workspace


def verify_export(
    file: Path, data: list[str], against: Path | None, workspace: Workspace, *, threads: int | None, trust: bool
) -> str:
    """Compare an exported file with its network on targets. Write the result to the card, and return it as text.

    Args:
        file: A file that `export_model` wrote, or the folder of OpenVINO.
        data: The targets, each `KIND=PATH`.
        against: The weights as they were trained; by default the safetensors file beside it.
        workspace: Where the prepared datasets are stored.
        threads: Threads of ONNX Runtime and OpenVINO; all cores by default.
        trust: Whether a `.pt2` file may be opened.

    Raises:
        RequestError: A file is missing or damaged, or the two files are of different weights.
    """
    workspace.make()
    place = place_of(file)
    document = place.read()
    try:
        network = load(against or place.weights)
        export = load(file, threads=threads, trust=trust)
    except ValueError as error:
        raise RequestError(f"{error} (EXPORT, --against, --trust)") from error
    if network.card.weights != export.card.weights:
        raise RequestError(
            f"{file} must be an export of {against or place.weights}, but it was made of other weights (--against)."
        )
    told = file.relative_to(place.folder).as_posix()
    lines = [["target", "mAP", "Δ mAP", "rank1", "Δ rank1", "same top 10", "largest Δ", "queries"]]
    text = []
    for target in data:
        pictures = target_pictures(target, export.image_size, workspace)
        try:
            network_ND, export_ND = (_embedded(model, pictures.store) for model in (network, export))
            proof = prove(pictures.records, pictures.protocol, network_ND, export_ND)
            counts = _counted(pictures, export_ND)
        except ValueError as error:
            raise RequestError(f"{target}: {error} (--data)") from error
        name = f"{target.partition('=')[0]} (fingerprint {pictures.fingerprint[:12]})"
        entry = {"file": told, "target": name}
        _replace(document["verified"], entry, proof.document())
        _replace(document["operating_points"], entry, _operating(counts, place, told, pictures.fingerprint))
        lines.append([target.partition("=")[0], *_row(proof)])
        text.append(_points(target.partition("=")[0], document["operating_points"][-1]))
    place.write(document)
    return "\n\n".join([aligned(lines), *text, f"written to {place.document} and {place.name}.md"])


def _embedded(model: Embedder, store: ImageStore) -> NDArray[np.float32]:
    blocks = batched(range(len(store)), BATCH)
    return np.concatenate([model.embed_pixels(store.gather(block).numpy()) for block in blocks])


def _counted(pictures: TargetPictures, embedding_ND: NDArray[np.float32]) -> PairCounts:
    both = sides(pictures.records, pictures.protocol)[0]
    query, gallery = (([pictures.records[i] for i in side], embedding_ND[side]) for side in both)
    return count_pairs(*query, *gallery)


def _operating(counts: PairCounts, place: Place, file: str, fingerprint: str) -> dict[str, Any]:
    picture = f"{file.replace('/', '_').replace('.', '_')}_{fingerprint[:8]}.png"
    points = operating_points(counts, RATES)
    (place.folder / picture).write_bytes(png_of(draw_operating(counts, points)))
    return {
        "positive": int(counts.positive.sum()),
        "negative": int(counts.negative.sum()),
        "picture": picture,
        "points": [asdict(point) for point in points],
    }


def _replace(entries: list[dict[str, Any]], entry: dict[str, Any], values: dict[str, Any]) -> None:
    """Add an entry, instead of an older one of the same file on the same target."""
    entries[:] = [old for old in entries if any(old[name] != value for name, value in entry.items())]
    entries.append({**entry, **values})


def _row(proof: Proof) -> list[str]:
    scores = [
        f"{100 * value.estimate:{form}} ± {100 * value.half_width:.{digits}f}"
        for value, form, digits in (
            (proof.mAP, ".1f", 1),
            (proof.mAP_difference, "+.3f", 3),
            (proof.rank1, ".1f", 1),
            (proof.rank1_difference, "+.3f", 3),
        )
    ]
    return [*scores, f"{100 * proof.top10_agreement:.2f} %", f"{proof.largest_difference:.1e}", str(proof.queries)]


def _points(target: str, operating: dict[str, Any]) -> str:
    rows = [["false positives", "largest cosine distance", "true positives %"]]
    for point in operating["points"]:
        rate = point["true_positive_rate"]
        shown = f"{100 * rate['estimate']:.1f} ({100 * rate['low']:.1f} to {100 * rate['high']:.1f})"
        rows.append([f"{point['wanted']:g}", f"{point['threshold']:.4f}", shown])
    missing = "" if len(operating["points"]) == len(RATES) else "\nSmaller rates need more pairs of two identities."
    return f"{target}: {operating['negative']:,} pairs of two identities\n{aligned(rows)}{missing}"
