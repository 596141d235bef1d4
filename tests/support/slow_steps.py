"""Slow steps in Ray's workers, at least a tenth of a second each, to leave time to disturb them on any machine."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def install() -> None:
    """Slow down the loops of this process."""
    from msinet.engine import loop

    spaced = loop._spaced

    def slowed(items: Any, between: Any) -> Iterator[Any]:
        for item in spaced(items, between):
            time.sleep(0.1)
            yield item

    loop._spaced = slowed


SLOW_STEPS = {
    "worker_process_setup_hook": "support.slow_steps.install",
    "env_vars": {"PYTHONPATH": str(Path(__file__).parents[1])},
}
"""The value for `ray.init(runtime_env=…)`."""
