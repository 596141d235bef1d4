"""The card of a bench: what it holds, how it was made and what it can tell, as Markdown."""

from typing import Any

from msinet.bench import Bench, Group, genotype_share, warning
from msinet.bench.layout import SCHEMA
from msinet.bench.spread import share_text, spread
from msinet.files import json_text
from pipeline.reports.plain import markdown_rows

GROUP_HEADER = ["source", "target", "recipe", "space", "genotypes", "trainings", "mean mAP", "deviation", "genotype"]
DATASET_HEADER = ["name", "settings", "identities", "pictures", "fingerprint"]


def card(bench: Bench, name: str) -> str:
    """Return the card of a bench.

    Args:
        bench: The bench.
        name: Name of its file.
    """
    facts, counts = bench.facts, bench.facts["counts"]
    told = list(dict.fromkeys(filter(None, (_warning(group) for group in bench.groups))))
    return "\n".join(
        [
            f"# {name}: a bench of retrieval",
            "",
            f"{counts['evaluations']} evaluations of {counts['trainings']} trainings of {counts['genotypes']} "
            f"genotypes, which took {counts['training_hours']:.1f} hours of one device. The table was made by "
            f"`msinet bench build` (msinet {facts['code']}, layout {facts['version']}, stages "
            f"{_listed(facts['stages'])}) from results of {facts['results']['oldest']} to "
            f"{facts['results']['newest']}. "
            "`msinet.bench.load` reads it, `msinet bench replay` runs a search scheme against it.",
            "",
            f"Licence: {facts['licence']}",
            *(
                ["", f"Left out: {'; '.join(f'{n} evaluations {why}' for why, n in counts['left_out'].items())}."]
                if counts["left_out"]
                else []
            ),
            "",
            "## What the scores can tell",
            "",
            *markdown_rows([GROUP_HEADER, *map(_group_row, bench.groups)]),
            "",
            "Scores are in percent. Deviation: standard deviation of mAP over retraining seeds, in points. Genotype: "
            "share of the variance of a single training's mAP that is the genotype's, with its interval of 95 %; the "
            "rest is the retraining seed's.",
            *[f"\n{sentence}" for sentence in told],
            "",
            "## Datasets",
            "",
            *markdown_rows([DATASET_HEADER, *(_dataset_row(name, of) for name, of in facts["datasets"].items())]),
            "",
            "## Recipes",
            "",
            *[f"- `{recipe[:8]}`: `{json_text(settings)}`" for recipe, settings in facts["recipes"].items()],
            "",
            "## Searches",
            "",
            *(
                [
                    f"- `{key[:8]}` found {of['genotype']} on {of['source']}: `{json_text(_rest(of))}`"
                    for key, of in sorted(facts["searches"].items())
                ]
                or ["No search of the workspace found a genotype of the table."]
            ),
            "",
            "## Columns",
            "",
            f"{', '.join(f'`{column}`' for column in SCHEMA.names)}. `msinet/bench/layout.py` explains them. Lists are "
            "in the order of the queries. Their identities are in the schema's metadata, with all facts of this card.",
            "",
        ]
    )


def _warning(group: Group) -> str | None:
    sentence = warning(genotype_share(group))
    return sentence and f"Warning for {group.name}, recipe {group.recipe[:8]}: {sentence}"


def _group_row(group: Group) -> list[str]:
    scores = [score for by_seed in group.scores().values() for score in by_seed.values()]
    seed = spread(group)[-1].variance
    return [
        group.source,
        group.target,
        group.recipe[:8],
        group.space,
        str(len(group.genotypes)),
        str(len(scores)),
        f"{100 * sum(scores) / len(scores):.1f}",
        "unknown" if seed is None else f"{100 * seed.estimate**0.5:.2f}",
        share_text(genotype_share(group)),
    ]


def _dataset_row(name: str, of: dict[str, Any]) -> list[str]:
    counts = [_listed(of.get("identities", {})), _listed(of.get("images", {}))]
    return [name, _listed(of["settings"]), *counts, of["fingerprint"][:16]]


def _rest(search: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in search.items() if name not in ("genotype", "source")}


def _listed(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
