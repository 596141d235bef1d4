"""Backgrounds: one wide picture for each camera, of which every image shows another part.

Each function draws on a canvas that is several images wide; y runs from 0 (top) to 1 (bottom).
"""

import numpy as np

from msinet.data.synthetic.canvas import Canvas, Colour, mix, pick, shade

Random = np.random.Generator


def street(canvas: Canvas, random: Random) -> None:
    """Draw house fronts of brick or plaster with doors and windows, a kerb and a pavement."""
    ground = random.uniform(0.62, 0.8)
    pavement = pick(random, [(132, 128, 122), (110, 112, 116), (150, 140, 126)])
    canvas.rectangle(0, ground, canvas.width, 1, pavement)
    x = 0.0
    while x < canvas.width:
        width = random.uniform(0.4, 0.9)
        wall = pick(random, [(150, 84, 66), (176, 160, 136), (120, 124, 120), (196, 190, 178), (126, 100, 80)], 16)
        canvas.rectangle(x, 0, x + width, ground, wall)
        _courses(canvas, x, x + width, 0, ground, random.uniform(0.03, 0.06), shade(wall, 0.86))
        _openings(canvas, random, x, width, ground)
        x += width
    canvas.rectangle(0, ground, canvas.width, ground + 0.02, shade(pavement, 0.7))
    _slabs(canvas, ground + 0.02, shade(pavement, 0.85), random.uniform(0.12, 0.25))


def station(canvas: Canvas, random: Random) -> None:
    """Draw a hall of pale tiles under neon light, with posters, pillars and a shining floor."""
    ground = random.uniform(0.45, 0.6)
    wall = pick(random, [(186, 196, 202), (170, 182, 180), (200, 198, 186)])
    floor = pick(random, [(150, 152, 156), (176, 172, 162), (128, 136, 144)])
    canvas.rectangle(0, 0, canvas.width, ground, wall)
    canvas.rectangle(0, ground, canvas.width, 1, floor)
    _courses(canvas, 0, canvas.width, 0, ground, 0.07, shade(wall, 0.9))
    for x in np.arange(0, canvas.width, 0.07):
        canvas.line((x, 0), (x, ground), 0.004, shade(wall, 0.9))
    for x in _places(random, canvas.width, 0.5):
        poster = pick(random, [(60, 110, 170), (190, 70, 60), (230, 200, 90), (70, 140, 100)], 20)
        canvas.rectangle(x, ground - 0.36, x + 0.2, ground - 0.08, poster)
        canvas.rectangle(x + 0.03, ground - 0.2, x + 0.17, ground - 0.15, mix(poster, (255, 255, 255), 0.7))
    for x in _places(random, canvas.width, 0.9):
        canvas.rectangle(x, 0, x + 0.1, ground + 0.06, shade(wall, 0.72))
        canvas.rectangle(x, 0, x + 0.03, ground + 0.06, shade(wall, 1.1))
    _slabs(canvas, ground, shade(floor, 0.9), random.uniform(0.08, 0.14))
    canvas.rectangle(0, ground + 0.2, canvas.width, ground + 0.23, (206, 176, 60))


def campus(canvas: Canvas, random: Random) -> None:
    """Draw sky, trees and hedges over a lawn with a path."""
    ground = random.uniform(0.5, 0.7)
    sky = pick(random, [(150, 190, 232), (190, 206, 220), (216, 206, 186)])
    grass = pick(random, [(96, 142, 62), (126, 146, 72), (80, 124, 66)])
    canvas.rectangle(0, 0, canvas.width, ground, sky)
    canvas.rectangle(0, ground, canvas.width, 1, grass)
    for x in _places(random, canvas.width, 0.3):
        leaves = pick(random, [(44, 92, 40), (78, 120, 46), (100, 112, 44), (60, 100, 70)], 14)
        canvas.rectangle(x - 0.02, ground - 0.3, x + 0.02, ground + 0.02, (84, 62, 44))
        _foliage(canvas, random, x, ground - random.uniform(0.25, 0.5), 0.22, leaves)
    hedge = pick(random, [(50, 86, 40), (70, 100, 52)])
    for x in np.arange(0, canvas.width + 0.1, 0.06):
        canvas.ellipse((x, ground), 0.06, random.uniform(0.03, 0.07), shade(hedge, random.uniform(0.8, 1.15)))
    path = pick(random, [(200, 186, 160), (176, 172, 168)])
    canvas.rectangle(0, ground + 0.14, canvas.width, ground + 0.26, path)
    for _ in range(round(260 * canvas.width)):
        x, y = random.uniform(0, canvas.width), random.uniform(ground + 0.05, 1)
        canvas.line((x, y), (x + 0.004, y - 0.02), 0.004, shade(grass, random.uniform(0.75, 1.2)))


def highway(canvas: Canvas, random: Random) -> None:
    """Draw asphalt with lane marks under a green bank and a crash barrier."""
    edge = random.uniform(0.16, 0.34)
    asphalt = pick(random, [(92, 94, 98), (112, 110, 106), (78, 80, 88)])
    bank = pick(random, [(104, 130, 70), (134, 132, 84), (86, 112, 74)])
    canvas.rectangle(0, 0, canvas.width, edge, bank)
    canvas.rectangle(0, edge, canvas.width, 1, asphalt)
    for x in _places(random, canvas.width, 0.25):
        _foliage(canvas, random, x, edge - 0.1, 0.12, shade(bank, random.uniform(0.6, 0.9)))
    canvas.rectangle(0, edge - 0.05, canvas.width, edge - 0.02, (176, 178, 180))
    slope = random.uniform(-0.06, 0.06)
    for y in (edge + 0.07, edge + 0.36, edge + 0.7):
        for x in np.arange(-0.5, canvas.width + 0.5, 0.42):
            canvas.line((x, y + slope), (x + 0.22, y - slope), 0.016, (214, 212, 200))
    _speckle(canvas, random, edge, asphalt)


