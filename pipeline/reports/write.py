"""Write an experiment's report."""

from pipeline.plan.kinds import PICTURES
from pipeline.plan.stage import Plan
from pipeline.storage.workspace import Workspace


def pictures(plan: Plan, workspace: Workspace) -> list[tuple[str, bytes]]:
    """Captions and PNGs of a plan's pictures that are drawn."""
    return [
        (f"{stage.name.removeprefix('picture ')}: {name.removesuffix('.png').replace('_', ' ')}", path.read_bytes())
        for stage in plan.of_kind("picture")
        if stage.result is not None
        for name in PICTURES
        for path in [workspace.file(stage.result, name)]
        if path
    ]
