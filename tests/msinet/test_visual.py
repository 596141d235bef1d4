"""Pictures: their content compared with slow loops, and the pixels that matter."""

from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image
from support.networks import small_images
from support.pictures import items
from torch import nn

from msinet.data.packed import PackedDataset, write_shards
from msinet.genotype import LETTERS, OPERATIONS, PUBLISHED, Genotype
from msinet.metrics import RankingResult, evaluate_ranking
from msinet.models import build_model
from msinet.spaces import Space
from msinet.spaces.operations import LETTER_OF
from msinet.visual.activation_maps import ANCHORS, activation_map, colored, draw_activation_maps, overlaid
from msinet.visual.genotype_diagram import STYLES, genotype_svg
from msinet.visual.ranked_lists import (
    FRAME,
    RIGHT,
    WRONG,
    RankedImage,
    RankedList,
    draw_ranked_lists,
    most_different,
    pictures_of,
    top_ranked,
)
from msinet.visual.sheet import GREY, PALE

SVG = "{http://www.w3.org/2000/svg}"


def tied_retrieval(seed):
    """Return a retrieval whose embeddings are four numbers ±1, so nearly all similarities are exactly tied.

    Some images have no camera.
    """
    generator = np.random.default_rng(seed)
    embeddings = [generator.choice([-1.0, 1.0], (size, 4)) for size in (9, 50)]
    pids = [generator.integers(0, 5, size).tolist() for size in (9, 50)]
    camids = [[None if c == 3 else c for c in generator.integers(0, 4, size).tolist()] for size in (9, 50)]
    return *embeddings, *pids, *camids


def slow_list(query, k, query_embedding, gallery_embedding, query_pids, gallery_pids, query_camids, gallery_camids):
    """Return (gallery index, correct, similarity) of the first k images, by sorting."""
    pid, camid = query_pids[query], query_camids[query]
    similarity = [float(query_embedding[query] @ row) / 4 for row in gallery_embedding]
    kept = [
        g for g in range(len(gallery_pids)) if camid is None or (gallery_pids[g], gallery_camids[g]) != (pid, camid)
    ]
    ranked = sorted(kept, key=lambda g: -similarity[g])  # stable: ties keep the gallery's order
    return [(g, gallery_pids[g] == pid, similarity[g]) for g in ranked[:k]]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("k", [1, 7, 80])
def test_top_ranked_against_a_loop(seed, k):
    case = tied_retrieval(seed)
    lists = top_ranked(*case, queries=[4, 0, 8], k=k)
    assert [ranked.query for ranked in lists] == [4, 0, 8]
    for ranked in lists:
        found = [(image.index, image.correct, image.similarity) for image in ranked.images]
        assert found == slow_list(ranked.query, k, *case)


@pytest.mark.parametrize("remove_same_camera", [True, False])
def test_lists_are_what_the_scores_are_of(remove_same_camera):
    case = tied_retrieval(5)
    scores = evaluate_ranking(*case, remove_same_camera=remove_same_camera)
    lists = top_ranked(*case, queries=range(9), k=50, remove_same_camera=remove_same_camera)
    first = [[image.correct for image in ranked.images].index(True) + 1 for ranked in lists]
    assert first == scores.first_match_rank.tolist()
    assert any(len(ranked.images) < 50 for ranked in lists) == remove_same_camera


def test_few_images_left():
    two, points = np.eye(2), np.ones((1, 2))
    (ranked,) = top_ranked(points, two, [1], [1, 2], [0], [0, 0], [0])
    assert [(image.index, image.correct) for image in ranked.images] == [(1, False)]
    (ranked,) = top_ranked(points, two, ["a"], ["a", "a"], [0], [0, 0], [0])
    assert ranked.images == ()
    (ranked,) = top_ranked(points, two, ["a"], ["a", "a"], None, None, [0])
    assert [image.index for image in ranked.images] == [0, 1]


def test_top_ranked_errors():
    case = tied_retrieval(0)
    with pytest.raises(ValueError, match="`k` must be at least 1, but got 0"):
        top_ranked(*case, queries=[0], k=0)
    with pytest.raises(ValueError, match="`queries` must be positions 0 to 8, but got 9, -1"):
        top_ranked(*case, queries=[9, 3, -1])


def scores(*average_precision):
    average_precision = np.array(average_precision)
    return RankingResult(average_precision, average_precision, np.ones(len(average_precision), int), 1)


