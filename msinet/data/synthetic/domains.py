"""The places where pictures are taken: their clothes or vehicles, their backgrounds and their cameras."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from msinet.data.synthetic import scenery
from msinet.data.synthetic.canvas import Canvas, Colour

Range = tuple[float, float]


@dataclass(frozen=True)
class Domain:
    """The values from which the identities and the cameras of one place are sampled.

    Attributes:
        cameras: Number of cameras, unless the specification sets another.
        primary: Colours of upper clothes, or of paint.
        secondary: Colours of lower clothes, or of second paint.
        kinds: How often each kind of lower garment, or of body, occurs (weights).
        carried: Probability that a person carries a bag, or that a vehicle has something on its roof.
        short: Probability that sleeves are short, or that windows are clear.
        backdrop: Function that draws a camera's surroundings.
        cast: How much the cameras' colours differ (half width of the logarithm of each channel's gain).
        exposure, saturation, gamma: Ranges of a camera's exposure, saturation and gamma.
        haze: Range of the light added everywhere, 0 to 255.
        blur: Range of the blur's radius, in pixels of an image that is 128 pixels high.
        noise: Range of the noise's standard deviation, on the scale from 0 to 255.
        pitch: Range of a camera's angle from above, in radians.
        lamps: Whether vehicles drive with their lamps on.
    """

    cameras: int
    primary: tuple[Colour, ...]
    secondary: tuple[Colour, ...]
    kinds: Mapping[str, float]
    carried: float
    short: float
    backdrop: Callable[[Canvas, np.random.Generator], None]
    cast: float
    exposure: Range
    saturation: Range
    gamma: Range
    haze: Range
    blur: Range
    noise: Range
    pitch: Range
    lamps: bool = False


BLACK, CHARCOAL, GREY, SILVER = (28, 28, 32), (62, 64, 70), (128, 130, 134), (186, 190, 195)
WHITE, CREAM, BEIGE, BROWN = (235, 235, 232), (232, 220, 190), (196, 168, 128), (104, 70, 44)
NAVY, BLUE, SKY, TEAL = (30, 40, 88), (42, 84, 180), (120, 172, 224), (24, 124, 128)
GREEN, OLIVE, LIME, MINT = (36, 122, 62), (98, 100, 50), (150, 200, 70), (160, 216, 190)
RED, WINE, ORANGE, YELLOW = (196, 36, 40), (112, 26, 44), (230, 124, 34), (236, 200, 52)
PINK, ROSE, PURPLE, LILAC = (228, 110, 150), (240, 180, 190), (104, 50, 136), (182, 160, 214)

PERSON: dict[str, Domain] = {
    "street": Domain(
        cameras=4,
        primary=(RED, BLUE, WHITE, BLACK, GREEN, ORANGE, GREY, YELLOW, TEAL, PURPLE, BROWN, PINK),
        secondary=(BLACK, NAVY, BLUE, GREY, BROWN, BEIGE, OLIVE, WINE),
        kinds={"trousers": 0.65, "shorts": 0.15, "skirt": 0.2},
        carried=0.6,
        short=0.4,
        backdrop=scenery.street,
        cast=0.12,
        exposure=(0.8, 1.1),
        saturation=(0.7, 1.1),
        gamma=(0.85, 1.2),
        haze=(0, 14),
        blur=(0.3, 0.9),
        noise=(3, 7),
        pitch=(0.0, 0.3),
    ),
    "station": Domain(
        cameras=5,
        primary=(BLACK, CHARCOAL, NAVY, GREY, BEIGE, CREAM, WINE, OLIVE, TEAL, WHITE, BROWN),
        secondary=(BLACK, CHARCOAL, NAVY, GREY, BROWN, BEIGE),
        kinds={"trousers": 0.75, "shorts": 0.02, "skirt": 0.23},
        carried=0.85,
        short=0.1,
        backdrop=scenery.station,
        cast=0.1,
        exposure=(0.7, 0.95),
        saturation=(0.5, 0.85),
        gamma=(0.8, 1.1),
        haze=(10, 28),
        blur=(0.7, 1.4),
        noise=(4, 9),
        pitch=(0.3, 0.65),
    ),
    "campus": Domain(
        cameras=3,
        primary=(WHITE, SKY, MINT, ROSE, LILAC, YELLOW, LIME, PINK, ORANGE, RED, BLUE, CREAM, NAVY),
        secondary=(SKY, BLUE, BEIGE, WHITE, OLIVE, BLACK, GREY, ROSE, NAVY),
        kinds={"trousers": 0.35, "shorts": 0.4, "skirt": 0.25},
        carried=0.75,
        short=0.8,
        backdrop=scenery.campus,
        cast=0.12,
        exposure=(0.95, 1.2),
        saturation=(0.9, 1.15),
        gamma=(0.95, 1.2),
        haze=(0, 6),
        blur=(0.0, 0.5),
        noise=(1, 4),
        pitch=(0.0, 0.2),
    ),
}

VEHICLE: dict[str, Domain] = {
    "highway": Domain(
        cameras=4,
        primary=(WHITE, SILVER, GREY, BLACK, BLUE, RED, NAVY, WINE, GREEN, ORANGE, YELLOW),
        secondary=(WHITE, BLACK, BLUE, RED, YELLOW, GREEN, SILVER),
        kinds={"sedan": 3, "hatchback": 1, "suv": 2, "pickup": 2, "van": 2, "bus": 2, "truck": 3, "coupe": 1},
        carried=0.35,
        short=0.4,
        backdrop=scenery.highway,
        cast=0.1,
        exposure=(0.85, 1.15),
        saturation=(0.75, 1.1),
        gamma=(0.9, 1.2),
        haze=(4, 24),
        blur=(0.3, 0.9),
        noise=(2, 6),
        pitch=(0.3, 0.55),
    ),
    "parking": Domain(
        cameras=3,
        primary=(RED, SKY, LIME, YELLOW, CREAM, TEAL, WINE, BEIGE, ORANGE, PURPLE, WHITE, CHARCOAL, MINT),
        secondary=(WHITE, BLACK, CREAM, RED, NAVY, ORANGE),
        kinds={"sedan": 2, "hatchback": 4, "suv": 3, "pickup": 1, "van": 2, "coupe": 2},
        carried=0.55,
        short=0.7,
        backdrop=scenery.parking,
        cast=0.12,
        exposure=(0.85, 1.15),
        saturation=(0.9, 1.3),
        gamma=(0.9, 1.15),
        haze=(0, 8),
        blur=(0.0, 0.5),
        noise=(1, 4),
        pitch=(0.12, 0.35),
    ),
    "night": Domain(
        cameras=5,
        primary=(BLACK, WHITE, SILVER, YELLOW, GREEN, RED, BLUE, CHARCOAL, ORANGE, PURPLE, TEAL),
        secondary=(WHITE, BLACK, YELLOW, SKY, RED, SILVER),
        kinds={"sedan": 4, "hatchback": 2, "suv": 2, "van": 2, "bus": 2, "truck": 1, "coupe": 2},
        carried=0.5,
        short=0.25,
        backdrop=scenery.night,
        cast=0.14,
        exposure=(0.6, 0.85),
        saturation=(0.55, 0.9),
        gamma=(0.9, 1.1),
        haze=(2, 14),
        blur=(0.5, 1.2),
        noise=(6, 12),
        pitch=(0.15, 0.5),
        lamps=True,
    ),
}

DOMAINS: dict[str, dict[str, Domain]] = {"person": PERSON, "vehicle": VEHICLE}
