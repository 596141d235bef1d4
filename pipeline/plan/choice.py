"""A part of a plan: the stages up to one kind, or those with certain names, with everything that they need."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from pipeline.errors import RequestError, suggestion
from pipeline.plan.kinds import KINDS
from pipeline.plan.stage import Plan, Stage


def chosen(plan: Plan, until: str | None = None, only: Sequence[str] = ()) -> Plan:
    """Return the part of a plan that a user asks for. The stages themselves are shared with the whole plan.

    Args:
        plan: The whole plan.
        until: A kind of stages: they and what they need. None for all kinds.
        only: Names of stages, or their first words, in which `*` stands for any text: these stages and what they need.
            Empty for all names.

    Raises:
        RequestError: The kind is unknown or not in the plan, or no stage has such a name.
    """
    if until is not None and until not in KINDS:
        raise RequestError(f"`--until` must be a kind of stages, but got {until!r}.{suggestion(until, KINDS)}")
    wanted = [stage for stage in plan.stages.values() if until in (None, stage.kind)]
    if not wanted:
        kinds = ", ".join(dict.fromkeys(stage.kind for stage in plan.stages.values()))
        raise RequestError(f"`--until` must be a kind of the experiment's stages, {kinds}, but got {until!r}.")
    for name in only:
        if not any(_is_named(stage, name) for stage in wanted):
            hint = suggestion(name, [stage.name for stage in wanted]) if len(wanted) > 1 else ""
            near = hint if "Did you mean" in hint else " `msinet plan EXPERIMENT --all` lists the names."
            raise RequestError(f"`--only` must name stages of the experiment, but got {name!r}.{near}")
    if only:
        wanted = [stage for stage in wanted if any(_is_named(stage, name) for name in only)]
    kept: set[str] = set()
    waiting = [stage.name for stage in wanted]
    while waiting:
        name = waiting.pop()
        if name not in kept:
            kept.add(name)
            waiting += plan.stages[name].needs.values()
    return Plan(plan.experiment, {name: stage for name, stage in plan.stages.items() if name in kept})


def _is_named(stage: Stage, name: str) -> bool:
    return fnmatchcase(stage.name, name) or fnmatchcase(stage.name, f"{name} *")
