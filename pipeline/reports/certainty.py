"""How sure the searches of an experiment are of what they found, and how far their seeds agree."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from msinet.engine.certainty import Certainty, certainty_of, likely_genotypes, read_alphas
from msinet.genotype import Genotype
from msinet.spaces import Space
from msinet.statistics import fleiss_kappa
from pipeline.plan.kinds import HISTORY
from pipeline.plan.stage import Plan, Stage
from pipeline.reports.correlation import coefficient_text
from pipeline.reports.panels import Panel, Picture
from pipeline.results import Result
from pipeline.storage.workspace import Workspace

EXPLANATION = (
    "Probabilities are those of the final mixture, which draws the operation of each slot independently: how many"
    " times as probable as a random genotype the first one is, and what share of that the second one has. Entropy"
    " (2 bits for a slot that knows nothing) and margin p1 − p2 are means over the slots after the last epoch. A "
    "flip is the probability that the noise of the last quarter of the epochs changes a slot's operation, in "
    "percent from slot 1 to 12; 50 is a coin. Other initial weights are not part of it: other search seeds show "
    "what they do."
)
HEADER = ["search", "genotype", "× random", "2nd / 1st", "stands since", "entropy", "margin", "flips, % by slot"]


@dataclass(frozen=True)
class Searched:
    """A finished search and what its α says.

    Attributes:
        stage: The search.
        letters: The letters of the genotype that it derived.
        certainty: How sure it is.
        likely: The two most probable genotypes under the final mixture, with their probabilities.
        space: The search space.
    """

    stage: Stage
    letters: str
    certainty: Certainty
    likely: list[tuple[str, float]]
    space: Space

    @property
    def name(self) -> str:
        """Return the source, the split and the seed."""
        return self.stage.name.removeprefix("search ")

    @property
    def group(self) -> str:
        """Return the name without the seed: the searches of a group differ in nothing else."""
        return self.name.rpartition(" seed ")[0]


def searched(plan: Plan, workspace: Workspace) -> Iterator[Searched]:
    """Yield the finished searches whose histories hold α. Schemes without α have none."""
    for stage in plan.of_kind("search"):
        if stage.result is not None and (alphas := alphas_of(workspace, stage.result)):
            space = plan.experiment.space
            letters = Genotype.parse(stage.result["genotype"], space).letters
            likely = likely_genotypes(alphas[-1], 2, space.column_letters)
            yield Searched(stage, letters, certainty_of(alphas, space.columns), likely, space)


def alphas_of(workspace: Workspace, result: Result) -> list[list[list[float | None]]]:
    """Return α after each epoch of a finished search; empty if its scheme has none, or if the file is gone."""
    path = workspace.file(result, HISTORY)
    if path is None:
        return []
    return read_alphas(path.read_text(encoding="utf-8"))


def certainty_panels(found: Sequence[Searched]) -> list[Panel]:
    """Return how sure the finished searches are; nothing if there are none."""
    if not found:
        return []
    groups: dict[str, list[Searched]] = {}
    for search in found:
        groups.setdefault(search.group, []).append(search)
    notes = [note for group, searches in groups.items() for note in _agreement(group, searches)]
    notes += [note for search in found for note in _warning(search)]
    return [Panel("certainty", "How sure the searches are", [HEADER, *map(_row, found)], [*notes, EXPLANATION])]


def certainty_pictures(found: Sequence[Searched]) -> list[Picture]:
    """Return two drawings of each finished search: α over the epochs, and how sure it was."""
    from msinet.visual.alphas import draw_certainty, draw_mixtures
    from msinet.visual.figures import svg_of

    pictures = []
    for number, search in enumerate(found, start=1):
        columns = search.space.columns
        figures = {
            "mixture of each slot": draw_mixtures(search.certainty, columns, search.space.column_letters),
            "certainty over the epochs": draw_certainty(search.certainty, columns),
        }
        for told, figure in figures.items():
            caption = f"search {search.name}: {told}"
            pictures.append(Picture(caption, svg_of(figure, f"search{number}-{told.partition(' ')[0]}", caption)))
    return pictures


def _row(search: Searched) -> list[str]:
    certainty, ((_, first), (_, second)) = search.certainty, search.likely
    epochs = len(certainty.entropy_ES)
    flips = " ".join("-" if np.isnan(flip) else f"{100 * flip:.0f}" for flip in certainty.flip_S)
    return [
        search.name,
        str(Genotype(search.letters, search.space)),
        f"{first * search.space.size:.3g}",
        f"{second / first:.3f}",
        f"{certainty.stands_since + 1} of {epochs}",
        f"{certainty.entropy_ES[-1].mean():.3f}",
        f"{certainty.margin_ES[-1].mean():.4f}",
        flips,
    ]


def _agreement(group: str, searches: list[Searched]) -> list[str]:
    """Return a sentence on how far the seeds of a group agree, none for a single seed."""
    if len(searches) < 2:
        return []
    slots = list(zip(*(search.letters for search in searches), strict=True))
    kappa = fleiss_kappa(slots)
    alike = [str(slot) for slot, letters in enumerate(slots, start=1) if len(set(letters)) == 1]
    named = f"They all agree on slots {', '.join(alike)}." if alike else "They all agree on no slot."
    return [
        f"{group}: agreement of {len(searches)} search seeds over the slots, Fleiss' κ {coefficient_text(kappa)} (0 is "
        f"chance, 1 is full agreement; {100 * kappa.level:.0f} % interval). {named}"
    ]


def _warning(search: Searched) -> list[str]:
    collapse = search.certainty.collapse
    if collapse is None:
        return []
    return [
        f"Warning: in {search.name}, {collapse.operation} holds {collapse.slots} of {len(search.letters)} slots, and "
        f"at least three quarters since epoch {collapse.epoch + 1}. The search may have collapsed: compare its "
        "genotype with random ones before you use it."
    ]
