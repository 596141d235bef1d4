import ast
import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.pictures import encoded, jpeg

from msinet.data import DataError
from msinet.data.packed import decode_rgb
from msinet.data.pictures import FORMATS, LARGEST, as_rgb, decode, kind_of, read_picture

ROOT = Path(__file__).parents[2]
RAMP_HW = np.tile(np.arange(256, dtype=np.uint8), (8, 1))
PLAIN = Image.fromarray(np.dstack([RAMP_HW, RAMP_HW[:, ::-1], RAMP_HW // 2]))


def lossless(format_name: str) -> bytes:
    """Return the bytes of `PLAIN` in a format."""
    return encoded(PLAIN, format_name, **({"lossless": True} if format_name == "WEBP" else {}))


@pytest.mark.parametrize("format_name", ["PNG", "BMP", "WEBP"])
def test_formats_without_loss_give_the_stored_colours(format_name: str) -> None:
    image = decode(lossless(format_name), "a")
    np.testing.assert_array_equal(as_rgb(image), PLAIN)
    assert kind_of(image).mode == "RGB"


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_ordinary_jpegs_are_decoded_as_pillow_does(mode: str) -> None:
    data = jpeg(3, mode=mode)
    np.testing.assert_array_equal(as_rgb(decode(data, "a")), Image.open(io.BytesIO(data)).convert("RGB"))


def test_grey_levels_of_16_bits_keep_their_upper_8() -> None:
    levels_HW = RAMP_HW.astype(np.uint16) * 256 + 255 - RAMP_HW
    image = decode(encoded(Image.fromarray(levels_HW), "PNG"), "a")
    np.testing.assert_array_equal(as_rgb(image), np.dstack([RAMP_HW] * 3))
    np.testing.assert_array_equal(
        decode_rgb(encoded(Image.fromarray(levels_HW), "PNG"), "a", (8, 256))[..., 1], RAMP_HW
    )
    assert kind_of(image).grey_levels == 256
    # Older versions of Pillow open such files in this mode.
    old = Image.fromarray(levels_HW.astype(np.int32))
    assert old.mode == "I"
    np.testing.assert_array_equal(as_rgb(old), np.dstack([RAMP_HW] * 3))


@pytest.mark.parametrize(
    ("image", "options", "transparent"),
    [
        (Image.new("RGBA", (4, 4), (9, 9, 9, 255)), {}, False),
        (Image.new("RGBA", (4, 4), (9, 9, 9, 254)), {}, True),
        (Image.new("LA", (4, 4), (9, 0)), {}, True),
        (Image.new("P", (4, 4)), {}, False),
        (Image.new("P", (4, 4)), {"transparency": 0}, True),
        (Image.new("L", (4, 4), 3), {"transparency": 3}, True),
        (Image.new("L", (4, 4), 3), {"transparency": 4}, False),
        (Image.new("RGB", (4, 4), (1, 2, 3)), {"transparency": (1, 2, 3)}, True),
    ],
)
def test_transparent_pixels_are_seen(image: Image.Image, options: dict[str, object], transparent: bool) -> None:
    assert kind_of(decode(encoded(image, "PNG", **options), "a")).transparent is transparent


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(("orientation", "rotated"), [(1, False), (6, True), (9, False)])
def test_an_exif_orientation_is_seen(format_name: str, orientation: int, rotated: bool) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert kind_of(decode(encoded(PLAIN, format_name, exif=exif), "a")).rotated is rotated


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_data_do_no_harm() -> None:
    assert not kind_of(decode(encoded(PLAIN, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\xff"), "a")).rotated


@pytest.mark.parametrize("format_name", ["EPS", "TIFF", "GIF", "PPM", "ICO", "JPEG2000"])
def test_other_formats_are_refused(format_name: str) -> None:
    with pytest.raises(DataError) as caught:
        decode(encoded(PLAIN, format_name), "folder/a.jpg")
    assert str(caught.value) == (
        "an image must be a file in one of the formats JPEG, PNG, BMP, WEBP, but folder/a.jpg is damaged or of another "
        "kind: convert it, for example to PNG."
    )


def test_no_program_is_started_for_a_picture(tmp_path: Path) -> None:
    program = tmp_path / "gs"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    program.chmod(0o755)
    (tmp_path / "a.jpg").write_bytes(encoded(PLAIN, "EPS"))
    code = (
        "from pathlib import Path; import sys; from msinet.data.pictures import *\n"
        "print(Image.open(sys.argv[1]).format)\n"
        "try: decode(Path(sys.argv[1]).read_bytes(), 'a.jpg')\n"
        "except ValueError: print('refused')\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.jpg")],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stdout == "EPS\nrefused\n", ran.stderr
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize("package", ["msinet", "pipeline", "benchmarks"])
def test_pictures_are_opened_with_a_list_of_formats_everywhere(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Image.open"):
                given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                assert given.get("formats") in ("FORMATS", "['PNG']"), f"{path}:{node.lineno}"
    assert "EPS" not in FORMATS


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(0))
    (tmp_path / "link.jpg").symlink_to("a.jpg")
    assert read_picture(tmp_path, "a.jpg") == read_picture(tmp_path, "link.jpg") == jpeg(0)
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "pipe-link.jpg").symlink_to("pipe.jpg")
    (tmp_path / "endless.jpg").symlink_to("/dev/zero")
    (tmp_path / "folder.jpg").mkdir()
    for name in ("pipe.jpg", "pipe-link.jpg", "endless.jpg", "folder.jpg"):
        with pytest.raises(DataError, match=f"must be a regular file, but {name} is another kind of file"):
            read_picture(tmp_path, name)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").symlink_to("a.jpg")
    (tmp_path / "huge.jpg").touch()
    os.truncate(tmp_path / "huge.jpg", LARGEST + 1)
    for name, reason in [
        ("none.jpg", r"must be readable, but none.jpg is not: No such file or directory\.$"),
        ("HUGE.jpg", r"must be readable, but HUGE.jpg is not: No such file or directory\. Did you mean huge.jpg\?$"),
        ("a.jpg", "must be readable, but a.jpg is not: Too many levels"),
        ("a\0.jpg", r"must be readable, but a\\x00.jpg is not: embedded null"),
        ("huge.jpg", "at most 268,435,456 bytes, but huge.jpg has 268,435,457"),
    ]:
        with pytest.raises(DataError, match=reason):
            read_picture(tmp_path, name)
