"""What `msinet.data.check` says about a dataset: sentences about its pictures, identities and cameras."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from msinet.data.dataset import RANDOM_GALLERY, Counts, Dataset
from msinet.data.names import printable
from msinet.data.pictures import Kind
from msinet.data.records import Record

LISTED = 20  # names or sentences of one kind that the printed report shows at most
FAINT = 32  # the least number of grey levels of a picture that is not faint; files of a 12-bit camera keep 16


def shared_identities(train: Sequence[Record], evaluated: Sequence[Record]) -> list[str]:
    """Return a warning about identities that are trained on and tested on."""
    shared = {record.pid for record in train} & {record.pid for record in evaluated}
    if not shared:
        return []
    names = _names(map(str, shared))
    return [f"{len(shared):,} identities are both trained on and tested on: {names}."]


def lonely_identities(train: Sequence[Record]) -> list[str]:
    """Return a warning about training identities with one image, which has no positive pair."""
    lonely = _with_one_image(train)
    if not lonely:
        return []
    return [f"{len(lonely):,} training identities have one image only: {_names(map(str, lonely))}."]


def match_findings(dataset: Dataset) -> tuple[list[str], list[str]]:
    """Return problems and warnings about queries without a match."""
    query, gallery = ([r for r in dataset.records if r.subset == subset] for subset in ("query", "gallery"))
    return _undrawable(query) if dataset.protocol == RANDOM_GALLERY else _unmatched(query, gallery)


def _undrawable(query: Sequence[Record]) -> tuple[list[str], list[str]]:
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


def _unmatched(query: Sequence[Record], gallery: Sequence[Record]) -> tuple[list[str], list[str]]:
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
        one_camera = len({record.camid for record in (*query, *gallery)}) == 1
        advice = ": if there is one camera only, leave the column `camera` of a manifest empty" if one_camera else ""
        return [f"at least one query must have a match under another camera, but none has{advice}."], []
    text = f"{len(unmatched):,} queries have no match under another camera and are skipped: {_names(unmatched)}."
    return [], [text]


def unequal_cameras(evaluated: Sequence[Record]) -> list[str]:
    """Return a warning if only some of the test images have a camera."""
    without = sum(record.camid is None for record in evaluated)
    if without in (0, len(evaluated)):
        return []
    return [f"{without:,} of {len(evaluated):,} query and gallery images have no camera, but the others have one."]


def differences(found: Mapping[str, Counts], expected: Mapping[str, Counts]) -> list[str]:
    """Return a warning for each count that differs from the commonly stated one."""
    return [
        f"{subset} has {getattr(found[subset], name):,} {name}, but {getattr(stated, name):,} are commonly stated."
        for subset, stated in expected.items()
        for name in ("identities", "images", "cameras")
        if getattr(stated, name) not in (None, getattr(found[subset], name))
    ]


def copies(hashed: Sequence[tuple[Record, str]], *, drawn: bool) -> list[str]:
    """Return warnings about pictures with the same bytes that make scores too good, or labels wrong.

    Args:
        hashed: The records with the hashes of their pictures.
        drawn: Whether the gallery is drawn from the queries.
    """
    groups = defaultdict(list)
    for record, content in hashed:
        groups[content].append(record)
    found, leaked, confused = [], [], []
    for group in groups.values():
        train = [record for record in group if record.subset == "train"]
        tested = [record for record in group if record.subset != "train"]
        leaked += tested if train else []
        found += _found_by_copies(tested, drawn)
        confused += [record for side in (train, tested) if len({r.pid for r in side}) > 1 for record in side]
    tested_kind = "query" if drawn else "gallery"
    return [
        *_about(
            found,
            f"{tested_kind} pictures are copies of a query of the same identity, which any network finds first",
        ),
        *_about(leaked, "test pictures are copies of training pictures"),
        *_about(confused, "pictures are copies of a picture of another identity"),
    ]


def _found_by_copies(tested: Sequence[Record], drawn: bool) -> list[Record]:
    """Return those of some equal test pictures that are a match of another one that is a query."""
    queries = [record for record in tested if record.subset == "query"]
    asked = Counter(query.pid for query in queries)
    removed: Counter[tuple[int | str, int | None]] = Counter(
        (query.pid, query.camid) for query in queries if query.camid is not None
    )
    return [
        record
        for record in tested
        if drawn or record.subset == "gallery"
        # A picture that is a query itself is not its own match.
        if asked[record.pid] - removed[record.pid, record.camid] - (drawn and record.camid is None) > 0
    ]


def unusual_pictures(kinds: Sequence[tuple[Record, Kind]]) -> tuple[list[str], list[str]]:
    """Return problems and warnings about pictures that lose something when they are converted to 8-bit RGB."""
    warnings = [
        *_about(
            [record for record, kind in kinds if kind.rotated],
            "pictures have an EXIF orientation, which is ignored: they are used as they are stored",
        ),
        *_about(
            [record for record, kind in kinds if kind.transparent],
            "pictures have transparent pixels, but transparency is ignored: the colours behind it are used",
        ),
    ]
    deep = [(record, kind.grey_levels) for record, kind in kinds if kind.grey_levels is not None]
    faint = [record.path for record, levels in deep if levels < FAINT]
    if not faint:
        return [], warnings
    text = (
        f"pictures with 16-bit grey levels must have at least {FAINT} levels in their upper 8 bits, because the lower "
        f"8 bits are not used, but {len(faint):,} have fewer (scale them to 0 to 65,535): {_names(faint)}."
    )
    # A single picture may be dark. If all are, the camera has fewer bits than its files.
    return ([text], warnings) if len(faint) == len(deep) else ([], [*warnings, text])


def _about(records: Sequence[Record], text: str) -> list[str]:
    return [f"{len(records):,} {text}: {_names(record.path for record in records)}."] if records else []


def _names(names: Iterable[str]) -> str:
    names = sorted(map(printable, names))
    return ", ".join(names[:LISTED]) + (f" and {len(names) - LISTED:,} more" if len(names) > LISTED else "")
