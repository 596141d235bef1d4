"""The paper's Table 7: genotypes that are published, named by the experiment, or found by its searches."""

from msinet.genotype import PUBLISHED, Genotype
from msinet.spaces import PAPER_SPACE
from msinet.spaces.operations import LETTER_OF
from pipeline.plan.stage import Plan, Stage
from pipeline.reports.cells import Column, Letters, Row, Table
from pipeline.reports.labels import (
    SEARCHED,
    label_of,
    network_name,
    paper_codes,
    published_name,
    search_suffix,
    supervision_name,
)
from pipeline.reports.published import TITLES, published
from pipeline.reports.sizes import Sizes
from pipeline.reports.states import States


def genotype_table(plan: Plan, state: States, sizes: Sizes) -> Table:
    """Return the table of genotypes, with their parameters if the experiment measures them.

    Args:
        plan: A plan that was resolved against a workspace.
        state: Function that returns the state of a cell.
        sizes: The measurements of the plan.
    """
    space = plan.experiment.space

    def row(group: str, name: str, letters: Letters, search: str | None = None) -> Row:
        measures = [
            stage
            for stage in sizes.measures
            if (search in stage.needs.values() and stage.candidate == 1 if search else network_name(stage) == name)
        ]
        paper = published()["table8_supervised"]["scratch"].get(name, {}).get("params")
        return Row(group, name, [letters, sizes.parameters(measures, paper)] if sizes.measures else [letters])

    found = [
        row("published", name, Letters(paper=genotype.letters, paper_name=name)) for name, genotype in PUBLISHED.items()
    ]
    for name in dict.fromkeys(map(published_name, plan.experiment.genotypes)):
        if name not in PUBLISHED:
            genotype = Genotype.parse(name, space)
            found.append(row("named", name, Letters(measured=genotype.letters, space=genotype.space, status="done")))
    for stage in plan.of_kind("search"):
        group = f"searched, {supervision_name(label_of(stage, 'supervision'))}"
        source, split, seed = (str(stage.labels[label]) for label in ("source", "split", "seed"))
        name = f"{source} {split}{search_suffix(stage)} seed {seed}"
        found.append(row(group, name, _letters(plan, stage, state), stage.name))
    order = list(dict.fromkeys(row.group for row in found))
    used = {operation for row in found for operation in _operations(row)}
    operations = ", ".join(f"{LETTER_OF[name]} {name.replace('_', ' ')}" for name in LETTER_OF if name in used)
    columns = [Column("genotype", "letters", better=0), Column("parameters", "million", digits=3, better=0)]
    return Table(
        7,
        TITLES[7],
        f"The letters are the operations of the twelve interactions, two in each of six cells: {operations}. Below the "
        "letters of a search are those of the published genotype of the same source, split and supervision.",
        columns if sizes.measures else columns[:1],
        sorted(found, key=lambda row: order.index(row.group)),
    )


def _letters(plan: Plan, search: Stage, state: States) -> Letters:
    """Return what a search found, with the published genotype of the same source, split and supervision."""
    space, source = plan.experiment.space, str(search.labels["source"])
    key = (paper_codes(plan.experiment)[source] or "", str(search.labels["split"]), label_of(search, "supervision"))
    # The paper has no searches of other schemes or in other spaces.
    name = "" if search_suffix(search) or space != PAPER_SPACE else SEARCHED.get(key, "")
    return Letters(
        paper=PUBLISHED[name].letters if name else None,
        measured=Genotype.parse(search.result["genotype"], space).letters if search.result else None,
        paper_name=name,
        space=space,
        **state([search]),
    )


def _operations(row: Row) -> tuple[str, ...]:
    """Return the operations of the space of a row's genotype."""
    cell = row.cells[0]
    return cell.space.columns if isinstance(cell, Letters) else ()