def test_most_different():
    nan = float("nan")
    a, b = scores(0.5, 0.75, nan, 1.0, 0.25, 0.5), scores(0.5, 0.25, nan, 0.25, 0.75, 0.5)
    assert most_different(a, b, 3) == most_different(b, a, 3) == [3, 1, 4]
    assert most_different(a, b, 9) == [3, 1, 4, 0, 5]
    with pytest.raises(ValueError, match="same queries, but got 6 and 1"):
        most_different(a, scores(1.0), 1)


def plain(color):
    return lambda index: Image.new("RGB", (20, 40), (*color, index))


def field_of(sheet, color):
    """Return the rectangle that a colour fills: (left, top, right, bottom), right and bottom exclusive."""
    rows, columns = np.nonzero((np.asarray(sheet) == color).all(-1))
    left, top, right, bottom = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    assert len(rows) == (right - left) * (bottom - top)
    return left, top, right, bottom


def assert_framed(sheet, field, color):
    pixels = np.asarray(sheet)
    left, top, right, bottom = field
    outer = pixels[top - FRAME : bottom + FRAME, left - FRAME : right + FRAME].copy()
    outer[FRAME:-FRAME, FRAME:-FRAME] = color
    assert (outer == color).all()
    assert (pixels[top - FRAME - 1, left:right] != color).any()


LISTS = {
    "one": [
        RankedList(3, (RankedImage(10, True, 0.9), RankedImage(11, False, 0.5), RankedImage(12, True, -0.25))),
        RankedList(1, (RankedImage(13, False, 0.75),)),
    ],
    "two": [RankedList(3, (RankedImage(14, False, 0.9),)), RankedList(1, (RankedImage(15, True, 0.8),))],
}


def test_frames_and_order_of_a_sheet():
    sheet = draw_ranked_lists(LISTS, plain((200, 0)), plain((0, 200)), size_HW=(60, 30))
    fields = {}
    for lists in LISTS.values():
        for ranked in lists:
            fields[ranked.query] = field_of(sheet, (200, 0, ranked.query))
            assert_framed(sheet, fields[ranked.query], GREY)
            for image in ranked.images:
                fields[image.index] = field_of(sheet, (0, 200, image.index))
                assert_framed(sheet, fields[image.index], RIGHT if image.correct else WRONG)
    assert {(right - left, bottom - top) for left, top, right, bottom in fields.values()} == {(30, 60)}
    lefts, tops = ({index: int(field[axis]) for index, field in fields.items()} for axis in (0, 1))
    assert lefts[3] == lefts[1] < lefts[10] < lefts[11] < lefts[12]
    assert lefts[10] == lefts[13] == lefts[14] == lefts[15]
    assert tops[3] == tops[10] == tops[11] == tops[12] < tops[14] < tops[1] == tops[13] < tops[15]


