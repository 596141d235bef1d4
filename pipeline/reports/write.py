"""The files of an experiment's report: tables, page and pictures."""

from collections.abc import Sequence
from pathlib import Path

from msinet.files import written_whole
from pipeline.plan.kinds import PICTURES
from pipeline.plan.stage import Plan
from pipeline.reports.certainty import certainty_panels, certainty_pictures
from pipeline.reports.checklist import checklist_panel
from pipeline.reports.console import comparison
from pipeline.reports.differences import apart_panels
from pipeline.reports.intervals import Intervals, intervals_of, no_intervals
from pipeline.reports.luck import luck_panels
from pipeline.reports.page import to_html
from pipeline.reports.panels import Panel, panel_markdown, panel_text
from pipeline.reports.plain import escaped_markdown, to_csv, to_markdown
from pipeline.reports.queries import Queries, queries_of
from pipeline.reports.ranking import ranking_panels, ranking_pictures
from pipeline.reports.selection import selection_panels
from pipeline.reports.tables import build_tables
from pipeline.storage.workspace import Workspace


def pictures(plan: Plan, workspace: Workspace) -> list[tuple[str, bytes]]:
    """Return captions and PNGs: plots of the searches and rankings, and a plan's pictures that are done."""
    drawn = [
        (f"{stage.name.removeprefix('picture ')}: {name.removesuffix('.png').replace('_', ' ')}", path.read_bytes())
        for stage in plan.of_kind("picture")
        if stage.result is not None
        for name in PICTURES
        for path in [workspace.file(stage.result, name)]
        if path
    ]
    return [*certainty_pictures(plan, workspace), *ranking_pictures(plan), *drawn]


def panels(plan: Plan, workspace: Workspace, queries: Queries, intervals: Intervals) -> list[Panel]:
    """Return what an experiment's results say apart from the paper's tables.

    Args:
        plan: A plan that was resolved against a workspace.
        workspace: The workspace.
        queries: Function that reads the scores of an evaluation's queries.
        intervals: Function that computes the intervals of scores.
    """
    return [
        *apart_panels(plan, queries),
        *selection_panels(plan, queries, intervals),
        *luck_panels(plan),
        *certainty_panels(plan, workspace),
        *ranking_panels(plan),
    ]


def report_text(plan: Plan, workspace: Workspace) -> str:
    """Return the comparison of the finished results and the panels, for a terminal."""
    queries = queries_of(workspace)
    intervals = intervals_of(plan, queries)
    told = map(panel_text, panels(plan, workspace, queries, intervals))
    return "\n\n".join([comparison(plan, intervals), *told])


def write_report(
    plan: Plan,
    folder: Path,
    command: str,
    pictures: Sequence[tuple[str, bytes]] = (),
    panels: Sequence[Panel] = (),
    intervals: Intervals = no_intervals,
) -> list[Path]:
    """Write an experiment's tables: `report.md`, `report.html`, and `tables/table<number>.csv` for each.

    Each file is either complete or absent, also while another process writes the same report.

    Args:
        plan: A plan that was resolved against a workspace.
        folder: Folder for the files; it is created if it does not exist.
        command: The command that fills the cells that are not done, such as `msinet run grid.yaml`.
        pictures: Caption and PNG of each picture, for the page.
        panels: What `panels` returns, below the tables. The checklist follows.
        intervals: Function that computes the intervals of scores.

    Returns:
        Paths of the written files.
    """
    panels = [*panels, checklist_panel(plan)]
    tables, title, below = build_tables(plan, command, intervals), plan.experiment.name, map(panel_markdown, panels)
    files = {
        folder / "report.md": "\n".join([f"# {escaped_markdown(title)}\n", to_markdown(tables), *below]),
        **{folder / "tables" / f"table{table.number}.csv": to_csv(table) for table in tables},
        folder / "report.html": to_html(tables, title, pictures, panels),
    }
    for path, text in files.items():
        with written_whole(path) as file:
            file.write(text.encode())
    return list(files)
