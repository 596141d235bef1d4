"""The rules that say when a stage or the workspace is tried again, and when it has failed."""

import logging
import time
from dataclasses import dataclass

from pipeline.errors import RequestError

log = logging.getLogger(__name__)

ATTEMPTS = 3  # a stage has failed after so many attempts in a row without progress
# Seconds between two tries to reach a workspace that does not answer, and seconds after which a driver without running
# stages gives up.
AWAY_PAUSE, AWAY_LIMIT = 5.0, 3600.0


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


@dataclass
class Absence:
    """The time in which the workspace has not answered.

    Attributes:
        since: When that began, by this process's monotonic clock; None if the workspace answers.
        next_try: When to try again, by the same clock.
    """

    since: float | None = None
    next_try: float = 0.0

    @property
    def is_over(self) -> bool:
        """Return whether the workspace answers or may be tried again."""
        return time.monotonic() >= self.next_try

    def prolong(self, error: OSError, *, give_up: bool) -> None:
        """Wait before the next try. People are told the first time.

        Args:
            error: Why the workspace cannot be used.
            give_up: Whether it is useless to wait very long, because no stage runs.

        Raises:
            RequestError: The absence has lasted too long.
        """
        now = time.monotonic()
        if self.since is None:
            self.since = now
            log.warning("the workspace does not answer (%s): running stages go on, others start when it does.", error)
        elif give_up and now - self.since > AWAY_LIMIT:
            raise RequestError(
                f"the workspace must answer, but has not for {AWAY_LIMIT / 60:.0f} minutes: {error}. "
                "Run the same command again to continue (--workspace)."
            ) from error
        self.next_try = now + AWAY_PAUSE
