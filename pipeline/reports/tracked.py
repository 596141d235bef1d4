"""The report as MLflow's parent run holds it."""

from pipeline.plan.stage import Plan
from pipeline.reports.answer import matrix_panel
from pipeline.reports.page import to_html
from pipeline.reports.panels import panel_markdown
from pipeline.reports.write import content_of, to_text
from pipeline.storage.workspace import Workspace


def tracked_report(plan: Plan, workspace: Workspace) -> tuple[str, dict[str, bytes]]:
    """Return a description in Markdown, and the report's files by name."""
    content = content_of(plan, workspace, "msinet run EXPERIMENT")
    note = "\n".join([content.state, "", *(panel_markdown(matrix_panel(matrix)) for matrix in content.matrices)])
    return note, {"report.html": to_html(content).encode(), "report.md": to_text(content).encode()}
