"""Sheets of pictures and text. A sheet is a picture itself, so it can be part of a larger sheet."""

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

Color = tuple[int, int, int]

WHITE: Color = (255, 255, 255)
INK: Color = (33, 37, 41)
GREY: Color = (108, 117, 125)
PALE: Color = (222, 226, 230)

TITLE_SIZE, LABEL_SIZE = 15, 11  # size of letters, in pixels
MARGIN = 16


def text(line: str, size: float = TITLE_SIZE, color: Color = INK) -> Image.Image:
    """Draw one line of text. An empty line keeps its height."""
    font = ImageFont.load_default(size)
    line = " ".join(line.split())
    height = math.ceil(1.4 * size)
    picture = Image.new("RGB", (max(1, math.ceil(font.getlength(line))), height), WHITE)
    ImageDraw.Draw(picture).text((0, height / 2), line, fill=color, font=font, anchor="lm")
    return picture


def scaled(picture: Image.Image | None, size_HW: tuple[int, int]) -> Image.Image:
    """Return the picture in RGB, resized to (height, width) in pixels, or a crossed-out field if it is None."""
    H, W = size_HW
    if picture is not None:
        return picture.convert("RGB").resize((W, H), Image.Resampling.BILINEAR)
    field = Image.new("RGB", (W, H), PALE)
    draw = ImageDraw.Draw(field)
    draw.line((0, 0, W, H), fill=WHITE, width=2)
    draw.line((0, H, W, 0), fill=WHITE, width=2)
    return field


def framed(picture: Image.Image, color: Color, width: int) -> Image.Image:
    """Draw a frame of `width` pixels around the picture."""
    frame = Image.new("RGB", (picture.width + 2 * width, picture.height + 2 * width), color)
    frame.paste(picture, (width, width))
    return frame


def beside(parts: Sequence[Image.Image], gap: int = 0) -> Image.Image:
    """Put the parts in a row from left to right, aligned at the top."""
    width = sum(part.width for part in parts) + gap * (len(parts) - 1)
    sheet = Image.new("RGB", (width, max(part.height for part in parts)), WHITE)
    left = 0
    for part in parts:
        sheet.paste(part, (left, 0))
        left += part.width + gap
    return sheet


def stacked(parts: Sequence[Image.Image], gap: int = 0, *, centered: bool = False) -> Image.Image:
    """Put the parts in a column from top to bottom, aligned on the left or centred."""
    width = max(part.width for part in parts)
    sheet = Image.new("RGB", (width, sum(part.height for part in parts) + gap * (len(parts) - 1)), WHITE)
    top = 0
    for part in parts:
        sheet.paste(part, ((width - part.width) // 2 if centered else 0, top))
        top += part.height + gap
    return sheet
