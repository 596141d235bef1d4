"""The paper's tables: which cell holds what, by hand."""

from collections import Counter
from collections.abc import Iterator
from math import hypot, sqrt
from typing import Any

import pytest
from support.filled import answer_all, filled, scores

from msinet.genotype import PUBLISHED
from pipeline.plan.stage import Plan, Stage
from pipeline.reports.cells import Cell, Letters, Table
from pipeline.reports.published import published
from pipeline.reports.tables import build_tables
from pipeline.results import Result

COMMAND = "msinet run grid.yaml"
ALL = {
    "M": {"kind": "market1501", "path": "/M"},
    "MS": {"kind": "msmt17", "path": "/MS"},
    "VR": {"kind": "veri", "path": "/VR"},
    "VID": {"kind": "vehicleid", "path": "/VID"},
}
MINE = {name: {"kind": "synthetic", "domain": name} for name in ("street", "campus")}
IN_DOMAIN = {name: [name] for name in ALL}


def document(datasets: dict[str, Any], **settings: Any) -> dict[str, Any]:
    names = list(datasets)
    return {"name": "grid", "datasets": datasets, "sources": names, "targets": names, **settings}


def table(planned: Plan, number: int) -> Table:
    return next(table for table in build_tables(planned, COMMAND) if table.number == number)


def cell(found: Table, row: str, column: str, metric: str = "rank1") -> Cell:
    place = next(i for i, c in enumerate(found.columns) if (c.name, c.metric) == (column, metric))
    cells = [r.cells[place] for r in found.rows if row == (f"{r.group}: {r.name}" if r.group else r.name)]
    assert len(cells) == 1, f"one row {row} in {[(r.group, r.name) for r in found.rows]}"
    assert isinstance(cells[0], Cell)
    return cells[0]


def letters(found: Table, name: str) -> Letters:
    first = next(row.cells[0] for row in found.rows if row.name == name)
    assert isinstance(first, Letters)
    return first


