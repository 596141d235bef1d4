"""Market-1501: 1,501 pedestrians under six cameras of a campus.

Zheng, Shen, Tian, Wang, Wang, Tian: "Scalable Person Re-identification: A Benchmark", ICCV 2015.
Archive `Market-1501-v15.09.15.zip`, linked from https://zheng-lab.cecs.anu.edu.au/Project/project_reid.html
"""

import re
from collections import Counter
from pathlib import Path

from msinet.data.dataset import Counts, DataError, Dataset
from msinet.data.records import Record

FOLDER = "Market-1501-v15.09.15"
SUBSETS = {"bounding_box_test": "gallery", "bounding_box_train": "train", "query": "query"}
EXPECTED = {
    "train": Counts(identities=751, images=12_936, cameras=6),
    "query": Counts(identities=750, images=3_368, cameras=6),
    "gallery": Counts(images=15_913, cameras=6),  # junk left out, the distractors (identity 0) among them
}
# Identity, camera: 0002_c1s1_000451_03.jpg, and -1_c1s1_000401_03.jpg; some names end in .jpg.jpg.
FILE_NAME = re.compile(r"(-1|\d+)_c(\d+).*\.jpg", re.IGNORECASE)
JUNK = -1


def read_market1501(root: Path) -> Dataset:
    """Read Market-1501 from its folder, or from the folder that holds it.

    Junk (identity -1) is left out; distractors (identity 0) stay in the gallery.

    Raises:
        DataError: The three folders of images are not there.
    """
    folder = _find_folder(root)
    records: list[Record] = []
    left_out: Counter[str] = Counter()
    for name, subset in SUBSETS.items():
        for file in sorted(entry.name for entry in (folder / name).iterdir()):
            if not (match := FILE_NAME.fullmatch(file)):
                is_picture = file.lower().endswith((".jpg", ".jpeg", ".png"))
                left_out["unexpected file name" if is_picture else "not a picture"] += 1
            elif (pid := int(match[1])) == JUNK:
                left_out["junk (identity -1)"] += 1
            else:
                records.append(Record(f"{name}/{file}", pid, int(match[2]), subset))
    if not records:
        raise DataError(f"Market-1501 must hold images such as 0002_c1s1_000451_03.jpg, but {folder} has none.")
    records.sort(key=lambda record: record.path)
    return Dataset("market1501", folder, tuple(records), dict(left_out), EXPECTED)


def _find_folder(root: Path) -> Path:
    for folder in (root, root / FOLDER):
        if all((folder / name).is_dir() for name in SUBSETS):
            return folder
    raise DataError(
        f"Market-1501 must hold the folders {', '.join(SUBSETS)}, but neither {root} nor {root / FOLDER} "
        f"has all of them; set the dataset's path to the folder {FOLDER} itself or to its parent."
    )
