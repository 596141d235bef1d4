"""Vehicles: bodies of a few tapering boxes, projected from any side, with paint and fittings that stay the same."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from msinet.data.synthetic.bodies import BODIES, Box, Corner
from msinet.data.synthetic.camera import View
from msinet.data.synthetic.canvas import Canvas, Colour, Point, mix, pick, shade
from msinet.data.synthetic.domains import Domain
from msinet.data.synthetic.projection import Projection

_CIRCLE = [(math.cos(2 * math.pi * step / 14), math.sin(2 * math.pi * step / 14)) for step in range(14)]

Quad = list[Point]


SCHEMES = ("plain", "plain", "plain", "roof", "sill", "stripe", "bonnet")
DECALS = ("none", "none", "band", "sign", "dots", "doors")
FITTINGS = ("rack", "box", "sunroof", "light")
RIMS: tuple[Colour, ...] = ((200, 202, 206), (70, 70, 74), (150, 130, 90), (236, 236, 236))


@dataclass(frozen=True)
class Vehicle:
    """One identity: the properties of a vehicle that are the same under all cameras."""

    kind: str
    stretch: float
    paint: Colour
    second: Colour
    scheme: str
    decal: str
    decal_colour: Colour
    decal_at: float
    glass: Colour
    fitting: str
    rim: Colour
    spokes: int
    bumper: Colour
    wide_lamps: bool


def sample_vehicle(domain: Domain, random: np.random.Generator) -> Vehicle:
    """Sample a vehicle that can occur in this domain."""
    weights = np.array(list(domain.kinds.values()), dtype=float)
    paint = pick(random, domain.primary)
    tinted: tuple[Colour, ...] = ((26, 28, 34), (50, 44, 40))
    clear: tuple[Colour, ...] = ((120, 146, 160), (90, 110, 116))
    return Vehicle(
        kind=str(random.choice(list(domain.kinds), p=weights / weights.sum())),
        stretch=random.uniform(0.92, 1.1),
        paint=paint,
        second=pick(random, domain.secondary),
        scheme=str(random.choice(SCHEMES)),
        decal=str(random.choice(DECALS)),
        decal_colour=pick(random, domain.secondary),
        decal_at=random.uniform(0.15, 0.6),
        glass=pick(random, clear if random.random() < domain.short else tinted, 6),
        fitting=str(random.choice(FITTINGS)) if random.random() < domain.carried else "none",
        rim=pick(random, RIMS),
        spokes=int(random.choice([0, 4, 6])),
        bumper=(44, 44, 48) if random.random() < 0.4 else shade(paint, 0.92),
        wide_lamps=random.random() < 0.5,
    )


def draw_vehicle(canvas: Canvas, vehicle: Vehicle, view: View, random: np.random.Generator, lamps: bool) -> None:
    """Draw the vehicle, fitted into the picture as a detector's crop would be.

    Args:
        canvas: Canvas to draw on.
        vehicle: Vehicle to draw.
        view: Viewpoint of the image.
        random: Decides what changes between pictures: whether the vehicle brakes.
        lamps: Whether the vehicle's lamps are on.
    """
    _Model(canvas, vehicle, view, lamps, braking=random.random() < 0.3).draw()


class _Model:
    """One drawing of a vehicle: its parts from the ground up."""

    def __init__(self, canvas: Canvas, vehicle: Vehicle, view: View, lamps: bool, braking: bool) -> None:
        self.canvas, self.vehicle, self.view = canvas, vehicle, view
        self.lamps, self.braking = lamps, braking
        self.body = BODIES[vehicle.kind]
        self.projection = Projection(self.body, vehicle.stretch, view, canvas.width)

    def draw(self) -> None:
        lower = self.body.lower
        self._shadow()
        self._wheels(near=False)
        self._box(lower, self._lower_side, self._lower_end, self._bonnet)
        self._wheels(near=True)
        for box in sorted(self.body.upper, key=self.projection.depth_of):
            self._box(box, self._upper_side, self._upper_end, self._roof)

    def _shadow(self) -> None:
        box = self.body.lower
        r, f, w = box.rear - 0.15, box.front + 0.15, box.half_width + 0.15
        ground: list[Corner] = [(r, w, 0), (f, w, 0), (f, -w, 0), (r, -w, 0)]
        self.canvas.polygon([self.projection.at(corner) for corner in ground], (34, 34, 38))

    def _light(self, across: float) -> float:
        """Return the light on a side whose outside points this far to the right of the picture (-1 to 1)."""
        return 0.9 + 0.14 * across * self.view.light

    def _box(
        self,
        box: Box,
        side: Callable[[Quad, Box, float, bool], None],
        end: Callable[[Quad, Box, float, bool], None],
        top: Callable[[Quad, Box], None],
    ) -> None:
        """Draw the visible faces of a box.

        The functions draw one face each. `side` and `end` also get the face's light, and whether it is the left side or
        the front end.
        """
        (rlb, flb, frb, rrb), (rlt, flt, frt, rrt) = (
            [self.projection.at(corner) for corner in box.corners()[start : start + 4]] for start in (0, 4)
        )
        # The corners of a quad are upper left, upper right, lower right, lower left; u goes from the rear to the front
        # on sides, and from the vehicle's right to its left on ends.
        faces = [
            (_seen([flt, rlt, rlb, flb]), side, [rlt, flt, flb, rlb], -self.projection.sin, True),
            (_seen([rrt, frt, frb, rrb]), side, [rrt, frt, frb, rrb], self.projection.sin, False),
            (_seen([frt, flt, flb, frb]), end, [frt, flt, flb, frb], self.projection.cos, True),
            (_seen([rlt, rrt, rrb, rlb]), end, [rrt, rlt, rlb, rrb], -self.projection.cos, False),
        ]
        for seen, draw, quad, across, flag in faces:
            if seen:
                draw(quad, box, self._light(across), flag)
        top([rlt, flt, frt, rrt], box)

    def _lower_side(self, quad: Quad, box: Box, light: float, left: bool) -> None:
        vehicle, patch = self.vehicle, self.canvas.patch
        self.canvas.polygon(quad, shade(vehicle.paint, light))
        if vehicle.scheme == "sill":
            patch(quad, (0, 1), (0.5, 1), shade(vehicle.second, light))
        patch(quad, (0, 0.04), (0.45, 1), shade(vehicle.bumper, light))
        patch(quad, (0.95, 1), (0.45, 1), shade(vehicle.bumper, light))
        patch(quad, (0, 1), (0.88, 1), (48, 48, 52))
        for u in (0.3, 0.5, 0.7):
            patch(quad, (u, u + 0.006), (0.05, 0.88), shade(vehicle.paint, 0.6 * light))
        self._decal(quad, light)

    def _decal(self, quad: Quad, light: float) -> None:
        vehicle, patch = self.vehicle, self.canvas.patch
        colour, at = shade(vehicle.decal_colour, light), vehicle.decal_at
        if vehicle.decal == "band":
            patch(quad, (0.03, 0.97), (0.16, 0.36), colour)
        elif vehicle.decal == "sign":
            patch(quad, (at, at + 0.25), (0.1, 0.65), colour)
            patch(
                quad, (at + 0.04, at + 0.21), (0.3, 0.45), shade(mix(vehicle.decal_colour, vehicle.paint, 0.8), light)
            )
        elif vehicle.decal == "dots":
            for step in range(6):
                patch(quad, (0.12 + 0.13 * step, 0.19 + 0.13 * step), (0.15, 0.45), colour)
        elif vehicle.decal == "doors":
            patch(quad, (0.3, 0.7), (0, 0.88), colour)

    def _lower_end(self, quad: Quad, box: Box, light: float, front: bool) -> None:
        vehicle, patch = self.vehicle, self.canvas.patch
        self.canvas.polygon(quad, shade(vehicle.paint, light))
        if vehicle.scheme == "stripe":
            patch(quad, (0.36, 0.64), (0, 0.6), shade(vehicle.second, light))
        patch(quad, (0, 1), (0.62, 1), shade(vehicle.bumper, light))
        patch(quad, (0.38, 0.62), (0.64, 0.8), (226, 222, 200))
        if front:
            patch(quad, (0.3, 0.7), (0.2, 0.55), (40, 42, 46))
        for u in (0.0, 1.0):
            self._lamp(quad, u, front)

    def _lamp(self, quad: Quad, u: float, front: bool) -> None:
        size = 0.26 if self.vehicle.wide_lamps else 0.16
        start, end = (u, u + size) if u == 0 else (u - size, u)
        bright = self.lamps or (self.braking and not front)
        colour: Colour = (255, 250, 220) if front else (255, 40, 30)
        colour = colour if bright else shade(colour, 0.75 if front else 0.6)
        top, bottom = (0.16, 0.42) if self.vehicle.wide_lamps else (0.1, 0.55)
        self.canvas.patch(quad, (start, end), (top, bottom), colour)
        if self.lamps and front:
            (x0, y0), (x1, y1) = quad[0 if u == 0 else 1], quad[3 if u == 0 else 2]
            self.canvas.ellipse((x0 + 0.3 * (x1 - x0), y0 + 0.3 * (y1 - y0)), 0.045, 0.045, (255, 252, 236))

    def _bonnet(self, quad: Quad, box: Box) -> None:
        vehicle, patch = self.vehicle, self.canvas.patch
        self.canvas.polygon(quad, shade(vehicle.paint, 1.1))
        if vehicle.scheme == "bonnet":
            patch(quad, (0.72, 1), (0, 1), shade(vehicle.second, 1.1))
        if vehicle.scheme == "stripe":
            patch(quad, (0, 1), (0.36, 0.64), shade(vehicle.second, 1.1))
        if vehicle.kind == "pickup":
            patch(quad, (0.03, 0.4), (0.1, 0.9), (50, 50, 54))

    def _upper_side(self, quad: Quad, box: Box, light: float, left: bool) -> None:
        vehicle, patch = self.vehicle, self.canvas.patch
        cargo = vehicle.kind == "truck" and box.front < 2
        self.canvas.polygon(quad, shade(self._cabin_paint(cargo), light))
        if cargo:
            at = vehicle.decal_at
            patch(quad, (0.02, 0.98), (0.9, 1), shade(vehicle.paint, light))
            if vehicle.decal != "none":
                patch(quad, (at, at + 0.35), (0.2, 0.6), shade(vehicle.decal_colour, light))
            return
        windows, first = self.body.windows, 0.5 if vehicle.kind == "van" else 0.06
        step = (0.94 - first) / windows
        for index in range(windows):
            start = first + index * step
            patch(
                quad, (start, start + step * 0.88), (0.14, 0.72 if box.top > 2 else 0.92), shade(vehicle.glass, light)
            )

    def _upper_end(self, quad: Quad, box: Box, light: float, front: bool) -> None:
        cargo = self.vehicle.kind == "truck" and box.front < 2
        self.canvas.polygon(quad, shade(self._cabin_paint(cargo), light))
        if not cargo:
            self.canvas.patch(quad, (0.08, 0.92), (0.1, 0.9 if front else 0.75), shade(self.vehicle.glass, light * 1.1))

    def _cabin_paint(self, cargo: bool) -> Colour:
        return self.vehicle.second if cargo else self.vehicle.paint

    def _roof(self, quad: Quad, box: Box) -> None:
        vehicle, patch = self.vehicle, self.canvas.patch
        cargo = vehicle.kind == "truck" and box.front < 2
        colour = vehicle.second if vehicle.scheme == "roof" else self._cabin_paint(cargo)
        self.canvas.polygon(quad, shade(colour, 1.12))
        if cargo:
            return
        if vehicle.scheme == "stripe":
            patch(quad, (0, 1), (0.36, 0.64), shade(vehicle.second, 1.12))
        if vehicle.fitting == "sunroof":
            patch(quad, (0.35, 0.85), (0.2, 0.8), (30, 32, 40))
        elif vehicle.fitting == "rack":
            for v in (0.05, 0.85):
                patch(quad, (0.05, 0.95), (v, v + 0.1), (30, 30, 32))
            for u in (0.2, 0.75):
                patch(quad, (u, u + 0.07), (0, 1), (30, 30, 32))
        elif vehicle.fitting in ("box", "light"):
            self._on_roof(box)

    def _on_roof(self, box: Box) -> None:
        """Draw a luggage box along the roof, or a sign or warning light across it."""
        middle, length = (box.top_rear + box.top_front) / 2, box.top_front - box.top_rear
        along = self.vehicle.fitting == "box"
        half = min(0.4 * length, 0.9) if along else 0.12
        wide, tall = (0.35, 0.32) if along else (0.45, 0.2)
        colour: Colour = (60, 62, 68) if along else (250, 190, 50)
        rear, front = middle - half, middle + half
        item = Box(rear, front, rear + 0.1 * half, front - 0.1 * half, wide, 0.85 * wide, box.top, box.top + tall)

        def face(quad: Quad, _box: Box, light: float, _flag: bool) -> None:
            self.canvas.polygon(quad, shade(colour, light))

        def top(quad: Quad, _box: Box) -> None:
            self.canvas.polygon(quad, shade(colour, 1.15))

        self._box(item, face, face, top)

    def _wheels(self, near: bool) -> None:
        """Draw the wheels of the near or the far side; far ones are drawn before the body, near ones after it."""
        radius = self.body.wheel
        for side in (-1, 1):
            if (-side * self.projection.cos > 0) != near:
                continue
            y = side * (self.body.lower.half_width + (0.02 if near else -0.1))
            for axle in self.body.axles:
                self.canvas.polygon(self._circle(axle, y, radius), (22, 22, 24))
                if near:
                    self._rim(axle, y)

    def _rim(self, axle: float, y: float) -> None:
        vehicle, radius = self.vehicle, self.body.wheel
        self.canvas.polygon(self._circle(axle, y, radius * 0.62), vehicle.rim)
        hub = self.projection.at((axle, y, radius))
        for spoke in range(vehicle.spokes):
            angle = 2 * math.pi * spoke / vehicle.spokes
            tip = (axle + 0.6 * radius * math.cos(angle), y, radius + 0.6 * radius * math.sin(angle))
            self.canvas.line(hub, self.projection.at(tip), 0.012, shade(vehicle.rim, 0.4))

    def _circle(self, axle: float, y: float, radius: float) -> list[Point]:
        """Return a circle around the wheel's centre, which is one wheel radius above the ground for every `radius`."""
        middle = self.body.wheel
        return [self.projection.at((axle + radius * cos, y, middle + radius * sin)) for cos, sin in _CIRCLE]


def _seen(outline: Quad) -> bool:
    """Return whether a face is turned to the camera: corners clockwise from outside are clockwise in the picture."""
    area = sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in zip(outline, outline[1:] + outline[:1], strict=True))
    return area > 0
