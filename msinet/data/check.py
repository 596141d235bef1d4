"""Check of a dataset: what it contains, what is wrong with it, and a hash that identifies its content."""

import hashlib
import json
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from msinet.data.dataset import FIXED, RANDOM_GALLERY, UNEXPECTED, Counts, DataError, Dataset, decode, described
from msinet.data.records import SUBSETS, Record

GREY_MODES = ("1", "L", "LA", "La", "I;16", "I", "F")
LISTED = 20  # entries of one kind that the printed report shows at most


@dataclass(frozen=True)
class CheckReport:
    """The result of `check`.

    Attributes:
        name, root: Name and folder of the dataset.
        found: The counts that were found, by subset.
        expected: The commonly stated counts, by subset; None for a dataset without such counts.
        left_out: The files that the reader left out, by reason.
        fingerprint: Fingerprint of the whole dataset, or None if an image is not readable.
        modes: How many images are stored in each of Pillow's modes (`RGB`, `L` for grey-scale, `CMYK`, …).
        problems: What must be corrected before the dataset is used, one sentence each.
        warnings: What the user should know, one sentence each.
        num_double_suffix: Number of images whose names end in `.jpg.jpg`.
        protocol: Protocol of the dataset.
    """

    name: str
    root: str
    found: dict[str, Counts]
    expected: dict[str, Counts] | None
    left_out: dict[str, Sequence[str]]
    fingerprint: str | None
    modes: dict[str, int]
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    num_double_suffix: int = 0
    protocol: str = FIXED

    @property
    def num_grey(self) -> int:
        """Return the number of grey-scale images."""
        return sum(self.modes.get(mode, 0) for mode in GREY_MODES)

    @property
    def num_cmyk(self) -> int:
        """Return the number of CMYK images."""
        return self.modes.get("CMYK", 0)

    def format(self) -> str:
        """Return the report as text: a table of found and stated counts, then problems and warnings."""
        header = ("subset", "identities", "images", "cameras")
        rows = [(subset, *self._cells(subset)) for subset in SUBSETS]
        widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
        lines = [f"{self.name} at {self.root}" + (" (in brackets: as stated)" if self.expected else "")]
        for row in (header, *rows):
            cells = [row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]
            lines.append("  ".join(cells))
        if self.protocol == RANDOM_GALLERY:
            lines.append("the gallery is drawn at random: one query image of each identity")
        lines.append(f"left out: {described(self.left_out) or 'nothing'}")
        lines.append(
            f"grey-scale images: {self.num_grey:,}; CMYK images: {self.num_cmyk:,}; "
            f"names ending in .jpg.jpg: {self.num_double_suffix:,}"
        )
        lines += _listing("problems", self.problems) + _listing("warnings", self.warnings)
        return "\n".join(lines)

    def _cells(self, subset: str) -> tuple[str, str, str]:
        found, stated = self.found[subset], (self.expected or {}).get(subset, Counts())

        def cell(name: str) -> str:
            bracket = "" if getattr(stated, name) is None else f" ({getattr(stated, name):,})"
            return f"{getattr(found, name):,}{bracket}"

        return cell("identities"), cell("images"), cell("cameras")


def check(dataset: Dataset, *, progress: Callable[[int, int], None] | None = None) -> CheckReport:
    """Decode every image of `dataset` and look for everything that would harm a training or an evaluation.

    Args:
        dataset: The dataset, as a reader returned it.
        progress: Function called after each image with (images done, total number of images).

    Returns:
        The report. Problems of the data are listed there and raise no error.
    """
    problems, modes, hashes = _decode_all(dataset, progress)
    by_subset = {s: [record for record in dataset.records if record.subset == s] for s in SUBSETS}
    found = {subset: _count(records) for subset, records in by_subset.items()}
    evaluated = by_subset["query"] + by_subset["gallery"]
    drawn = dataset.protocol == RANDOM_GALLERY
    match_problems, warnings = (
        _undrawable_queries(by_subset["query"])
        if drawn
        else _unmatched_queries(by_subset["query"], by_subset["gallery"])
    )
    wanted = [subset for subset in SUBSETS if not (drawn and subset == "gallery")]
    warnings = [
        *_shared_identities(by_subset["train"], evaluated),
        *_differences(found, dataset.expected or {}),
        *(f"the dataset has no {subset} images." for subset in wanted if not by_subset[subset]),
        *_lonely_identities(by_subset["train"]),
        *warnings,
        *_unequal_cameras(evaluated),
    ]
    if pictures := {reason: dataset.left_out[reason] for reason in UNEXPECTED if reason in dataset.left_out}:
        warnings.append(f"these pictures were left out: {described(pictures)}.")
    return CheckReport(
        name=dataset.name,
        root=str(dataset.root),
        found=found,
        expected=dict(dataset.expected) if dataset.expected else None,
        left_out=dict(dataset.left_out),
        fingerprint=None if problems else fingerprint(zip(dataset.records, hashes, strict=True)),
        modes=dict(sorted(modes.items())),
        problems=problems + match_problems,
        warnings=warnings,
        num_double_suffix=sum(record.path.lower().endswith(".jpg.jpg") for record in dataset.records),
        protocol=dataset.protocol,
    )