def numbers(value: Any) -> Iterator[float]:
    """Every number of a document, but for what names a row."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key not in ("train", "valid", "params", "inference_time"):
                yield from numbers(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from numbers(inner)
    elif not isinstance(value, str):
        yield float(value)


@pytest.mark.parametrize(
    ("number", "key"),
    [(8, "table8_supervised"), (9, "table9_splits_on_MS"), (10, "table10_cross_domain"), (11, "table11_sam")],
)
def test_every_published_score_has_its_cell(number: int, key: str) -> None:
    planned = filled(document(ALL, targets=[], genotypes=["MSINet"], tables=[number]), answer_all)
    found = build_tables(planned, COMMAND)
    assert [table.number for table in found] == [number]
    columns = found[0].columns
    shown = [
        cell.paper
        for row in found[0].rows
        for cell, column in zip(row.cells, columns, strict=True)
        if isinstance(cell, Cell) and cell.paper is not None and column.code
    ]
    assert Counter(shown) == Counter(numbers(published()[key]))
    assert {cell.status for row in found[0].rows for cell in row.cells} == {"not planned"}


def test_published_figures_stand_where_the_paper_has_them() -> None:
    settings = {"networks": ["resnet50", "osnet"], "genotypes": ["MSINet", "MSINet-VR"]}
    both = {"starts": ["scratch", "pretrained"], "splits": ["60-80", "67-33", "100-100 softmax"]}
    planned = filled(document(ALL, **settings, **both), answer_all)
    supervised, splits, cross = (table(planned, number) for number in (8, 9, 10))
    assert cell(supervised, "from scratch: ResNet-50", "VR", "mAP").paper == 69.9
    assert cell(supervised, "from scratch: MSINet", "MS").paper == 76.0
    assert cell(supervised, "pre-trained: MSINet-VR", "VID", "rank5").paper == 91.3
    assert cell(supervised, "pre-trained: MSINet", "MS → M", "mAP").paper == 46.2
    assert cell(supervised, "from scratch: MSINet", "MS → M", "mAP").paper is None
    assert cell(supervised, "from scratch: OSNet", "M").paper is None
    assert cell(splits, "with overlap: 60-80", "MS", "mAP").paper == 52.5
    assert cell(splits, "without overlap: 67-33", "MS").paper == 75.5
    assert cell(splits, "without overlap: 67-33", "M").paper is None
    assert cell(splits, "with overlap: 100-100", "MS").paper == 74.4
    assert cell(splits, "softmax: 100-100", "MS").paper == 74.0
    assert cell(cross, "from scratch: OSNet", "VID → VR", "mAP").paper == 32.0
    assert "M → MS" not in {column.name for column in supervised.columns}, "a pair stands in one table"


def test_a_cell_is_the_mean_over_seeds_in_percent() -> None:
    planned = filled(
        document({"MS": ALL["MS"]}, genotypes=["MSINet"], retrain_seeds=[0, 1, 2]),
        lambda stage: scores(0.75 + 0.01 * stage.labels.get("seed", 0), 0.5),  # type: ignore[operator]
    )
    found = cell(table(planned, 8), "from scratch: MSINet", "MS")
    assert found.measured == pytest.approx([75, 76, 77])
    assert (found.mean, found.deviation, found.difference) == pytest.approx((76, 1, 0))
    assert (found.planned, found.status, found.note) == (3, "done", "")
    assert cell(table(planned, 8), "from scratch: MSINet", "MS", "mAP").difference == pytest.approx(50 - 52.5)


def test_search_seeds_are_seeds_of_a_split() -> None:
    planned = filled(
        document({"MS": ALL["MS"]}, splits=["60-80", "50-50"], search_seeds=[0, 1]),
        lambda stage: (
            {"genotype": "GGEGAGGNGAEA"}
            if stage.kind == "search"
            else scores(0.7 + 0.1 * (stage.labels.get("search_seed") == 1), 0.5)
        ),
    )
    found = cell(table(planned, 9), "with overlap: 60-80", "MS")
    assert found.measured == pytest.approx([70, 80])
    assert found.deviation == pytest.approx(10 / sqrt(2))
    assert cell(table(planned, 9), "without overlap: 50-50", "MS").planned == 2


def test_a_name_and_its_letters_are_one_row() -> None:
    named = document({"MS": ALL["MS"]}, genotypes=["MSINet", PUBLISHED["MSINet"].letters, "N" * 12])
    found = table(filled(named, answer_all), 8)
    assert cell(found, "from scratch: MSINet", "MS").measured == [75]
    assert cell(found, f"from scratch: {'N' * 12}", "MS").paper is None
    assert len([row for row in found.rows if row.name == "MSINet" and row.group == "from scratch"]) == 1


def test_vehicleid_has_rank5_and_its_draws() -> None:
    found = table(
        filled(
            document({"VID": ALL["VID"]}, genotypes=["MSINet"]),
            lambda stage: scores(0.76, 0.8, rank5=0.9, rank1_std=0.004, rank5_std=0.002),
        ),
        8,
    )
    assert [column.metric for column in found.columns if column.name == "VID"] == ["rank1", "rank5"]
    one = cell(found, "from scratch: MSINet", "VID", "rank5")
    assert (one.deviation, one.spread_of) == (pytest.approx(0.2), "draws")


def test_smaller_vehicleid_lists_are_not_the_papers_column() -> None:
    small = {"VID": {"kind": "vehicleid800", "path": "/VID"}}
    found = table(filled(document(small, genotypes=["MSINet"]), answer_all), 8)
    assert [column.code for column in found.columns] == [None, None]
    assert [column.metric for column in found.columns] == ["rank1", "rank5"]


def test_datasets_of_ones_own_have_the_form_alone() -> None:
    planned = filled(document(MINE, genotypes=["MSINet"], networks=["osnet"], splits=["60-80"]), answer_all)
    for found in build_tables(planned, COMMAND)[1:]:
        cells = [cell for row in found.rows for cell in row.cells]
        assert all(cell.paper is None for cell in cells)
        assert all(cell.status == "done" for cell in cells), "rows that only the paper has are left out"
    pairs = [column.name for column in table(planned, 9).columns][::2]
    assert pairs == ["street", "campus", "street → campus", "campus → street"]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"genotypes": ["MSINet"]}, [7, 8]),
        ({"splits": ["60-80"]}, [7, 9]),
        ({"networks": ["resnet50"]}, [8]),
        ({"networks": ["osnet"]}, [8, 10]),
        ({"genotypes": ["MSINet"], "alignments": ["pos_neg"]}, [7, 11]),
        ({"genotypes": ["MSINet"], "alignments": ["none", "pos_neg"], "splits": ["60-80"]}, [7, 8, 9, 11]),
        ({"genotypes": ["MSINet"], "tables": [9, 8]}, [8, 9]),
    ],
)
def test_which_tables_are_drawn(settings: dict[str, Any], expected: list[int]) -> None:
    found = build_tables(filled(document(MINE, **settings), answer_all), COMMAND)
    assert [table.number for table in found] == expected


def test_no_evaluation_is_left_out() -> None:
    settings = {"genotypes": ["MSINet", "N" * 12], "networks": ["resnet50", "osnet"], "splits": ["60-80"]}
    axes = {"starts": ["scratch", "pretrained"], "alignments": ["none", "pos", "sam_softmax"], "retrain_seeds": [0, 1]}
    planned = filled(document({**ALL, **MINE}, **settings, **axes), answer_all)
    tables = build_tables(planned, COMMAND)
    planned_cells = Counter(
        found.number
        for found in tables
        for row in found.rows
        for cell, column in zip(row.cells, found.columns, strict=True)
        if isinstance(cell, Cell)
        for _ in range(cell.planned if column.metric == "rank1" else 0)
    )
    stages = list(planned.of_kind("evaluate"))
    unaligned = [stage for stage in stages if stage.labels["alignment"] == "none"]
    assert planned_cells[8] + planned_cells[9] + planned_cells[10] == len(unaligned)
    genotypes = [stage for stage in stages if stage.labels["network"] == "msinet"]
    assert planned_cells[11] == len(genotypes), "beside each alignment stands the row without"


def test_alignments_stand_beside_the_row_without() -> None:
    settings = {"genotypes": ["MSINet", "MSINet-VR"], "alignments": ["pos_neg", "none", "consistent_attention"]}
    found = table(filled(document({"M": ALL["M"]}, **settings), answer_all), 11)
    names = [(row.group, row.name) for row in found.rows]
    assert names[:4] == [("MSINet, from scratch", n) for n in ("none", "SAM", "SAM-softmax", "consistent attention")]
    assert names[4:] == [("MSINet-VR, from scratch", name) for name in ("none", "SAM", "consistent attention")]
    assert cell(found, "MSINet, from scratch: SAM", "M", "mAP").paper == 89.9
    assert cell(found, "MSINet, from scratch: SAM-softmax", "M").status == "not planned"
    assert cell(found, "MSINet-VR, from scratch: SAM", "M").paper is None


def test_what_is_not_there_is_told() -> None:
    def some(stage: Stage) -> Result | None:
        if stage.kind == "evaluate":
            return scores(0.7, 0.5) if stage.labels["seed"] == 0 else None
        return None if stage.kind == "search" and stage.labels["split"] == "50-50" else answer_all(stage)

    datasets = {"M": ALL["M"], "MS": {"kind": "msmt17"}}
    planned = filled(document(datasets, splits=["60-80", "50-50"], retrain_seeds=[0, 1]), some)
    found = table(planned, 9)
    partly = cell(found, "with overlap: 60-80", "M")
    assert (partly.measured, partly.planned, partly.status) == ([70], 2, "to run")
    assert partly.note == COMMAND
    assert cell(found, "without overlap: 50-50", "M").status == "pending"
    for column in ("MS", "M → MS", "MS → M"):
        lacking = cell(found, "with overlap: 60-80", column)
        assert lacking.status == "lacks"
        assert "--data MS=PATH" in lacking.note
        assert len(lacking.note.splitlines()) == 1, "told once, though several stages lack it"
    assert cell(found, "with overlap: 60-80", "MS").paper == 76.0
    assert cell(found, "without overlap: 90-10", "MS").status == "not planned"


def test_several_lacks_are_several_lines() -> None:
    datasets = {"M": {"kind": "market1501"}, "MS": {"kind": "msmt17"}}
    planned = filled(document(datasets, genotypes=["MSINet"], starts=["pretrained"], targets=["M"]), answer_all)
    note = cell(table(planned, 8), "pre-trained: MSINet", "MS → M").note
    assert sorted(line.partition("=")[0].rpartition(" ")[2] for line in note.splitlines()) == ["M", "MS", "MSINet"]


def test_genotypes_beside_the_published_ones() -> None:
    def found_by(stage: Stage) -> Result | None:
        if stage.kind != "search":
            return {}
        return {"genotype": "GGEGAGGNGANN"} if stage.labels["seed"] == 0 else None

    planned = filled(
        document(
            {"MS": ALL["MS"], "street": MINE["street"]},
            targets=[],
            splits=["60-80", "100-100 softmax"],
            genotypes=["MSINet-VR", "N" * 12],
            search_seeds=[0, 1],
        ),
        found_by,
    )
    found = table(planned, 7)
    ours = letters(found, "MS 60-80 seed 0")
    assert (ours.paper_name, ours.paper, ours.measured) == ("MSINet", "GGEGAGGNGAEA", "GGEGAGGNGANN")
    assert ours.difference == 2
    assert letters(found, "MS 60-80 seed 1").status == "to run"
    assert letters(found, "MS 100-100 seed 0").paper_name == "MSINet-S"
    assert letters(found, "street 60-80 seed 0").paper is None
    assert letters(found, "N" * 12).measured == "N" * 12
    assert {row.name: row.cells[0].paper for row in found.rows if row.group == "published"} == {  # type: ignore[union-attr]
        name: genotype.letters for name, genotype in PUBLISHED.items()
    }
    groups = [row.group for row in found.rows]
    assert groups == sorted(groups, key=["published", "named", "searched, TCM", "searched, softmax"].index)


def test_the_published_genotypes_are_those_of_the_package() -> None:
    assert published()["table7_genotypes"] == {name: genotype.letters for name, genotype in PUBLISHED.items()}


def test_time_is_relative_to_resnet50_in_one_setup() -> None:
    def measured(stage: Stage) -> Result:
        if stage.kind != "measure":
            return answer_all(stage)
        stage.settings["device"] = "H100"
        baseline = stage.labels["network"] == "resnet50"
        person = stage.settings["image_size"] == [256, 128]
        figures = {"parameters": 23_512_128 if baseline else 2_328_035, "latency_ms_iqr": 0.2 if baseline else 0.1}
        return {"metrics": {**figures, "latency_ms": 10.0 if baseline else 7.0 if person else 8.0}}

    datasets = {"M": ALL["M"], "VR": ALL["VR"]}
    targets = {name: [name] for name in datasets}
    planned = filled(
        document(datasets, targets=targets, genotypes=["MSINet"], splits=["60-80"], measure=True), measured
    )
    found = table(planned, 8)
    names = ["inference time, 256×128, H100", "inference time, 256×256, H100"]
    assert [column.name for column in found.columns[:3]] == ["parameters", *names]
    person, vehicle = (cell(found, "from scratch: MSINet", name, "× ResNet-50") for name in names)
    assert person.measured == pytest.approx([0.7])
    assert person.spread == pytest.approx(0.7 * hypot(0.1 / 7, 0.2 / 10))
    assert person.difference == pytest.approx(0.7 - 0.71)
    assert vehicle.measured == pytest.approx([0.8])
    size = cell(found, "from scratch: MSINet", "parameters", "million")
    assert (size.paper, size.measured) == (2.3, pytest.approx([2.328035]))
    # ResNet-50 is measured though it is not trained here.
    assert cell(found, "from scratch: ResNet-50", "parameters", "million").measured == pytest.approx([23.512128])
    genotypes = table(planned, 7)
    by_name = {row.name: row.cells[1] for row in genotypes.rows}
    for name in ("MSINet", "M 60-80 seed 0"):
        figure = by_name[name]
        assert isinstance(figure, Cell)
        assert figure.measured == pytest.approx([2.328035])
