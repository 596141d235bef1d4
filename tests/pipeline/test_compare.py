"""The verb `compare`, the sentence on what can be told apart, and the sign ± in every table."""

import csv
import io
from typing import Any

import numpy as np
import pytest
from support.filled import filled, scores
from support.grids import tiny_document

from msinet.statistics import QueryScores
from pipeline.cli import main
from pipeline.errors import RequestError
from pipeline.plan.stage import Plan, Stage
from pipeline.reports.compare import compare_panels
from pipeline.reports.console import comparison
from pipeline.reports.differences import apart_panels, compared_fields
from pipeline.reports.intervals import intervals_of
from pipeline.reports.page import Content, to_html
from pipeline.reports.panels import panel_text
from pipeline.reports.plain import to_csv, to_markdown
from pipeline.reports.queries import queries_of
from pipeline.reports.tables import build_tables
from pipeline.results import Result, read_query_scores
from pipeline.storage.workspace import Workspace

LETTERS = {"MSINet": "GGEGAGGNGAEA"}
SCORES = {"MSINet": 0.6, "NNNNNNNNNNNN": 0.4, "EEEEEEEEEEEE": 0.41}
FOUND = {"60-80": "GGGGGGGGGGGG", "50-50": "AAAAAAAAAAAA"}


def answer(stage: Stage) -> Result | None:
    if stage.kind == "search":
        return {"genotype": FOUND[str(stage.labels["split"])]}
    if stage.kind != "evaluate":
        return {}
    origin = str(stage.labels["origin"])
    genotype = FOUND.get(str(stage.labels.get("split")), LETTERS.get(origin, origin))
    noise = 0.002 * np.sin(10 * float(stage.labels["seed"]) + len(genotype.strip("E")))  # of a seed
    return {**scores(0.5, SCORES.get(origin, 0.5) + noise), "key": stage.name, "genotype": genotype}


def planned(answer: Any = answer, **changes: Any) -> Plan:
    more = {"splits": [], "genotypes": list(SCORES), "retrain_seeds": [0, 1, 2]}
    return filled({**tiny_document(), **more, **changes}, answer)


def queries(stage: Stage) -> QueryScores:
    """Return made-up queries of 40 identities, whose mean is the stage's score."""
    assert stage.result is not None
    noise = np.random.default_rng(0).normal(0, 0.05, 80)
    precision = stage.result["metrics"]["mAP"] + noise - noise.mean()
    return QueryScores(np.arange(80) % 40, precision, np.where(np.arange(80) % 2, 1, 3))


def compared(plan: Plan, *names: str, target: str | None = None, metric: str = "mAP", every: bool = False) -> str:
    return "\n\n".join(map(panel_text, compare_panels(plan, queries, target, names, metric, every=every)))


def test_every_table_shows_the_interval_and_says_once_what_it_is() -> None:
    plan = planned()
    intervals = intervals_of(plan, queries)
    found = next(iter(plan.of_kind("evaluate")))
    same = [stage for stage in plan.of_kind("evaluate") if stage.labels["origin"] == found.labels["origin"]]
    interval = intervals([s for s in same if s.labels["target"] == "street"], "mAP")
    assert interval is not None
    shown = f"{interval.estimate:.1f} ± {interval.half_width:.1f}"
    printed = comparison(plan, intervals)
    assert f" {shown} / 50.0 ± " in printed
    tables = build_tables(plan, "msinet run x.yaml", intervals)
    markdown, page = to_markdown(tables[1:]), to_html(Content("grid", tables=tables[1:]))
    assert shown in markdown
    assert "60.0</b><small> ± " in page
    for text in (printed, markdown, page):
        assert text.count("half of the 95 % interval") == 1
    assert "±" not in comparison(plan)
    line = next(row for row in csv.DictReader(io.StringIO(to_csv(tables[1]))) if row["metric"] == "mAP")
    assert float(line["low"]) == pytest.approx(interval.low, abs=1e-4)
    assert float(line["high"]) == pytest.approx(interval.high, abs=1e-4)
    assert 0 < float(line["deviation"]) < 0.3


