"""When a stage is tried again, and when it has failed."""

import time
from dataclasses import dataclass

ATTEMPTS = 3  # of a stage, one after another, that bring it no further: then it has failed


@dataclass
class Attempts:
    """How the attempts at one piece of work went.

    Attributes:
        fruitless: How many in a row saved no newer state.
        newest: When a state was last saved before the latest attempt, by the store's clock; None if nobody could tell.
        alone: Whether it needs a whole GPU, because it found no room on a shared one.
        not_before: When it may be tried next, by this process's monotonic clock.
    """

    fruitless: int = 0
    newest: float | None = None
    alone: bool = False
    not_before: float = 0.0

    @property
    def due(self) -> bool:
        """Whether it may be tried now."""
        return time.monotonic() >= self.not_before

    def wait(self, seconds: float) -> None:
        """Do not try again before this time has passed."""
        self.not_before = time.monotonic() + seconds

    def may_try_again(self, newest: float) -> bool:
        """Count an attempt that came to nothing, and say whether there may be another.

        Only attempts that saved no newer state count. The pause before the next one doubles each time.

        Args:
            newest: When a state was last saved, by the store's clock.
        """
        self.fruitless = 0 if newest > (self.newest or 0.0) else self.fruitless + 1
        self.newest = newest
        self.wait(2.0**self.fruitless - 1)
        return self.fruitless < ATTEMPTS
