"""The types of vehicles: each has a lower box and boxes on top of it, measured in metres."""

from dataclasses import dataclass

Corner = tuple[float, float, float]  # forwards, to the vehicle's left, upwards; in metres


@dataclass(frozen=True)
class Box:
    """A part of a body: its rear, front and half width at the bottom and at the top, and the heights of both."""

    rear: float
    front: float
    top_rear: float
    top_front: float
    half_width: float
    top_half_width: float
    bottom: float
    top: float

    def corners(self) -> list[Corner]:
        """Return the corners rear left, front left, front right, rear right: first of the bottom, then of the top."""
        bottom = [(self.rear, 1), (self.front, 1), (self.front, -1), (self.rear, -1)]
        top = [(self.top_rear, 1), (self.top_front, 1), (self.top_front, -1), (self.top_rear, -1)]
        return [
            *((forward, side * self.half_width, self.bottom) for forward, side in bottom),
            *((forward, side * self.top_half_width, self.top) for forward, side in top),
        ]


@dataclass(frozen=True)
class Body:
    """A type of vehicle: lower box, boxes on top of it, positions of axles, wheel radius, windows on each side."""

    lower: Box
    upper: tuple[Box, ...]
    axles: tuple[float, ...]
    wheel: float
    windows: int


BODIES: dict[str, Body] = {
    "sedan": Body(
        Box(-2.3, 2.3, -2.25, 2.2, 0.88, 0.85, 0.3, 0.9),
        (Box(-1.7, 1.1, -1.1, 0.35, 0.82, 0.66, 0.9, 1.45),),
        (-1.4, 1.4), 0.34, 2,
    ),
    "hatchback": Body(
        Box(-1.95, 1.95, -1.9, 1.85, 0.85, 0.82, 0.3, 0.95),
        (Box(-1.88, 1.0, -1.55, 0.4, 0.8, 0.66, 0.95, 1.55),),
        (-1.25, 1.25), 0.33, 2,
    ),
    "suv": Body(
        Box(-2.3, 2.3, -2.28, 2.2, 0.95, 0.93, 0.42, 1.1),
        (Box(-2.25, 1.1, -2.0, 0.55, 0.9, 0.76, 1.1, 1.8),),
        (-1.4, 1.4), 0.41, 3,
    ),
    "pickup": Body(
        Box(-2.7, 2.6, -2.7, 2.5, 0.95, 0.93, 0.45, 1.1),
        (Box(-0.5, 1.5, -0.35, 0.95, 0.9, 0.75, 1.1, 1.8),),
        (-1.7, 1.6), 0.42, 1,
    ),
    "van": Body(
        Box(-2.5, 2.5, -2.5, 2.35, 0.98, 0.97, 0.38, 1.2),
        (Box(-2.5, 2.25, -2.45, 1.4, 0.96, 0.86, 1.2, 2.2),),
        (-1.6, 1.6), 0.37, 2,
    ),
    "bus": Body(
        Box(-4.2, 4.2, -4.2, 4.2, 1.2, 1.2, 0.4, 1.35),
        (Box(-4.2, 4.2, -4.15, 4.05, 1.2, 1.14, 1.35, 2.9),),
        (-2.4, 2.8), 0.5, 6,
    ),
    "truck": Body(
        Box(-3.4, 3.3, -3.4, 3.25, 1.1, 1.08, 0.55, 1.2),
        (Box(-3.4, 1.3, -3.4, 1.3, 1.15, 1.15, 1.2, 3.0), Box(1.5, 3.25, 1.55, 2.9, 1.05, 0.98, 1.2, 2.5)),
        (-2.3, 2.2), 0.5, 1,
    ),
    "coupe": Body(
        Box(-2.15, 2.2, -2.05, 2.0, 0.92, 0.88, 0.25, 0.78),
        (Box(-1.75, 0.75, -0.85, -0.05, 0.8, 0.6, 0.78, 1.22),),
        (-1.3, 1.35), 0.36, 1,
    ),
}  # fmt: skip