def fingerprint(items: Iterable[tuple[Record, bytes | memoryview | str]]) -> str:
    """Return the hash (SHA-256, hexadecimal) that identifies the content of a dataset.

    The hash is computed from the sorted (relative path, identity, camera, subset, content hash) of all images. It
    depends neither on the order of `items` nor on the dataset's folder.

    Args:
        items: The records, each with the bytes of its file or with the `content_hash` of these bytes.
    """
    rows = sorted(
        (record.path, json.dumps([record.path, record.pid, record.camid, record.subset, content]))
        for record, data in items
        for content in [data if isinstance(data, str) else content_hash(data)]
    )
    return hashlib.sha256("\n".join(row for _, row in rows).encode()).hexdigest()


def content_hash(data: bytes | memoryview) -> str:
    """Return the SHA-256 of a file's bytes, hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def _decode_all(
    dataset: Dataset, progress: Callable[[int, int], None] | None
) -> tuple[list[str], Counter[str], list[str]]:
    """Return the problems of single files, the number of images of each mode, and the readable files' hashes."""

    def mode_and_hash(record: Record) -> tuple[str, str] | DataError:
        try:
            data = (dataset.root / record.path).read_bytes()
            return decode(data, record.path).mode, content_hash(data)
        except DataError as error:
            return error
        except OSError as error:
            return DataError(f"an image must be readable, but {record.path} is not: {error.strerror or error}.")

    problems: list[str] = []
    modes: Counter[str] = Counter()
    hashes: list[str] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done, found in enumerate(pool.map(mode_and_hash, dataset.records), start=1):
            if isinstance(found, DataError):
                problems.append(str(found))
            else:
                mode, content = found
                modes[mode] += 1
                hashes.append(content)
            if progress:
                progress(done, len(dataset.records))
    return problems, modes, hashes


def _count(records: Sequence[Record]) -> Counts:
    return Counts(
        identities=len({record.pid for record in records}),
        images=len(records),
        cameras=len({record.camid for record in records} - {None}),
    )


def _shared_identities(train: Sequence[Record], evaluated: Sequence[Record]) -> list[str]:
    shared = {record.pid for record in train} & {record.pid for record in evaluated}
    if not shared:
        return []
    names = _names(map(str, shared))
    return [f"{len(shared):,} identities are both trained on and tested on: {names}."]


def _lonely_identities(train: Sequence[Record]) -> list[str]:
    lonely = _with_one_image(train)
    if not lonely:
        return []
    return [f"{len(lonely):,} training identities have one image only: {_names(map(str, lonely))}."]


def _undrawable_queries(query: Sequence[Record]) -> tuple[list[str], list[str]]:
    """Return problems and warnings for a gallery that is drawn: an identity with one image has no query."""
    lonely = _with_one_image(query)
    if not lonely:
        return [], []
    if len(lonely) == len(query):
        return ["at least one test identity must have two images, but none has."], []
    names = _names(map(str, lonely))
    return [], [
        f"{len(lonely):,} test identities have one image only, which is in every gallery and never a query: {names}."
    ]


def _with_one_image(records: Sequence[Record]) -> list[int | str]:
    return [pid for pid, count in Counter(record.pid for record in records).items() if count == 1]


def _unmatched_queries(query: Sequence[Record], gallery: Sequence[Record]) -> tuple[list[str], list[str]]:
    """Return problems and warnings about queries without a match.

    A match is a gallery image of the same identity that has another camera or no camera.
    """
    cameras = defaultdict(set)
    for record in gallery:
        cameras[record.pid].add(record.camid)
    unmatched = [record.path for record in query if not cameras[record.pid] - ({record.camid} - {None})]
    if not unmatched:
        return [], []
    if len(unmatched) == len(query):
        return ["at least one query must have a match under another camera, but none has."], []
    text = f"{len(unmatched):,} queries have no match under another camera and are skipped: {_names(unmatched)}."
    return [], [text]


def _unequal_cameras(evaluated: Sequence[Record]) -> list[str]:
    without = sum(record.camid is None for record in evaluated)
    if without in (0, len(evaluated)):
        return []
    return [f"{without:,} of {len(evaluated):,} query and gallery images have no camera, but the others have one."]


def _differences(found: Mapping[str, Counts], expected: Mapping[str, Counts]) -> list[str]:
    return [
        f"{subset} has {getattr(found[subset], name):,} {name}, but {getattr(stated, name):,} are commonly stated."
        for subset, stated in expected.items()
        for name in ("identities", "images", "cameras")
        if getattr(stated, name) not in (None, getattr(found[subset], name))
    ]


def _names(names: Iterable[str]) -> str:
    names = sorted(names)
    return ", ".join(names[:LISTED]) + (f" and {len(names) - LISTED:,} more" if len(names) > LISTED else "")


def _listing(title: str, lines: Sequence[str]) -> list[str]:
    if not lines:
        return [f"{title}: none"]
    more = [f"  … and {len(lines) - LISTED:,} more"] if len(lines) > LISTED else []
    return [f"{title} ({len(lines):,}):", *(f"  {line}" for line in lines[:LISTED]), *more]
