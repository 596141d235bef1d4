"""The rules that say when a stage is tried again, and when it has failed."""

import time
from dataclasses import dataclass

ATTEMPTS = 3  # a stage has failed after so many attempts in a row without progress


@dataclass
class Attempts:
    """The record of the attempts at one stage.

    Attributes:
        fruitless: How many attempts in a row saved no newer state.
        newest: When a state was last saved before the latest attempt, by the store's clock; None if unknown.
        alone: Whether the stage needs a whole GPU, because it found no room on a shared one.
        not_before: Earliest time of the next attempt, by this process's monotonic clock.
    """

    fruitless: int = 0
    newest: float | None = None
    alone: bool = False
    not_before: float = 0.0

    @property
    def due(self) -> bool:
        """Return whether the stage may be tried now."""
        return time.monotonic() >= self.not_before

    def wait(self, seconds: float) -> None:
        """Allow the next attempt only after so many seconds."""
        self.not_before = time.monotonic() + seconds

    def may_try_again(self, newest: float) -> bool:
        """Count an attempt that did not finish the stage, and return whether there may be another.

        Only attempts that saved no newer state count. The pause before the next one doubles each time.

        Args:
            newest: When a state was last saved, by the store's clock.
        """
        self.fruitless = 0 if newest > (self.newest or 0.0) else self.fruitless + 1
        self.newest = newest
        self.wait(2.0**self.fruitless - 1)
        return self.fruitless < ATTEMPTS