def test_a_cell_without_query_scores_has_no_interval() -> None:
    def some(stage: Stage) -> QueryScores | None:
        return None if stage.labels["seed"] == 1 else queries(stage)

    assert "±" not in comparison(planned(), intervals_of(planned(), some))
    assert apart_panels(compared_fields(planned(), some)) == []


def test_searches_and_not_retrainings_are_the_units_of_a_row_of_searches() -> None:
    def by_search(stage: Stage) -> Result | None:
        result = answer(stage)
        if result and stage.kind == "evaluate":
            result["metrics"]["mAP"] = 0.4 + 0.1 * float(stage.labels["search_seed"])
        return result

    plan = planned(by_search, genotypes=[], splits=["60-80"], search_seeds=[0, 1], targets=["street"])
    evaluations = list(plan.of_kind("evaluate"))
    assert len(evaluations) == 6
    interval = intervals_of(plan, queries)(evaluations, "mAP")
    assert interval is not None
    assert interval.half_width > 25, (
        "two searches that differ by 10 points say little: 12.7 standard errors of 5 points"
    )


def test_the_deviation_over_seeds_is_that_of_all_networks_in_the_column() -> None:
    plan = planned(targets=["street"])
    own = [stage for stage in plan.of_kind("evaluate") if stage.labels["origin"] == "MSINet"]
    one = intervals_of(plan, queries)(own[:1], "mAP")
    three = intervals_of(plan, queries)(own, "mAP")
    for stage in plan.of_kind("evaluate"):
        if stage.labels["seed"] != 0:
            stage.result = None
    identities = intervals_of(plan, queries)(own[:1], "mAP")
    assert one and three and identities  # noqa: PT018
    assert identities.half_width < three.half_width < one.half_width


def test_the_sentence_says_which_networks_are_better() -> None:
    (panel,) = apart_panels(compared_fields(planned(targets=["street"]), queries))
    better = "GGEGAGGNGAEA is better than EEEEEEEEEEEE and NNNNNNNNNNNN; EEEEEEEEEEEE is better than NNNNNNNNNNNN"
    assert panel.notes == [f"street: {better}. All other pairs cannot be told apart."]


def test_the_sentence_says_when_nothing_can_be_said() -> None:
    (one,) = apart_panels(compared_fields(planned(retrain_seeds=[0]), queries))
    assert one.notes[0].startswith(
        "No statement is possible on street, street → campus: every network was trained with"
    )

    def noisy(stage: Stage) -> Result | None:
        result = answer(stage)
        if result and stage.kind == "evaluate":
            result["metrics"]["mAP"] = 0.5 + 0.05 * np.sin(hash(stage.labels["origin"]) % 7 + 3 * stage.labels["seed"])
        return result

    (noise,) = apart_panels(compared_fields(planned(noisy), queries))
    assert noise.notes[0].startswith(
        "No two networks can be told apart on street (3 networks, 3 seeds show differences"
    )


def test_compare_prints_scores_pairs_and_variances() -> None:
    text = compared(planned(targets=["street"]))
    first = next(line for line in text.splitlines() if line.startswith("GGEGAGGNGAEA"))
    assert first.split()[:5] == ["GGEGAGGNGAEA", "MSINet", "3", "60.0", "±"]
    assert first.endswith(" a")
    pair = next(line for line in text.splitlines() if line.startswith("GGEGAGGNGAEA − NNNNNNNNNNNN"))
    assert "+20.0" in pair
    assert pair.endswith("100 %     <0.001  <0.001")
    assert "The standard deviation over retraining seeds is 0." in text
    genotype = next(line for line in text.splitlines() if line.startswith("all networks  genotype"))
    assert genotype.split()[3] == "3"
    shares = [line for line in text.splitlines() if line.startswith("all networks")]
    assert len(shares) == 3
    assert text.count("half of the 95 % interval") == 1
    assert text.index("GGEGAGGNGAEA") < text.index("EEEEEEEEEEEE") < text.index("NNNNNNNNNNNN"), "the best one is first"


