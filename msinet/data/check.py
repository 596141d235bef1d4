"""Check of a dataset: what it contains, what is wrong with it, and a hash that identifies its content."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from msinet.data.dataset import FIXED, RANDOM_GALLERY, ROLES, TARGET, UNEXPECTED, Counts, DataError, Dataset, described
from msinet.data.findings import (
    LISTED,
    copies,
    differences,
    lonely_identities,
    match_findings,
    shared_identities,
    unequal_cameras,
    unusual_pictures,
)
from msinet.data.pictures import Kind, decode, kind_of, read_picture
from msinet.data.records import SUBSETS, Record
from msinet.files import json_text

GREY_MODES = ("1", "L", "LA", "I;16", "I")


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


def check(
    dataset: Dataset, *, roles: Collection[str] = ROLES, progress: Callable[[int, int], None] | None = None
) -> CheckReport:
    """Decode every image of `dataset` and look for everything that would harm a training or an evaluation.

    Args:
        dataset: The dataset, as a reader returned it.
        roles: Those of `ROLES` that the dataset has. Every file must be readable, but only what these roles use is
            checked further: the training images of a source, the queries and the gallery of a target.
        progress: Function called after each image with (images done, total number of images).

    Returns:
        The report. Problems of the data are listed there and raise no error.
    """
    inspected = _inspect_all(dataset, progress)
    readable = [(record, found) for record, found in inspected if not isinstance(found, DataError)]
    unreadable = [str(found) for _, found in inspected if isinstance(found, DataError)]
    found = {subset: _count([record for record in dataset.records if record.subset == subset]) for subset in SUBSETS}
    drawn = dataset.protocol == RANDOM_GALLERY
    used = [subset for role in ROLES if role in roles for subset in dataset.subsets_of(role)]
    train, query, gallery = (
        [record for record in dataset.records if record.subset == subset and subset in used] for subset in SUBSETS
    )
    match_problems, match_warnings = match_findings(dataset) if TARGET in roles else ([], [])
    picture_problems, picture_warnings = unusual_pictures([(record, kind) for record, (kind, _) in readable])
    warnings = [
        *shared_identities(train, query + gallery),
        *differences(found, dataset.expected or {}),
        *(f"the dataset has no {subset} images." for subset in used if not found[subset].images),
        *lonely_identities(train),
        *match_warnings,
        *unequal_cameras(query + gallery),
        *copies([(r, content) for r, (_, content) in readable if r.subset in used], drawn=drawn),
        *picture_warnings,
    ]
    if pictures := {reason: dataset.left_out[reason] for reason in UNEXPECTED if reason in dataset.left_out}:
        warnings.append(f"these pictures were left out: {described(pictures)}.")
    hashes = ((record, content) for record, (_, content) in readable)
    return CheckReport(
        name=dataset.name,
        root=str(dataset.root),
        found=found,
        expected=dict(dataset.expected) if dataset.expected else None,
        left_out=dict(dataset.left_out),
        fingerprint=None if unreadable else fingerprint(hashes),
        modes=dict(sorted(Counter(kind.mode for _, (kind, _) in readable).items())),
        problems=unreadable + picture_problems + match_problems,
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
        (record.path, json_text([record.path, record.pid, record.camid, record.subset, content]))
        for record, data in items
        for content in [data if isinstance(data, str) else content_hash(data)]
    )
    return hashlib.sha256("\n".join(row for _, row in rows).encode()).hexdigest()


def content_hash(data: bytes | memoryview) -> str:
    """Return the SHA-256 of a file's bytes, hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def _inspect_all(
    dataset: Dataset, progress: Callable[[int, int], None] | None
) -> list[tuple[Record, tuple[Kind, str] | DataError]]:
    """Return each record with the kind and the content hash of its picture, or with what is wrong with its file."""

    def inspect(record: Record) -> tuple[Kind, str] | DataError:
        try:
            data = read_picture(dataset.root, record.path)
            return kind_of(decode(data, record.path)), content_hash(data)
        except DataError as error:
            return error

    inspected = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(inspect, dataset.records)
        for item in zip(dataset.records, found, strict=True):
            inspected.append(item)
            if progress:
                progress(len(inspected), len(dataset.records))
    return inspected


def _count(records: Sequence[Record]) -> Counts:
    return Counts(
        identities=len({record.pid for record in records}),
        images=len(records),
        cameras=len({record.camid for record in records} - {None}),
    )


def _listing(title: str, lines: Sequence[str]) -> list[str]:
    if not lines:
        return [f"{title}: none"]
    more = [f"  … and {len(lines) - LISTED:,} more"] if len(lines) > LISTED else []
    return [f"{title} ({len(lines):,}):", *(f"  {line}" for line in lines[:LISTED]), *more]
