"""VeRi-776: 776 vehicles under twenty cameras of a city.

Liu, Liu, Ma, Fu: "Large-scale Vehicle Re-identification in Urban Surveillance Videos", ICME 2016.
Folder `VeRi`, on request from https://vehiclereid.github.io/VeRi/
"""

import re
from pathlib import Path

from msinet.data.dataset import Counts, Dataset
from msinet.data.readers.layout import ENDING, Layout, find_folder, pictures_by_name

SUBSETS = {"image_query": "query", "image_test": "gallery", "image_train": "train"}
LAYOUT = Layout("VeRi-776", "VeRi", tuple(SUBSETS))
EXPECTED = {
    "train": Counts(identities=576, images=37_746, cameras=20),  # the authors state 37,778 images
    "query": Counts(identities=200, images=1_678),
    "gallery": Counts(identities=200, images=11_579),
}
# A name begins with identity and camera: 0001_c001_00016450_0.jpg
FILE_NAME = re.compile(r"(\d+)_c(\d{1,9})_.*" + ENDING, re.IGNORECASE)


def read_veri(root: Path) -> Dataset:
    """Read VeRi-776 from its folder, or from the folder that holds it.

    No picture is junk. A query must not find pictures of its own identity and camera; the evaluation leaves these out.

    Raises:
        DataError: The three folders of images are missing, or contain no such images.
    """
    _, folder = find_folder(root, LAYOUT)
    records, left_out = pictures_by_name(folder, SUBSETS, FILE_NAME, example="0001_c001_00016450_0.jpg")
    return Dataset("veri", folder, records, left_out, EXPECTED)
