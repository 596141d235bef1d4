"""What an experiment consists of: stages, what each needs, and the key under which each result is found."""

from pipeline.plan.unfold import plan

__all__ = ["plan"]
