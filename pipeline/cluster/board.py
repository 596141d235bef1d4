"""The board where workers leave their reports until the driver fetches them. Losing it loses no result."""

from typing import Any

import ray

from pipeline.results import Report, Step

# A stage's key and the report of one epoch, or how far an epoch is, or the time at which a worker began with the stage.
Post = tuple[str, Report | Step | float]


@ray.remote(num_cpus=0, max_restarts=-1)
class Board:
    """The actor that holds posts."""

    def __init__(self) -> None:
        self._posts: list[Post] = []

    def post(self, key: str, told: Report | Step | float) -> None:
        """Add a post."""
        self._posts.append((key, told))

    def fetch(self) -> list[Post]:
        """Return all posts since the last call."""
        posts, self._posts = self._posts, []
        return posts


class Mailbox:
    """The driver's side of a board.

    Attributes:
        board: The actor to which the workers post.
    """

    def __init__(self) -> None:
        self.board = Board.remote()  # type: ignore[attr-defined]
        self._asked: Any = None  # the request that the board has not answered yet

    def posts(self) -> list[Post]:
        """Return what was posted since the last call; nothing if the board does not answer within half a second."""
        self._asked = self._asked or self.board.fetch.remote()
        answered, _ = ray.wait([self._asked], timeout=0.5)
        if not answered:
            return []  # the board's node may be lost, and the driver must not wait for it
        asked, self._asked = self._asked, None
        try:
            posts: list[Post] = ray.get(asked)
        except ray.exceptions.RayError:
            return []  # the board restarts; the results hold all reports too
        return posts
