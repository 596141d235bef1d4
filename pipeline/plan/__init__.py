"""The plan of an experiment: its stages, what each stage needs, and the key under which each result is stored."""

from pipeline.plan.unfold import plan

__all__ = ["plan"]
