"""The model card as a page in Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from msinet.interop.card import described

LICENCE = (
    "The code of msinet has the licence Apache-2.0. Whether these weights may be used, and for what, also depends on "
    "the terms of the pictures that they were trained on: Market-1501, MSMT17, VeRi-776 and VehicleID are for research "
    "only."
)
USE = """The model turns a picture of one person or one vehicle, cut out by a detector, into numbers. Pictures of the
same one get similar numbers. It is meant for research on retrieval, and for tracking within recordings that may be
analysed.

- Scores hold for pictures like those of the target. On other cameras, countries, seasons or cuts they fall, often to
  a half.
- A near neighbour is a proposal, and no proof of an identity. The table of operating points says how often a threshold
  is wrong: with millions of comparisons, a small rate of errors means many errors.
- The model has not been tested for equal error rates among groups of people."""
PRIVACY = """To find a person again in other recordings is surveillance, and pictures and embeddings of people are
personal data. Many laws require a purpose, a legal basis and a time of deletion; the EU's Regulation 2024/1689 forbids
or restricts some uses of remote biometric identification. Embeddings can be compared and linked like pictures, so
protect them in the same way, and delete them with the pictures."""


def page(card: Mapping[str, Any]) -> str:
    """Return the card of an export as Markdown."""
    height, width = card["image_size"]
    parts = [
        f"# {card['name']}",
        f"{described(card['network'], card['options'])}, {card['parameters']:,} parameters without classifiers, for "
        f"pictures of {height}×{width} pixels (height × width). It returns {card['output']['shape'][1]} numbers of "
        f"length 1 ({card['output']['normalisation']}). Made with {_listed(card['made_with'])}.",
        "## Use",
        _use(card),
        _table(
            ["file", "MB", "SHA-256"],
            [[f"`{f['file']}`", f"{f['bytes'] / 1e6:.1f}", f"`{f['sha256'][:16]}…`"] for f in card["files"].values()],
        ),
        "## Training",
        _training(card["training"]),
        "## Scores",
        _scores(card["scores"]),
        "## The exported files against the network",
        _verified(card["verified"]),
        "## Operating points",
        _operating(card["operating_points"]),
        "## Intended use and limits",
        USE,
        "## Privacy",
        PRIVACY,
        "## Licence",
        card["licence"],
    ]
    return "\n\n".join(parts) + "\n"


def _use(card: Mapping[str, Any]) -> str:
    first = next(iter(card["files"].values()))["file"]
    steps = card["preprocessing"]
    return (
        f'```python\nimport msinet\n\nmodel = msinet.load("{first}")\n'
        'embedding_ND = model.embed(["a.jpg", "b.jpg"])  # paths, pictures of Pillow, or uint8 arrays H×W×3 (RGB)\n'
        "similarity = embedding_ND[0] @ embedding_ND[1]  # cosine similarity\n```\n\n"
        f"Other programs must prepare pictures in the same way: {steps['channels']}, resized with the filter "
        f"{steps['resize']} of Pillow, levels times {steps['scale']}, minus {_numbers(steps['mean'])}, divided by "
        f"{_numbers(steps['std'])} for each channel; input `{card['input']['name']}` of shape "
        f"{_shape(card['input']['shape'])}, output `{card['output']['name']}` of shape "
        f"{_shape(card['output']['shape'])}, both float32."
    )


def _training(training: Mapping[str, Any] | None) -> str:
    if not training:
        return "The file of weights does not say on which pictures and by which recipe it was trained."
    recipe = training["recipe"]
    short = {name: recipe[name] for name in ("epochs", "batch_size", "optimizer", "lr", "alignment") if name in recipe}
    return (
        f"Trained on {training['source']}, with the seed {training['seed']}: {_listed(short)}. All numbers are in "
        f"`training` of the JSON file; the results lie in `{training['place']}`."
    )


def _scores(scores: Sequence[Mapping[str, Any]]) -> str:
    if not scores:
        return "No evaluation of this training is known. `msinet verify` adds scores."
    rows = [[s["target"], *(_percent(s[metric]) for metric in ("mAP", "rank1")), str(s["queries"])] for s in scores]
    return _table(["target", "mAP %", "rank-1 %", "queries"], rows) + "\n\n" + INTERVALS


INTERVALS = "Intervals of 95 % are over the identities of the queries. They say nothing about another training."


def _verified(proofs: Sequence[Mapping[str, Any]]) -> str:
    if not proofs:
        return "Not verified yet: `msinet verify` compares a file with the network on a target's test pictures."
    rows = [
        [
            f"`{proof['file']}`",
            proof["target"],
            _percent(proof["mAP"]),
            _percent(proof["rank1"]),
            _percent(proof["mAP_difference"], 3),
            _percent(proof["rank1_difference"], 3),
            f"{100 * proof['top10_agreement']:.2f}",
            f"{proof['largest_difference']:.1e}",
        ]
        for proof in proofs
    ]
    header = ["file", "target", "mAP %", "rank-1 %", "Δ mAP", "Δ rank-1", "same top 10 %", "largest Δ of a number"]
    return _table(header, rows) + "\n\nΔ is the file's value minus the network's. " + INTERVALS


def _operating(targets: Sequence[Mapping[str, Any]]) -> str:
    if not targets:
        return "`msinet verify` adds thresholds for wanted rates of false positives."
    parts = []
    for target in targets:
        rows = [
            [
                f"{point['wanted']:g}",
                f"{point['threshold']:.4f}",
                f"{1 - point['threshold']:.4f}",
                _percent(point["true_positive_rate"]),
            ]
            for point in target["points"]
        ]
        header = ["false-positive rate", "largest cosine distance", "smallest cosine similarity", "true positives %"]
        parts += [
            f"On {target['target']} with `{target['file']}`, over {target['positive']:,} pairs of one identity and "
            f"{target['negative']:,} pairs of two identities (pairs of one identity and one camera do not count):",
            _table(header, rows) if rows else "There are too few pairs for any of the rates.",
            f"![True positives over false positives]({target['picture']})",
        ]
    return "\n\n".join(parts)


def _percent(interval: Mapping[str, float], digits: int = 1) -> str:
    value = f"{100 * interval['estimate']:.{digits}f}"
    if "low" not in interval:
        return value
    return f"{value} ({100 * interval['low']:.{digits}f} to {100 * interval['high']:.{digits}f})"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in [header, ["---"] * len(header), *rows])


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _numbers(values: Sequence[float]) -> str:
    return "(" + ", ".join(f"{value:g}" for value in values) + ")"


def _shape(shape: Sequence[Any]) -> str:
    return "×".join(map(str, shape))
