"""Activation maps: where a network responds.

Letters: B images, C channels, H×W pixels, h×w positions of the last map, L levels.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import interpolate

from msinet.visual.sheet import GREY, LABEL_SIZE, MARGIN, WHITE, beside, framed, scaled, stacked, text

# Colours for equal steps of activation. Each is lighter than the one before, so that a grey print shows the order too.
ANCHORS = ((20, 11, 67), (84, 19, 126), (164, 41, 120), (226, 84, 74), (250, 152, 50), (250, 236, 120))
OPACITY = 0.6
GAP = 6


@torch.no_grad()
def activation_map(model: nn.Module, images_BCHW: Tensor) -> Tensor:
    """Return how strongly the last map responds at each pixel, from 0 to 1 within each image.

    The response is the sum over channels of squared activations (Zagoruyko & Komodakis, attention transfer,
    ICLR 2017), resized bilinearly to the image. If all positions respond equally to an image, its map is 0 everywhere.

    Args:
        model: Any network of `build_model`; it is put in evaluation mode.
        images_BCHW: Normalised images, on the model's device.

    Returns:
        maps_BHW on the CPU, float32.
    """
    feature_map_BChw = model.eval().feature_map(images_BCHW).float()  # type: ignore[operator]
    # Scale first, because the squares of a hardly trained network's activations can overflow.
    peak_B111 = feature_map_BChw.abs().amax((1, 2, 3), keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    energy_B1hw = (feature_map_BChw / peak_B111).square().sum(1, keepdim=True)
    size_HW = images_BCHW.shape[2:]
    energy_BHW = interpolate(energy_B1hw, size=size_HW, mode="bilinear", align_corners=False)[:, 0]
    low_B11, high_B11 = energy_BHW.amin((1, 2), keepdim=True), energy_BHW.amax((1, 2), keepdim=True)
    range_B11 = (high_B11 - low_B11).clamp(min=torch.finfo(torch.float32).tiny)
    return ((energy_BHW - low_B11) / range_B11).cpu()


def colored(map_HW: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Turn numbers from 0 to 1 into colours from dark violet to light yellow: pixels_HW3."""
    steps = np.linspace(0, 1, len(ANCHORS))
    channels = [np.interp(map_HW, steps, levels) for levels in zip(*ANCHORS, strict=True)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def draw_activation_maps(
    images: Sequence[Image.Image | None], maps_by_model: Mapping[str, Tensor], *, height: int = 256
) -> Image.Image:
    """Draw the pictures in a row and, below them, one row for each model: its maps over the pictures in grey.

    Args:
        images: B pictures of any size; None is drawn as a crossed-out field.
        maps_by_model: maps_BHW of each model by its name, as `activation_map` returns them.
        height: Height of each picture on the sheet, in pixels; the width follows from H:W.

    Raises:
        ValueError: There is no picture or no model, a model does not have one map for each picture, or the shapes of
            the models' maps differ.
    """
    shapes = [tuple(maps_BHW.shape) for maps_BHW in maps_by_model.values()]
    if not images or len(set(shapes)) != 1 or len(shapes[0]) != 3 or shapes[0][0] != len(images):
        raise ValueError(
            f"every model must have a map for each of {len(images)} pictures, but got the shapes {shapes}."
        )
    _, H, W = shapes[0]
    pictures = [scaled(image, (height, max(1, round(height * W / H)))) for image in images]
    rows = [_row("images", pictures)]
    for name, maps_BHW in maps_by_model.items():
        maps = maps_BHW.float().numpy()
        rows.append(_row(name, [overlaid(picture, map_HW) for picture, map_HW in zip(pictures, maps, strict=True)]))
    return framed(stacked([*rows, _scale()], 2 * GAP), WHITE, MARGIN)


def overlaid(picture: Image.Image, map_HW: NDArray[np.floating]) -> Image.Image:
    """Draw the map's colours over the picture in grey, at the picture's size."""
    # The picture is grey, so that all colours come from the map.
    resized = Image.fromarray(map_HW.astype(np.float32)).resize(picture.size, Image.Resampling.BILINEAR)
    return Image.blend(picture.convert("L").convert("RGB"), Image.fromarray(colored(np.asarray(resized))), OPACITY)


def _row(name: str, pictures: Sequence[Image.Image]) -> Image.Image:
    return stacked([text(name), beside(pictures, GAP)])


def _scale() -> Image.Image:
    """Draw the legend, which shows the meaning of the colours."""
    ramp_HW = np.linspace(0, 1, 96)[None].repeat(12, axis=0)
    parts = [
        text("low", LABEL_SIZE, GREY),
        Image.fromarray(colored(ramp_HW)),
        text("high activation", LABEL_SIZE, GREY),
    ]
    return beside(parts, GAP)
