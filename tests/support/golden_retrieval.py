"""The retrieval that tests/golden/retrieval.json scores and re-ranks."""

import numpy as np

from support.golden_draw import draw


def golden_inputs():
    """Return the inputs of tests/golden/retrieval.json.

    Returns:
        (query, gallery, query_pids, gallery_pids, query_camids, gallery_camids).
    """
    generator = np.random.Generator(np.random.PCG64(5))
    query_pids, gallery_pids = generator.integers(0, 12, 40), generator.integers(0, 12, 200)
    query_camids, gallery_camids = generator.integers(0, 4, 40), generator.integers(0, 4, 200)
    centres = np.float32(0.35) * draw("centres", (12, 32))
    query, gallery = draw("query", (40, 32)), draw("gallery", (200, 32))
    return (
        query + centres[query_pids],
        gallery + centres[gallery_pids],
        query_pids,
        gallery_pids,
        query_camids,
        gallery_camids,
    )
