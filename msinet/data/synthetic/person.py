"""Persons: a jointed body that walks, seen from any side, in clothes that stay the same."""

import math
from dataclasses import dataclass

import numpy as np

from msinet.data.synthetic.camera import View
from msinet.data.synthetic.canvas import Canvas, Colour, Point, mix, pick, shade
from msinet.data.synthetic.domains import Domain

Joint = tuple[float, float, float]  # to the person's left, forwards, upwards; in units of a body's height

SKINS: tuple[Colour, ...] = ((244, 208, 180), (224, 172, 136), (188, 132, 96), (134, 88, 60), (92, 60, 44))
HAIRS: tuple[Colour, ...] = ((28, 24, 22), (70, 46, 30), (128, 88, 50), (206, 172, 110), (150, 150, 150), (150, 66, 36))
PATTERNS = ("plain", "plain", "stripes", "bars", "check", "logo", "halves", "open", "sash")
HEADWEAR = ("short", "short", "long", "bun", "cap", "bald", "hood")
BAGS = ("backpack", "shoulder", "hand")


@dataclass(frozen=True)
class Person:
    """One identity: the properties of a person that are the same under all cameras."""

    stature: float
    build: float
    skin: Colour
    hair: Colour
    headwear: str
    pattern: str
    upper: Colour
    accent: Colour
    short_sleeves: bool
    coat: bool
    garment: str  # trousers, shorts or skirt
    lower: Colour
    seam: bool
    shoes: Colour
    bag: str
    bag_colour: Colour
    bag_side: int


def sample_person(domain: Domain, random: np.random.Generator) -> Person:
    """Sample a person who can occur in this domain."""
    weights = np.array(list(domain.kinds.values()))
    return Person(
        stature=random.uniform(0.9, 1.05),
        build=random.uniform(0.8, 1.3),
        skin=pick(random, SKINS),
        hair=pick(random, HAIRS),
        headwear=str(random.choice(HEADWEAR)),
        pattern=str(random.choice(PATTERNS)),
        upper=pick(random, domain.primary),
        accent=pick(random, domain.primary),
        short_sleeves=random.random() < domain.short,
        coat=random.random() < 0.25,
        garment=str(random.choice(list(domain.kinds), p=weights / weights.sum())),
        lower=pick(random, domain.secondary),
        seam=random.random() < 0.25,
        shoes=pick(random, ((30, 30, 32), (230, 230, 226), (110, 70, 44), (190, 40, 40), (60, 90, 160))),
        bag=str(random.choice(BAGS)) if random.random() < domain.carried else "none",
        bag_colour=pick(random, domain.primary),
        bag_side=1 if random.random() < 0.5 else -1,
    )


def draw_person(canvas: Canvas, person: Person, view: View, random: np.random.Generator) -> None:
    """Draw the person at a random moment of a walk."""
    _Figure(canvas, person, view, random).draw()


