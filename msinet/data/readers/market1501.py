"""Market-1501: 1,501 pedestrians under six cameras of a campus.

Zheng, Shen, Tian, Wang, Wang, Tian: "Scalable Person Re-identification: A Benchmark", ICCV 2015.
Archive `Market-1501-v15.09.15.zip`, linked from https://zheng-lab.cecs.anu.edu.au/Project/project_reid.html
"""

import re
from pathlib import Path

from msinet.data.dataset import Counts, Dataset
from msinet.data.readers.layout import ENDING, Layout, find_folder, pictures_by_name

SUBSETS = {"bounding_box_test": "gallery", "bounding_box_train": "train", "query": "query"}
LAYOUT = Layout("Market-1501", "Market-1501-v15.09.15", tuple(SUBSETS))
EXPECTED = {
    "train": Counts(identities=751, images=12_936, cameras=6),
    "query": Counts(identities=750, images=3_368, cameras=6),
    "gallery": Counts(images=15_913, cameras=6),  # without junk, with the distractors (identity 0)
}
# A name begins with identity and camera: 0002_c1s1_000451_03.jpg, -1_c1s1_000401_03.jpg; some end in .jpg.jpg.
FILE_NAME = re.compile(r"(-1|\d+)_c(\d{1,9})(?!\d).*" + ENDING, re.IGNORECASE)
JUNK = -1


def read_market1501(root: Path) -> Dataset:
    """Read Market-1501 from its folder, or from the folder that holds it.

    Junk (identity -1) is left out; distractors (identity 0) stay in the gallery.

    Raises:
        DataError: The three folders of images are missing, or contain no such images.
    """
    _, folder = find_folder(root, LAYOUT)
    records, left_out = pictures_by_name(folder, SUBSETS, FILE_NAME, example="0002_c1s1_000451_03.jpg", junk=JUNK)
    return Dataset("market1501", folder, records, left_out, EXPECTED)
