"""Cameras: their directions, surroundings, light and colours, blur and noise."""

import io
import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from msinet.data.synthetic.canvas import SUPERSAMPLING, Canvas, pick
from msinet.data.synthetic.domains import Domain

PANORAMA = 4  # width of a camera's surroundings, in widths of an image


@dataclass(frozen=True)
class View:
    """The viewpoint of one image: angles in radians, lengths in units of the image's height.

    A yaw of 0 shows a person from the front, or a vehicle whose front is at the right of the picture.
    """

    yaw: float
    pitch: float
    roll: float
    scale: float
    shift: tuple[float, float]
    light: float  # -1: from the left, 1: from the right


@dataclass(frozen=True)
class Camera:
    """The properties that all images of one camera share; made by `sample_camera`.

    Attributes:
        panorama: The surroundings, at the resolution of a canvas and `PANORAMA` images wide.
        yaw, pitch, roll: Direction from which the camera looks, in radians.
        light: Where the light comes from: -1 is the left, 1 is the right.
        gain_HWC: Factors of the pixels: exposure, colour cast, and a slope of light across the picture.
        saturation: Factor of the colours' differences from grey.
        haze: Light added to all pixels.
        blur: Radius of the blur, in pixels of an image that is 128 pixels high.
        noise_N: Noise added to a pixel, for each value of a random byte.
        tone_N: The gamma curve, for each value of a pixel.
        quality: Quality of the JPEG files.
    """

    panorama: Image.Image
    yaw: float
    pitch: float
    roll: float
    light: float
    gain_HWC: np.ndarray
    saturation: float
    haze: float
    blur: float
    noise_N: np.ndarray
    tone_N: np.ndarray
    quality: int


def sample_camera(domain: Domain, random: np.random.Generator, width: int, height: int) -> Camera:
    """Sample a camera of the domain and draw its surroundings; `width` and `height` are the images', in pixels."""
    exposure = random.uniform(*domain.exposure)
    cast = [exposure * math.exp(random.uniform(-domain.cast, domain.cast)) for _ in range(3)]
    right, down = random.uniform(-0.2, 0.2, 2)
    slope_HW = 1 + np.linspace(-right, right, width)[None, :] + np.linspace(-down, down, height)[:, None]
    panorama = Image.new("RGB", (PANORAMA * width * SUPERSAMPLING, height * SUPERSAMPLING))
    domain.backdrop(Canvas(panorama), random)
    # Noise is the sum of the two halves of a random byte, whose standard deviation is 6.52.
    dice_N = np.array([(byte & 15) + (byte >> 4) - 15 for byte in range(256)], dtype=np.float32)
    gamma = random.uniform(*domain.gamma)
    return Camera(
        panorama=panorama,
        yaw=random.uniform(-math.pi, math.pi),
        pitch=random.uniform(*domain.pitch),
        roll=random.uniform(-0.07, 0.07),
        light=random.uniform(-1, 1),
        gain_HWC=(slope_HW[:, :, None] * np.array(cast)).astype(np.float32),
        saturation=random.uniform(*domain.saturation),
        haze=random.uniform(*domain.haze),
        blur=random.uniform(*domain.blur),
        noise_N=dice_N * np.float32(random.uniform(*domain.noise) / 6.52),
        tone_N=np.array([round(255 * (value / 255) ** gamma) for value in range(256)], dtype=np.uint8),
        quality=int(random.integers(78, 93)),
    )


def sample_view(camera: Camera, random: np.random.Generator) -> View:
    """Sample a view near the camera's own direction or, sometimes, near the opposite direction."""
    turned = math.pi if random.random() < 0.25 else 0.0
    return View(
        yaw=camera.yaw + turned + random.uniform(-0.45, 0.45),
        pitch=camera.pitch + random.uniform(-0.05, 0.05),
        roll=camera.roll + random.uniform(-0.04, 0.04),
        scale=random.uniform(0.9, 1.06),
        shift=(random.uniform(-0.045, 0.045), random.uniform(-0.03, 0.03)),
        light=camera.light,
    )


def surroundings(camera: Camera, random: np.random.Generator, width: int, height: int) -> Image.Image:
    """Return a random part of the camera's surroundings, as large as the canvas of one image."""
    left = int(random.integers(0, (PANORAMA - 1) * width * SUPERSAMPLING))
    return camera.panorama.crop((left, 0, left + width * SUPERSAMPLING, height * SUPERSAMPLING))


def occlude(canvas: Canvas, random: np.random.Generator) -> None:
    """Draw an object in the foreground, in some of the images: a post, a bush or a sign at an edge."""
    if random.random() >= 0.25:
        return
    colour = pick(random, [(70, 72, 76), (120, 110, 96), (60, 84, 50), (150, 60, 50), (170, 170, 166)], 20)
    kind, size = int(random.integers(3)), random.uniform(0.15, 0.3)
    if kind == 0:
        x = random.uniform(0.05, 0.95) * canvas.width
        canvas.rectangle(x, 0, x + 0.04, 1, colour)
    elif kind == 1:
        canvas.rectangle(0, 1 - size, canvas.width, 1, colour)
    else:
        left = random.random() < 0.5
        edge = canvas.width * (size if left else 1 - size)
        canvas.rectangle(0 if left else edge, random.uniform(0, 0.5), edge if left else canvas.width, 1, colour)


def develop(image: Image.Image, camera: Camera, random: np.random.Generator) -> bytes:
    """Turn the drawn canvas into the bytes of a JPEG.

    Pixels are computed only by sums, products and tables, so that they do not depend on a processor's instructions.
    """
    image = image.reduce(SUPERSAMPLING)
    if camera.blur > 0.2:
        image = image.filter(ImageFilter.BoxBlur(camera.blur * image.height / 128))
    pixels_HWC: np.ndarray = np.asarray(image, dtype=np.float32)
    grey_HW1 = (pixels_HWC[:, :, :1] + 2 * pixels_HWC[:, :, 1:2] + pixels_HWC[:, :, 2:]) / 4
    pixels_HWC = grey_HW1 + (pixels_HWC - grey_HW1) * np.float32(camera.saturation)
    pixels_HWC *= camera.gain_HWC * np.float32(random.uniform(0.88, 1.12))
    bytes_HWC = np.frombuffer(random.bytes(pixels_HWC.size), dtype=np.uint8).reshape(pixels_HWC.shape)
    pixels_HWC += camera.noise_N[bytes_HWC] + np.float32(camera.haze + 0.5)
    developed_HWC = camera.tone_N[np.clip(pixels_HWC, 0, 255).astype(np.uint8)]
    stream = io.BytesIO()
    Image.fromarray(developed_HWC).save(stream, format="JPEG", quality=camera.quality)
    return stream.getvalue()
