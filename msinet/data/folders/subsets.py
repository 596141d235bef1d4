"""Which of one's own pictures are for training, which are queries, and which are the gallery."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from msinet.data.folders.patterns import Seen
from msinet.data.records import sorted_pids

TRAIN, QUERY, GALLERY, TEST = "train", "query", "gallery", "test"
# What names of folders mean. Pictures of `test` are divided into queries and gallery if there are no queries.
SUBSET_WORDS = {
    **dict.fromkeys(("train", "training", "bounding_box_train", "image_train"), TRAIN),
    **dict.fromkeys(("query", "queries", "probe", "image_query"), QUERY),
    **dict.fromkeys(("gallery",), GALLERY),
    **dict.fromkeys(("test", "testing", "bounding_box_test", "image_test"), TEST),
}
EVERY = 3  # if no folder says what is for testing, one of so many identities is


@dataclass(frozen=True)
class Divided:
    """Pictures with their subsets.

    Attributes:
        pictures: Each picture with `train`, `query` or `gallery`, in the order of paths.
        unknown: Paths of pictures whose folder names no known subset.
        chosen: What was decided here because no name says it, one sentence each.
    """

    pictures: list[tuple[Seen, str]]
    unknown: list[str] = field(default_factory=list)
    chosen: list[str] = field(default_factory=list)


def divide(seen: Sequence[Seen]) -> Divided:
    """Divide pictures by the subsets that their paths name, or by identities if these do not name both sides.

    Without such names, every third identity in order is for testing. Test pictures without queries are divided by
    `split_queries`.
    """
    meaning = {picture.path: SUBSET_WORDS.get(picture.subset.lower()) for picture in seen}
    unknown = [picture.path for picture in seen if picture.subset and meaning[picture.path] is None]
    known = [picture for picture in seen if not picture.subset or meaning[picture.path]]
    groups = {name: [p for p in known if meaning[p.path] == name] for name in (TRAIN, QUERY, GALLERY, TEST)}
    chosen = []
    if groups[TRAIN] and (groups[QUERY] or groups[GALLERY] or groups[TEST]):
        train, test = groups[TRAIN], [*groups[QUERY], *groups[GALLERY], *groups[TEST]]
    else:
        order = sorted_pids(picture.identity for picture in known)
        tested = set(order[EVERY - 1 :: EVERY])
        train = [picture for picture in known if picture.identity not in tested]
        test = [picture for picture in known if picture.identity in tested]
        chosen.append(
            f"No names say which pictures are for testing: every third identity is ({len(tested):,} of {len(order):,})."
        )
    if groups[QUERY] and (groups[GALLERY] or groups[TEST]) and groups[TRAIN]:
        queries = {picture.path for picture in groups[QUERY]}
    else:
        queries = split_queries(test)
        chosen.append(
            "No names say which test pictures are queries: the first picture of each identity under each camera is, as "
            "long as another camera's picture of the identity stays in the gallery."
        )
    subset_of = {
        **{picture.path: TRAIN for picture in train},
        **{picture.path: QUERY if picture.path in queries else GALLERY for picture in test},
    }
    return Divided([(picture, subset_of[picture.path]) for picture in known], unknown, chosen)


def split_queries(test: Iterable[Seen]) -> set[str]:
    """Return the paths of the test pictures that become queries; the others are the gallery.

    The first picture of each identity under each camera becomes a query if every query of the identity then still has
    a picture in the gallery that another camera took, or any other picture where cameras are not known.
    """
    by_identity: dict[str, list[Seen]] = {}
    for picture in test:
        by_identity.setdefault(picture.identity, []).append(picture)
    queries: set[str] = set()
    for pictures in by_identity.values():
        taken: list[Seen] = []
        tried: set[str] = set()
        for picture in sorted(pictures, key=lambda p: p.path):
            if picture.camera in tried:
                continue
            tried.add(picture.camera)
            gallery = [p for p in pictures if p not in (*taken, picture)]
            if all(any(not p.camera or p.camera != q.camera for p in gallery) for q in (*taken, picture)):
                taken.append(picture)
        queries |= {picture.path for picture in taken}
    return queries