def test_compare_splits_the_variance_of_searches_too() -> None:
    text = compared(planned(splits=["60-80", "50-50"], search_seeds=[0, 1], targets=["street"]))
    lines = [line for line in text.splitlines() if line.startswith("searches")]
    parts = [line.split("  ")[1].strip() or line.split("  ")[2].strip() for line in lines]
    assert len(lines) == 4
    assert [any(name in line for line in lines) for name in ("identity split", "search seed", "identities")] == [
        True
    ] * 3
    assert len(parts) == 4


def test_networks_are_named_by_letters_publication_or_search() -> None:
    plan = planned(splits=["60-80"], targets=["street"])
    text = compared(plan, "MSINet", "NNNNNNNNNNNN", "60-80 seed 0")
    assert "EEEEEEEEEEEE" not in text
    assert "GGGGGGGGGGGG" in text
    assert text.count(" − ") == 3


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        (["MSInet", "NNNNNNNNNNNN"], {}, "one of the experiment's, but got 'MSInet'. Did you mean `MSINet`"),
        (["MSINet"], {}, "needs two networks"),
        (["MSINet", "GGEGAGGNGAEA"], {}, "needs two networks"),
        (
            [],
            {"target": "stret"},
            "--target must be a target of the experiment, but got 'stret'. Did you mean `street`",
        ),
        ([], {"metric": "map"}, "--metric must be mAP, mINP or rank<k>"),
    ],
)
def test_a_wrong_name_is_one_sentence(names: list[str], options: Any, message: str) -> None:
    with pytest.raises(RequestError, match=message.replace("?", ".")) as error:
        compared(planned(), *names, **options)
    assert "\n" not in str(error.value)


def test_many_pairs_are_shown_only_on_request() -> None:
    many = [letter * 11 + other for letter in "NGAE" for other in "NG"]
    plan = planned(genotypes=many, targets=["street"])
    assert compared(plan).count(" − ") == 7
    assert "--all shows 21 more pairs" in compared(plan)
    assert compared(plan, every=True).count(" − ") == 28


def test_minp_of_older_evaluations_has_no_interval_and_says_so() -> None:
    text = compared(planned(targets=["street"]), metric="mINP")
    assert "did not keep the mINP of each query" in text
    row = next(line for line in text.splitlines() if line.startswith("GGEGAGGNGAEA"))
    assert " 10.0  " in f"{row}  "


def test_the_command_compares_published_evaluations(
    finished: tuple[Plan, Workspace], tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    import yaml

    _, workspace = finished
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(tiny_document()))
    with pytest.raises(SystemExit) as end:
        main(["compare", str(file), "--target", "street", "--workspace", workspace.address])
    printed = capsys.readouterr().out
    assert not end.value.code
    assert printed.startswith("street: scores in percent\n")
    assert " ± " in printed
    with pytest.raises(SystemExit) as end:
        main(["compare", str(file), "--target", "campsu", "--workspace", workspace.address])
    assert (end.value.code, capsys.readouterr().err.count("\n")) == (2, 1)


def test_the_command_says_that_there_is_nothing_yet(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    import yaml

    Workspace(tmp_path / "workspace").make()
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(tiny_document()))
    with pytest.raises(SystemExit) as end:
        main(["compare", str(file), "--workspace", str(tmp_path / "workspace")])
    assert not end.value.code
    assert capsys.readouterr().out.startswith("There are no finished evaluations to compare yet: `")


def test_a_damaged_or_missing_file_of_query_scores_gives_no_interval(
    finished: tuple[Plan, Workspace], tmp_path: Any
) -> None:
    plan, workspace = finished
    stage = next(stage for stage in plan.of_kind("evaluate") if stage.result)
    read = queries_of(workspace)(stage)
    assert read is not None
    assert read.has("mINP")
    metrics = stage.result["metrics"]  # type: ignore[index]
    for metric in ("mAP", "rank1", "rank5", "mINP"):
        assert np.nanmean(read.values(metric)) == pytest.approx(metrics[metric])
    damaged = tmp_path / "per_query.parquet"
    damaged.write_bytes(b"PAR1")
    assert read_query_scores(damaged) is None
    assert read_query_scores(tmp_path / "absent.parquet") is None