def parking(canvas: Canvas, random: Random) -> None:
    """Draw concrete with marked bays, a wall with coloured bands, and pillars."""
    edge = random.uniform(0.24, 0.4)
    floor = pick(random, [(168, 164, 156), (150, 154, 158), (182, 172, 152)])
    wall = pick(random, [(204, 200, 190), (188, 196, 200)])
    band = pick(random, [(60, 120, 190), (200, 80, 60), (80, 160, 90), (230, 180, 60)])
    canvas.rectangle(0, 0, canvas.width, edge, wall)
    canvas.rectangle(0, edge * 0.5, canvas.width, edge * 0.75, band)
    canvas.rectangle(0, edge, canvas.width, 1, floor)
    lean = random.uniform(-0.3, 0.3)
    for x in np.arange(-0.6, canvas.width + 0.6, random.uniform(0.5, 0.7)):
        canvas.line((x, edge), (x + lean, 1), 0.02, (236, 232, 214))
    for x in _places(random, canvas.width, 0.8):
        canvas.rectangle(x, 0, x + 0.12, edge + 0.08, shade(wall, 0.75))
        canvas.rectangle(x, edge - 0.06, x + 0.12, edge + 0.04, (232, 196, 60))
    _speckle(canvas, random, edge, floor)


def night(canvas: Canvas, random: Random) -> None:
    """Draw a dark road, lit windows and street lamps out of focus, and their reflections."""
    edge = random.uniform(0.25, 0.42)
    road = pick(random, [(44, 46, 56), (56, 50, 48), (36, 42, 54)], 6)
    canvas.rectangle(0, 0, canvas.width, edge, pick(random, [(18, 20, 36), (30, 24, 28)], 6))
    canvas.rectangle(0, edge, canvas.width, 1, road)
    for _ in range(round(16 * canvas.width)):
        x, y = random.uniform(0, canvas.width), random.uniform(0, edge)
        canvas.rectangle(x, y, x + 0.03, y + 0.04, pick(random, [(170, 140, 80), (90, 110, 140), (60, 60, 70)]))
    for x in _places(random, canvas.width, 0.35):
        lamp = pick(random, [(250, 190, 100), (220, 230, 250), (250, 90, 70), (110, 220, 140)])
        y, radius = random.uniform(0.04, edge), random.uniform(0.02, 0.05)
        for step, strength in ((2.0, 0.25), (1.4, 0.5), (0.8, 1.0)):
            canvas.ellipse((x, y), radius * step, radius * step, mix(road, lamp, strength))
        canvas.rectangle(x - 0.02, edge + 0.05, x + 0.02, 1, mix(road, lamp, 0.2))
    canvas.rectangle(0, edge + 0.4, canvas.width, edge + 0.415, (120, 116, 96))
    _speckle(canvas, random, edge, road)


def _places(random: Random, width: float, spacing: float) -> list[float]:
    """Return positions along the picture, about `spacing` apart."""
    return [float(x + random.uniform(0, 0.6 * spacing)) for x in np.arange(0, width, spacing)]


def _courses(
    canvas: Canvas, left: float, right: float, top: float, bottom: float, height: float, colour: Colour
) -> None:
    """Draw horizontal joints of bricks or tiles."""
    for y in np.arange(top, bottom, height):
        canvas.line((left, y), (right, y), 0.004, colour)


def _openings(canvas: Canvas, random: Random, x: float, width: float, ground: float) -> None:
    """Draw a shop window or a door, with its frame."""
    glass = pick(random, [(70, 84, 100), (44, 48, 54), (150, 170, 180), (200, 180, 120)], 14)
    left, right = x + width * random.uniform(0.1, 0.3), x + width * random.uniform(0.6, 0.9)
    top, bottom = random.uniform(0.08, 0.3), ground - random.choice([0.0, 0.12])
    canvas.rectangle(left - 0.015, top - 0.015, right + 0.015, bottom, shade(glass, 0.5))
    canvas.rectangle(left, top, right, bottom, glass)
    canvas.rectangle((left + right) / 2 - 0.006, top, (left + right) / 2 + 0.006, bottom, shade(glass, 0.5))


def _slabs(canvas: Canvas, top: float, colour: Colour, size: float) -> None:
    """Draw the joints of a paved floor, closer together towards the horizon."""
    y, step = top, size * 0.3
    while y < 1:
        canvas.line((0, y), (canvas.width, y), 0.004, colour)
        y, step = y + step, step * 1.35
    for x in np.arange(-0.5, canvas.width + 0.5, size):
        canvas.line((x, top), (x + 0.12, 1), 0.004, colour)


def _foliage(canvas: Canvas, random: Random, x: float, y: float, size: float, colour: Colour) -> None:
    for _ in range(14):
        centre = (x + random.uniform(-size, size), y + random.uniform(-size, size) * 0.8)
        radius = size * random.uniform(0.25, 0.5)
        canvas.ellipse(centre, radius, radius, shade(colour, random.uniform(0.75, 1.25)))


def _speckle(canvas: Canvas, random: Random, top: float, colour: Colour) -> None:
    """Draw the stains of a road."""
    for _ in range(round(40 * canvas.width)):
        centre = (random.uniform(0, canvas.width), random.uniform(top, 1))
        canvas.ellipse(centre, random.uniform(0.01, 0.06), 0.01, shade(colour, random.uniform(0.85, 1.12)))