class _Figure:
    """One drawing of a person: the projection and the pose, and the parts from back to front."""

    def __init__(self, canvas: Canvas, person: Person, view: View, random: np.random.Generator) -> None:
        self.canvas, self.person, self.view = canvas, person, view
        self.cos, self.sin = math.cos(view.yaw), math.sin(view.yaw)
        self.roll_cos, self.roll_sin = math.cos(view.roll), math.sin(view.roll)
        self.scale = 0.86 * person.stature * view.scale
        self.stride = random.uniform(0.1, 0.5) * (1 if random.random() < 0.5 else -1)
        self.arm_swing = self.stride * random.uniform(0.5, 1.0)
        self.bend = random.uniform(0.1, 0.6)
        self.lean = random.uniform(-0.02, 0.05)

    def draw(self) -> None:
        self._shadow()
        for side in sorted((-1, 1), key=self._nearness):
            self._leg(side)
        arms = sorted((-1, 1), key=self._nearness)
        self._arm(arms[0])
        if self.person.bag == "backpack" and self.cos > -0.15:
            self._backpack()
        self._head(behind=True)
        self._torso()
        self._head(behind=False)
        if self.person.bag == "backpack" and self.cos <= -0.15:
            self._backpack()
        self._arm(arms[1])
        if self.person.bag in ("shoulder", "hand"):
            self._side_bag()

    def _nearness(self, side: int) -> float:
        """Return how near the limbs of one side are to the camera."""
        return -side * self.sin

    def _at(self, joint: Joint) -> Point:
        """Return where a joint appears in the picture.

        Yaw turns the body, pitch enlarges the head and shortens the legs, and roll turns the picture.
        """
        left, forward, up = joint
        forward += self.lean * up
        x = (left * self.cos + forward * self.sin) * (1 + self.view.pitch * (up - 0.5))
        y = up - 0.5 + 0.6 * self.view.pitch * up * (up - 1)
        x, y = x * self.roll_cos - y * self.roll_sin, x * self.roll_sin + y * self.roll_cos
        centre_x, centre_y = self.canvas.width / 2 + self.view.shift[0], 0.51 + self.view.shift[1]
        return (centre_x + x * self.scale, centre_y - y * self.scale)

    def _size(self, length: float) -> float:
        return length * self.scale

    def _lit(self, colour: Colour, side: float) -> Colour:
        """Return a colour on the left (-1) or the right (1) of the figure, brighter towards the light."""
        return shade(colour, 1 + 0.16 * side * self.view.light)

    def _shadow(self) -> None:
        x, y = self._at((0, 0, 0))
        self.canvas.ellipse((x, y + 0.005), self._size(0.16), self._size(0.025), (52, 52, 54))

    def _leg(self, side: int) -> None:
        person, build = self.person, self.person.build
        angle = self.stride * side
        hip: Joint = (0.05 * side * build, 0, 0.5)
        knee: Joint = (0.05 * side * build, 0.23 * math.sin(angle), 0.5 - 0.23 * math.cos(angle))
        flexion = angle - (self.bend if angle < 0 else 0.05)
        ankle: Joint = (knee[0], knee[1] + 0.23 * math.sin(flexion), knee[2] - 0.23 * math.cos(flexion))
        toe: Joint = (ankle[0] * 1.2, ankle[1] + 0.07, ankle[2] - 0.025)
        light = 0.8 if self._nearness(side) < 0 else 1.0
        cloth, skin = shade(self._lit(person.lower, side * self.cos), light), shade(person.skin, light)
        bare_thigh, bare_calf = person.garment == "skirt", person.garment != "trousers"
        thick = self._size(0.052 * build)
        self._limb(knee, ankle, thick * 0.8, thick * 0.55, skin if bare_calf else cloth)
        self._limb(hip, knee, thick * 1.05, thick * 0.85, skin if bare_thigh else cloth)
        self._limb(ankle, toe, thick * 0.55, thick * 0.45, shade(person.shoes, light))
        if person.seam and person.garment == "trousers" and self._nearness(side) >= -0.3:
            for start, end in ((hip, knee), (knee, ankle)):
                self.canvas.line(self._at(start), self._at(end), self._size(0.018), person.accent)

    def _arm(self, side: int) -> None:
        person, build = self.person, self.person.build
        angle = -self.arm_swing * side
        shoulder: Joint = (0.118 * side * build, 0, 0.8)
        elbow: Joint = (0.14 * side * build, 0.17 * math.sin(angle), 0.8 - 0.165 * math.cos(angle))
        fore = angle + 0.3 + 0.4 * abs(self.arm_swing)
        hand: Joint = (0.14 * side * build, elbow[1] + 0.15 * math.sin(fore), elbow[2] - 0.15 * math.cos(fore))
        light = 0.78 if self._nearness(side) < 0 else 0.93
        sleeve, skin = shade(self._sleeve(side), light), shade(person.skin, light)
        thick = self._size(0.036 * (0.5 + 0.5 * build))
        self._limb(elbow, hand, thick * 0.85, thick * 0.7, skin if person.short_sleeves else sleeve)
        self._limb(shoulder, elbow, thick * 1.15, thick * 0.9, sleeve)
        self.canvas.ellipse(self._at(hand), thick * 0.8, thick * 0.8, skin)

    def _limb(self, start: Joint, end: Joint, start_radius: float, end_radius: float, colour: Colour) -> None:
        self.canvas.limb(self._at(start), self._at(end), start_radius, end_radius, colour)

    def _sleeve(self, side: int) -> Colour:
        colour = self.person.accent if self.person.pattern == "sash" else self.person.upper
        return self._lit(colour, side * self.cos)

    def _half_width(self, broad: float, deep: float) -> float:
        """Return half the visible width of a body of this breadth and depth, seen from the yaw's direction."""
        return self.person.build * math.hypot(broad * self.cos, deep * self.sin)

    def _torso(self) -> None:
        person = self.person
        hem = 0.3 if person.coat else 0.47
        if person.garment == "skirt":
            self._band(0.52, 0.28, 0.1, 0.14, person.lower)
        elif person.garment == "shorts":
            self._band(0.52, 0.42, 0.095, 0.105, person.lower)
        quad = self._band(0.83, hem, 0.125, 0.12 if person.coat else 0.1, person.upper)
        self._pattern(quad)
        self._limb((0, 0, 0.82), (0, 0, 0.88), self._size(0.03), self._size(0.03), shade(person.skin, 0.85))

    def _band(self, top: float, bottom: float, upper: float, lower: float, colour: Colour) -> list[Point]:
        """Draw a piece of clothing around the body, and return the corners of its visible part."""
        a, b = self._half_width(upper, 0.075), self._half_width(lower, 0.085)
        # The offsets are along the picture for every yaw, so the turn is undone before projecting.
        corners = [(-a, top), (a, top), (b, bottom), (-b, bottom)]
        quad = [self._at((x * self.cos, x * self.sin, up)) for x, up in corners]
        self.canvas.polygon(quad, colour)
        self.canvas.patch(quad, (0, 0.22), (0, 1), self._lit(colour, -1))
        self.canvas.patch(quad, (0.78, 1), (0, 1), self._lit(colour, 1))
        return quad

    def _pattern(self, quad: list[Point]) -> None:
        person, patch = self.person, self.canvas.patch
        pattern, accent = person.pattern, person.accent
        front = self.cos > 0
        if pattern in ("stripes", "check"):
            for v in (0.1, 0.32, 0.54, 0.76):
                patch(quad, (0, 1), (v, v + 0.11), accent)
        if pattern in ("bars", "check"):
            colour = accent if pattern == "bars" else mix(accent, person.upper, 0.5)
            for u in (0.08, 0.36, 0.64, 0.88):
                patch(quad, (u, u + 0.12), (0, 1), colour)
        if pattern == "halves":
            patch(quad, (0, 1), (0.5, 1), accent)
        if pattern == "sash":
            patch(quad, (0, 1), (0, 0.3), accent)
        middle = 0.5 + 0.45 * self.sin * (1 if front else -1)
        if pattern == "logo":
            half = 0.22 * abs(self.cos) + 0.03
            patch(quad, (middle - half, min(middle + half, 1)), (0.22, 0.5), accent)
        if pattern == "open" and front:
            patch(quad, (middle - 0.14 * self.cos, min(middle + 0.14 * self.cos, 1)), (0, 1), accent)

    def _head(self, behind: bool) -> None:
        """Draw the head, or only what hangs behind the torso.

        Long hair and hoods hang behind a person seen from the front, and in front of a person seen from behind.
        """
        person, canvas = self.person, self.canvas
        x, y = self._at((0, 0.01, 0.925))
        radius = self._size(0.058) * (1 + 0.4 * self.view.pitch)
        cover = person.upper if person.headwear == "hood" else person.hair
        if behind or self.cos < 0:
            if person.headwear in ("long", "hood"):
                fall = self._size(0.13 if person.headwear == "long" else 0.07)
                back = x - 0.5 * radius * self.sin
                canvas.polygon(
                    [(back - radius, y), (back + radius, y), (back + radius, y + fall), (back - radius, y + fall)],
                    cover,
                )
            if behind:
                return
        canvas.ellipse((x, y), radius * 0.9, radius * 1.12, person.skin)
        if person.headwear != "bald":
            self._hair(x, y, radius, cover)

    def _hair(self, x: float, y: float, radius: float, cover: Colour) -> None:
        """Draw hair, hood or cap: it covers the whole head from behind, and the back of the head from the side."""
        person, canvas = self.person, self.canvas
        if person.headwear == "bun":
            canvas.ellipse((x - 0.7 * radius * self.sin, y - 1.2 * radius), radius * 0.45, radius * 0.45, cover)
        if self.cos < -0.3:
            canvas.ellipse((x, y - 0.1 * radius), radius * 0.95, radius * 1.1, cover)
            if person.headwear in ("long", "hood"):
                canvas.ellipse((x, y), radius * 0.95, radius * 1.2, cover)
        else:
            canvas.ellipse((x - 0.35 * radius * self.sin, y - 0.55 * radius), radius * 0.95, radius * 0.7, cover)
            back = x - 0.6 * radius * self.sin
            canvas.ellipse((back, y - 0.2 * radius), radius * 0.55 * abs(self.sin) + 1e-3, radius, cover)
        if person.headwear == "cap":
            canvas.ellipse((x, y - 0.6 * radius), radius, radius * 0.65, person.accent)
            brim = (x + 0.9 * radius * self.sin, y - 0.35 * radius)
            canvas.ellipse(brim, radius * (0.5 + 0.4 * abs(self.sin)), radius * 0.16, shade(person.accent, 0.8))

    def _backpack(self) -> None:
        colour, back = self.person.bag_colour, -0.12
        half = self._size(0.085 * abs(self.cos) + 0.055 * abs(self.sin))
        top, bottom = self._at((0, back, 0.79)), self._at((0, back, 0.53))
        quad = [
            (top[0] - half, top[1]),
            (top[0] + half, top[1]),
            (bottom[0] + half, bottom[1]),
            (bottom[0] - half, bottom[1]),
        ]
        self.canvas.polygon(quad, colour)
        self.canvas.patch(quad, (0.15, 0.85), (0.55, 0.9), shade(colour, 0.75))
        self.canvas.ellipse(top, half, half * 0.5, colour)

    def _side_bag(self) -> None:
        person, canvas, side = self.person, self.canvas, self.person.bag_side
        hidden = self._nearness(side) < -0.75
        if hidden:
            return
        high = person.bag == "shoulder"
        at: Joint = ((0.15 if high else 0.16) * side * person.build, 0.02, 0.5 if high else 0.38)
        x, y = self._at(at)
        half, tall = self._size(0.065), self._size(0.055 if high else 0.075)
        if high:
            canvas.line(self._at((-0.08 * side * person.build, 0, 0.83)), (x, y), self._size(0.018), person.bag_colour)
        else:
            canvas.line(self._at((at[0], 0.02, 0.5)), (x, y), self._size(0.012), shade(person.bag_colour, 0.6))
        canvas.rectangle(x - half, y - tall, x + half, y + tall, person.bag_colour)
        canvas.rectangle(x - half, y - tall, x + half, y - tall * 0.5, shade(person.bag_colour, 0.75))
