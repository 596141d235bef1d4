"""How a vehicle's points appear in the picture: a projection from any side, scaled to the frame."""

import math

from msinet.data.synthetic.bodies import Body, Box, Corner
from msinet.data.synthetic.camera import View
from msinet.data.synthetic.canvas import Point


class Projection:
    """A vehicle's place in a picture.

    Args:
        body: Type of the vehicle.
        stretch: Factor of its length.
        view: Viewpoint of the image.
        width: Width of the picture; its height is 1.
    """

    def __init__(self, body: Body, stretch: float, view: View, width: float) -> None:
        self.body, self.stretch, self.view, self.width = body, stretch, view, width
        self.cos, self.sin = math.cos(view.yaw), math.sin(view.yaw)
        self.tilt, self.upright = math.sin(view.pitch), math.cos(view.pitch)
        self.roll_cos, self.roll_sin = math.cos(view.roll), math.sin(view.roll)
        self.x_scale = self.y_scale = 1.0
        self.centre: Point = (0.0, 0.0)
        self._fit()

    def _fit(self) -> None:
        """Scale the projected body to most of the frame; narrow views are widened a little, as crops are."""
        boxes = (self.body.lower, *self.body.upper)
        points = [self._project(corner) for box in boxes for corner in box.corners()]
        points += [self._project((axle, side * 0.9, 0.0)) for axle in self.body.axles for side in (-1, 1)]
        xs, ys = [x for x, _ in points], [y for _, y in points]
        width, height = max(xs) - min(xs), max(ys) - min(ys)
        x_scale, y_scale = 0.86 / width, 0.74 / height
        x_scale, y_scale = min(x_scale, y_scale * 1.3), min(y_scale, x_scale * 1.3)
        self.x_scale, self.y_scale = x_scale * self.view.scale, y_scale * self.view.scale
        self.centre = ((max(xs) + min(xs)) / 2, (max(ys) + min(ys)) / 2)

    def depth(self, corner: Corner) -> float:
        """Return how near to the camera a point is, along the ground."""
        forward, left, _ = corner
        return -left * self.cos - forward * self.stretch * self.sin

    def depth_of(self, box: Box) -> float:
        """Return how near to the camera the middle of a box is, along the ground."""
        return self.depth(((box.rear + box.front) / 2, 0, 0))

    def _project(self, corner: Corner) -> Point:
        """Project a point to metres in the picture, right and down, with a mild perspective."""
        forward, left, up = corner
        forward *= self.stretch
        right, near = forward * self.cos - left * self.sin, self.depth(corner)
        perspective = 1 / (1 - 0.03 * near)
        return (right * perspective, (near * self.tilt - up * self.upright) * perspective)

    def at(self, corner: Corner) -> Point:
        """Return where a point appears in the picture, whose height is 1."""
        x, y = self._project(corner)
        x, y = (x - self.centre[0]) * self.x_scale, (y - self.centre[1]) * self.y_scale
        x, y = x * self.roll_cos - y * self.roll_sin, x * self.roll_sin + y * self.roll_cos
        return (self.width / 2 + self.view.shift[0] + x, 0.52 + self.view.shift[1] + y)