def test_a_sheet_is_drawn_around_missing_pictures():
    def broken(index):
        if index == 10:
            raise OSError("gone")
        return None if index == 11 else plain((0, 200))(index)

    whole = draw_ranked_lists(LISTS, plain((200, 0)), plain((0, 200)))
    sheet = draw_ranked_lists(LISTS, lambda index: None, broken)
    assert sheet.size == whole.size
    for index, color in ((10, RIGHT), (11, WRONG)):
        left, top, right, bottom = field_of(whole, (0, 200, index))
        assert_framed(sheet, (left, top, right, bottom), color)
        assert (np.asarray(sheet)[top + 5, (left + right) // 2] == PALE).all()
    assert field_of(sheet, (0, 200, 12)) == field_of(whole, (0, 200, 12))
    empty = draw_ranked_lists({"one": [RankedList(0, ())]}, broken, broken)
    assert empty.height < sheet.height


def test_sheets_are_the_same_each_time():
    sheets = [draw_ranked_lists(LISTS, plain((200, 0)), plain((0, 200))) for _ in range(2)]
    assert sheets[0].tobytes() == sheets[1].tobytes()


def test_ranked_lists_must_fit():
    for lists in ({}, {"one": []}):
        with pytest.raises(ValueError, match="must have a model and a query"):
            draw_ranked_lists(lists, plain((200, 0)), plain((0, 200)))
    with pytest.raises(ValueError, match=r"same queries, but got \[\[3, 1\], \[3\]\]"):
        draw_ranked_lists({**LISTS, "two": LISTS["two"][:1]}, plain((200, 0)), plain((0, 200)))


def test_pictures_of_a_packed_dataset(tmp_path):
    write_shards(items(2, 2, "gallery") + items(1, 2, "query"), tmp_path)
    packed = PackedDataset(tmp_path)
    query = pictures_of(packed, packed.subset("query"))(1)
    assert query.size == (16, 32)
    # The gallery's second picture is the same.
    assert query.tobytes() == pictures_of(packed, packed.subset("gallery"))(1).tobytes()
    sheet = draw_ranked_lists(LISTS, pictures_of(packed, packed.subset("query")), pictures_of(packed, [0]))
    assert sheet.width > 3 * 64  # most of its pictures do not exist, but have their places


class Peaks(nn.Module):
    """A network that returns a hand-made last map."""

    def __init__(self, feature_map_BChw):
        super().__init__()
        self.feature_map_BChw = feature_map_BChw

    def feature_map(self, images_BCHW):
        assert not self.training
        return self.feature_map_BChw


def test_a_peak_lands_where_it_is():
    feature_map = torch.zeros(3, 2, 4, 2)
    feature_map[0, 0, 1, 0], feature_map[0, 1, 3, 1] = -3, 2  # squared: 9 and 4
    feature_map[1, :, 2, 1] = 5
    feature_map[2] = 7
    maps = activation_map(Peaks(feature_map), torch.zeros(3, 3, 64, 32))
    assert maps.shape == (3, 64, 32)
    assert maps[0, 16:32, :16].max() == maps[0].max() == 1
    assert maps[0, 24, 7] > 0.9  # the centre of the position
    # No pixel has its centre at the centre of the position; the nearest one is 1/32 of a position away.
    assert maps[0, 63, 31] == pytest.approx(4 / (9 * 31 / 32))
    assert maps[1].argmax() // 32 in range(32, 48)
    assert maps[1].argmax() % 32 in range(16, 32)
    assert maps[:2].amin((1, 2)).tolist() == [0, 0]
    assert not maps[2].any()


def slow_map(energy, H, W):
    """Interpolate bilinearly between the centres of positions, constant beyond the outermost, scaled to 0..1."""

    def at(values, place):
        place = min(max(place, 0), len(values) - 1)
        low = min(int(place), len(values) - 2)
        return values[low] + (place - low) * (values[low + 1] - values[low])

    h, w = len(energy), len(energy[0])
    rows = [[at(row, (x + 0.5) * w / W - 0.5) for x in range(W)] for row in energy]
    pixels = [[at([row[x] for row in rows], (y + 0.5) * h / H - 0.5) for x in range(W)] for y in range(H)]
    low, high = min(map(min, pixels)), max(map(max, pixels))
    return [[(pixel - low) / (high - low) for pixel in row] for row in pixels]


@pytest.mark.parametrize(
    ("name", "options"), [("msinet", {"genotype": "MSINet", "num_classes": 0}), ("resnet50", {}), ("osnet", {})]
)
def test_every_network_has_maps(name, options):
    torch.manual_seed(0)
    model = build_model(name, **{"num_classes": 3, **options})
    images = small_images(2)
    maps = activation_map(model, images)
    assert maps.shape == (2, 64, 32)
    assert not maps.requires_grad
    assert maps.amin((1, 2)).tolist() == [0, 0]
    assert maps.amax((1, 2)).tolist() == [1, 1]
    assert torch.equal(maps, activation_map(model, images))
    feature_map = model.feature_map(images).detach()
    expected = torch.tensor(slow_map(feature_map[1].square().sum(0).tolist(), 64, 32))
    torch.testing.assert_close(maps[1], expected, rtol=1e-4, atol=1e-5)
    if options.get("num_classes") != 0:
        assert torch.equal(model(images).feature_map, feature_map)


def test_colors_grow_lighter():
    steps = colored(np.linspace(0, 1, 101))
    assert steps.shape == (101, 3)
    assert (steps[0].tolist(), steps[20].tolist(), steps[-1].tolist()) == tuple(
        list(ANCHORS[i]) for i in (0, 1, len(ANCHORS) - 1)
    )
    luminance = steps @ [0.2126, 0.7152, 0.0722]
    assert all(before < after for before, after in pairwise(luminance))


def test_maps_lie_over_the_pictures():
    maps = torch.zeros(2, 64, 32)
    maps[1] = 1
    sheet = draw_activation_maps([Image.new("RGB", (7, 9), (10, 200, 30)), None], {"MSINet": maps}, height=120)
    left, top, right, bottom = field_of(sheet, (10, 200, 30))
    assert (right - left, bottom - top) == (60, 120)
    shown = overlaid(Image.new("RGB", (60, 120), (10, 200, 30)), maps[0].numpy()).getpixel((0, 0))
    assert field_of(sheet, shown)[::2] == (left, right)  # the map is below its picture
    assert field_of(sheet, shown)[1] > bottom
    bright = np.asarray(sheet)[field_of(sheet, shown)[1] + 20, right + 6 + 30]  # the map over the crossed-out field
    assert bright.sum() > sum(shown)


def test_maps_must_fit():
    images = [Image.new("RGB", (8, 8))]
    for maps in ({}, {"a": torch.zeros(2, 8, 8)}, {"a": torch.zeros(1, 8, 8), "b": torch.zeros(1, 8, 4)}):
        with pytest.raises(ValueError, match="a map for each of 1 pictures"):
            draw_activation_maps(images, maps)


@pytest.mark.parametrize("letters", ["NGAENGAENGAE", *(genotype.letters for genotype in PUBLISHED.values())])
def test_a_diagram_shows_twelve_interactions_in_order(letters):
    document = ElementTree.fromstring(genotype_svg(letters))
    assert document.tag == f"{SVG}svg"
    groups = [group for group in document.iter(f"{SVG}g") if group.get("data-slot")]
    operations = [OPERATIONS[LETTERS.index(letter)] for letter in letters]
    assert [group.get("data-slot") for group in groups] == [str(slot) for slot in range(1, 13)]
    assert [group.get("data-operation") for group in groups] == operations
    lefts = [float(group.find(f"{SVG}rect").get("x")) for group in groups]
    assert lefts == sorted(set(lefts))
    for group, letter, operation in zip(groups, letters, operations, strict=True):
        assert next(text.text for text in group.iter(f"{SVG}text")) == letter
        assert group.find(f"{SVG}rect").get("stroke") == STYLES[operation].color
    assert float(document.get("width")) > lefts[-1] + 100
    legend = [text.text for text in document.findall(f"{SVG}text")]
    assert all(STYLES[operation].meaning in legend for operation in OPERATIONS)
    assert {"256 channels, H/4 × W/4", "384 channels, H/8 × W/8", "512 channels, H/16 × W/16"} <= set(legend)


def test_diagrams_of_other_spaces_show_their_branches_operations_and_norms():
    operations = tuple(LETTER_OF)
    space = Space("mine", (operations,) * 12, (3, 5, 9), 0.5, (2, 3))
    genotype = Genotype("NGAESCPLMNGA", space)
    document = ElementTree.fromstring(genotype_svg(genotype))
    groups = [group for group in document.iter(f"{SVG}g") if group.get("data-slot")]
    assert [group.get("data-operation") for group in groups] == list(genotype.operations)
    texts = [text.text for text in document.iter(f"{SVG}text")]
    assert [texts.count(scale) for scale in ("5", "9")] == [13, 13]  # two in each cell, and one slot of this number
    assert texts.count("IN") == 2
    assert "32 channels, H/4 × W/4" not in texts
    assert "128 channels, H/4 × W/4" in texts
    assert all(STYLES[operation].meaning in texts for operation in operations)
    assert "mine:NGAESCPLMNGA" in document.get("aria-label")
    lines = {group.get("data-operation"): group.find(f"{SVG}path").get("d").count("M") for group in groups}
    assert lines == dict.fromkeys(operations, 3) | {"sum": 9, "to_larger": 5, "to_smaller": 5}
    assert float(document.get("height")) > float(ElementTree.fromstring(genotype_svg("MSINet")).get("height")) + 56


def test_a_diagram_escapes_its_title_and_stands_alone():
    title = """<script>alert("1")</script> & 'Zoë' \x00\n"""
    text = genotype_svg(PUBLISHED["MSINet"], title)
    document = ElementTree.fromstring(text)
    assert """<script>alert("1")</script> & 'Zoë' """ in "".join(document.itertext())
    assert "<script" not in text
    assert not any(element.get("id") or element.tag in (f"{SVG}style", f"{SVG}image") for element in document.iter())
    assert "href" not in text
    assert "url(" not in text


def test_diagrams_differ_by_genotype_alone():
    assert genotype_svg("MSINet") == genotype_svg(PUBLISHED["MSINet"])
    assert genotype_svg("MSINet") != genotype_svg("MSINet-VR")
    with pytest.raises(ValueError, match="12 letters"):
        genotype_svg("GGX")


def test_huge_activations_do_not_overflow() -> None:
    class Huge(torch.nn.Module):
        def feature_map(self, images_BCHW: torch.Tensor) -> torch.Tensor:
            return 1e30 * images_BCHW[:, :1, ::4, ::4]

    maps = activation_map(Huge(), torch.rand(2, 3, 16, 8, generator=torch.Generator().manual_seed(0)))
    assert maps.isfinite().all()
    assert maps.amax() == 1
