"""The files of an experiment's report: tables, page and pictures."""

from collections.abc import Sequence
from pathlib import Path

from msinet.files import written_whole
from pipeline.plan.costs import costs_of
from pipeline.plan.efforts import efforts_of
from pipeline.plan.kinds import PICTURES
from pipeline.plan.stage import Plan
from pipeline.reports.answer import answer, matrix_panel
from pipeline.reports.certainty import Searched, certainty_panels, certainty_pictures, searched
from pipeline.reports.checklist import checklist_panel
from pipeline.reports.console import comparison
from pipeline.reports.costs import cost_panel, failure_panels, state_sentence, works_of
from pipeline.reports.differences import Compared, apart_panels, compared_fields
from pipeline.reports.intervals import Intervals, intervals_of
from pipeline.reports.luck import luck_panels
from pipeline.reports.operating import operating_panels
from pipeline.reports.page import Content, to_html
from pipeline.reports.panels import Panel, Picture, panel_markdown, panel_text
from pipeline.reports.plain import escaped_markdown, to_csv, to_markdown
from pipeline.reports.queries import Queries, queries_of
from pipeline.reports.ranking import ranking_panels, ranking_pictures
from pipeline.reports.selection import selection_panels
from pipeline.reports.tables import build_tables
from pipeline.reports.tradeoff import tradeoff_pictures
from pipeline.storage.workspace import Workspace


def report_text(plan: Plan, workspace: Workspace) -> str:
    """Return the comparison of the finished results and the panels, for a terminal."""
    queries = queries_of(workspace)
    intervals = intervals_of(plan, queries)
    found = _panels(plan, queries, intervals, compared_fields(plan, queries), list(searched(plan, workspace)))
    return "\n\n".join([comparison(plan, intervals), *map(panel_text, found)])


def content_of(plan: Plan, workspace: Workspace, command: str) -> Content:
    """Return what a report says, with its drawings.

    Args:
        plan: A plan that was resolved against a workspace.
        workspace: The workspace.
        command: The command that fills the cells that are not done, such as `msinet run grid.yaml`.
    """
    queries = queries_of(workspace)
    intervals = intervals_of(plan, queries)
    compared, searches = compared_fields(plan, queries), list(searched(plan, workspace))
    efforts = efforts_of(plan, workspace)
    works, costs = works_of(plan, workspace, efforts), costs_of(plan, workspace, efforts)
    matrices = answer(plan, intervals, compared)
    return Content(
        title=plan.experiment.name,
        state=state_sentence(plan, works),
        matrices=matrices,
        costs=tradeoff_pictures(plan, matrices),
        panels=[*_panels(plan, queries, intervals, compared, searches), *operating_panels(plan, workspace)],
        searches=[*certainty_pictures(searches), *ranking_pictures(plan)],
        spent=[cost_panel(works, costs), *failure_panels(works)],
        tables=build_tables(plan, command, intervals),
        after=[checklist_panel(plan)],
        pictures=_pictures(plan, workspace),
    )


def _panels(
    plan: Plan,
    queries: Queries,
    intervals: Intervals,
    compared: Sequence[Compared],
    searches: Sequence[Searched],
) -> list[Panel]:
    """Return what an experiment's results say apart from the answer and the paper's tables."""
    return [
        *apart_panels(compared),
        *selection_panels(plan, queries, intervals),
        *luck_panels(plan),
        *certainty_panels(searches),
        *ranking_panels(plan),
    ]


def _pictures(plan: Plan, workspace: Workspace) -> list[Picture]:
    """Return the finished pictures of a plan: ranked lists and activation maps."""
    return [
        Picture(
            f"{stage.name.removeprefix('picture ')}: {name.removesuffix('.png').replace('_', ' ')}", path.read_bytes()
        )
        for stage in plan.of_kind("picture")
        if stage.result is not None
        for name in PICTURES
        for path in [workspace.file(stage.result, name)]
        if path
    ]


def to_text(content: Content) -> str:
    """Return a report as Markdown, without its drawings."""
    before = [*map(matrix_panel, content.matrices), *content.panels, *content.spent]
    return "\n".join(
        [
            f"# {escaped_markdown(content.title)}\n",
            *([f"{escaped_markdown(content.state)}\n"] if content.state else []),
            *map(panel_markdown, before),
            to_markdown(content.tables),
            *map(panel_markdown, content.after),
        ]
    )


def write_report(content: Content, folder: Path) -> list[Path]:
    """Write a report: `report.md`, `report.html`, and `tables/table<number>.csv` for each table.

    Each file is either complete or absent, also while another process writes the same report. The same results give the
    same bytes.

    Args:
        content: What `content_of` returns.
        folder: Folder for the files; it is created if it does not exist.

    Returns:
        Paths of the written files.
    """
    files = {
        folder / "report.md": to_text(content),
        **{folder / "tables" / f"table{table.number}.csv": to_csv(table) for table in content.tables},
        folder / "report.html": to_html(content),
    }
    for path, text in files.items():
        with written_whole(path) as file:
            file.write(text.encode())
    return list(files)
