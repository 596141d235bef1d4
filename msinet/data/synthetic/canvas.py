"""Drawing in units of the image's height, with the few shapes that persons and vehicles consist of."""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[float, float, float]  # red, green, blue, each 0 to 255
Point = tuple[float, float]  # right and down from the upper left corner

SUPERSAMPLING = 2  # pictures are drawn at twice the resolution, then averaged: edges are soft at little cost


def shade(colour: Colour, factor: float) -> Colour:
    """Return the colour in more light (factor above 1) or less light (below 1)."""
    return (colour[0] * factor, colour[1] * factor, colour[2] * factor)


def mix(first: Colour, second: Colour, weight: float) -> Colour:
    """Return a colour between two: the first at weight 0, the second at weight 1."""
    r, g, b = (one + (other - one) * weight for one, other in zip(first, second, strict=True))
    return (r, g, b)


def pick(random: np.random.Generator, choices: Sequence[Colour], jitter: float = 10.0) -> Colour:
    """Return one of the colours, changed a little, so that no two identities have exactly the same."""
    chosen = choices[int(random.integers(len(choices)))]
    r, g, b = (min(max(value + random.uniform(-jitter, jitter), 0.0), 255.0) for value in chosen)
    return (r, g, b)


class Canvas:
    """A picture to draw on; coordinates are in units of the image's height.

    Args:
        image: An RGB picture, `SUPERSAMPLING` times as large as the result.
    """

    def __init__(self, image: Image.Image) -> None:
        self.image = image
        self.unit = image.height
        self.width = image.width / image.height
        self._draw = ImageDraw.Draw(image)

    def polygon(self, points: Sequence[Point], colour: Colour) -> None:
        self._draw.polygon([self._pixel(point) for point in points], fill=_rgb(colour))

    def line(self, start: Point, end: Point, thickness: float, colour: Colour) -> None:
        width = max(round(thickness * self.unit), 1)
        self._draw.line([self._pixel(start), self._pixel(end)], fill=_rgb(colour), width=width)

    def rectangle(self, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        self._draw.rectangle([*self._pixel((left, top)), *self._pixel((right, bottom))], fill=_rgb(colour))

    def ellipse(self, centre: Point, half_width: float, half_height: float, colour: Colour) -> None:
        x, y = centre
        corners = (*self._pixel((x - half_width, y - half_height)), *self._pixel((x + half_width, y + half_height)))
        self._draw.ellipse(corners, fill=_rgb(colour))

    def limb(self, start: Point, end: Point, start_radius: float, end_radius: float, colour: Colour) -> None:
        """Draw a rounded, tapering piece of an arm or a leg."""
        (x0, y0), (x1, y1) = start, end
        length = math.hypot(x1 - x0, y1 - y0)
        if length > 1e-6:
            across_x, across_y = (y0 - y1) / length, (x1 - x0) / length
            self.polygon(
                [
                    (x0 + across_x * start_radius, y0 + across_y * start_radius),
                    (x1 + across_x * end_radius, y1 + across_y * end_radius),
                    (x1 - across_x * end_radius, y1 - across_y * end_radius),
                    (x0 - across_x * start_radius, y0 - across_y * start_radius),
                ],
                colour,
            )
        self.ellipse(start, start_radius, start_radius, colour)
        self.ellipse(end, end_radius, end_radius, colour)

    def patch(self, quad: Sequence[Point], u: Point, v: Point, colour: Colour) -> None:
        """Draw a part of a four-cornered surface, such as a stripe on a shirt or a window in a door.

        Args:
            quad: The corners: upper left, upper right, lower right, lower left.
            u, v: Start and end of the part, across and down the surface, each 0 to 1.
            colour: Colour of the part.
        """
        corners = [(u[0], v[0]), (u[1], v[0]), (u[1], v[1]), (u[0], v[1])]
        self.polygon([_inside(quad, across, down) for across, down in corners], colour)

    def _pixel(self, point: Point) -> tuple[int, int]:
        return (round(point[0] * self.unit), round(point[1] * self.unit))


def _inside(quad: Sequence[Point], u: float, v: float) -> Point:
    """Return the point of a four-cornered surface at u across and v down (bilinear)."""
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = quad
    upper, lower = (x0 + (x1 - x0) * u, y0 + (y1 - y0) * u), (x3 + (x2 - x3) * u, y3 + (y2 - y3) * u)
    return (upper[0] + (lower[0] - upper[0]) * v, upper[1] + (lower[1] - upper[1]) * v)


def _rgb(colour: Colour) -> tuple[int, int, int]:
    r, g, b = colour
    return (min(max(round(r), 0), 255), min(max(round(g), 0), 255), min(max(round(b), 0), 255))
