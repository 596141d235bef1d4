"""Augmentation of a whole batch on its device, after the pictures were resized .

Every random decision is a number of a table that follows from seed, epoch and stream alone, a row per sample,
so that neither loaders nor the number of processes change what a sample looks like.

Legend: B pictures, H×W pixels, C = 3 channels, S = W·C, R random numbers for each picture.
"""

from dataclasses import dataclass
from itertools import permutations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from msinet.data.streams import generator

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, RGB in [0, 1]

# Random erasing (Zhong et al., AAAI 2020), with the paper's numbers.
ERASING_AREA = (0.02, 0.4)  # of the picture
ERASING_ASPECT = (0.3, 1 / 0.3)  # height : width
ERASING_FILL = (0.4914, 0.4822, 0.4465)  # after normalisation
ERASING_ATTEMPTS = 10  # rectangles drawn before a picture is left whole

# What the columns of a row are for.
FLIP, TOP, LEFT, BRIGHTNESS, CONTRAST, SATURATION, ORDER, ERASE, ATTEMPTS = range(9)
NUM_RANDOM = ATTEMPTS + 4 * ERASING_ATTEMPTS  # R; an attempt needs area, aspect, top and left

# Colour operations in each of their orders, as columns of the table.
ORDERS_63 = torch.tensor(list(permutations((BRIGHTNESS, CONTRAST, SATURATION))))
# Pillow's weights of red, green and blue in grey (ITU-R 601: 0.299, 0.587, 0.114), in units of 1/65536.
GREY_WEIGHTS = (19595.0, 38470.0, 7471.0)


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What happens to a training picture between resizing and normalisation, and erasing after it.

    Attributes:
        flip: Probability of a horizontal flip.
        pad: Black pixels added on every side before a crop of the original size at a random place.
        brightness, contrast, saturation: x draws a factor from [1 - x, 1 + x]; 0 changes nothing.
        erasing: Probability of filling a random rectangle.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 (read by pydantic, which this package does not import)

    flip: float = 0.5
    pad: int = 10
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    erasing: float = 0.0

    def __post_init__(self) -> None:
        for name in ("flip", "brightness", "contrast", "saturation", "erasing"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"`{name}` must be 0 to 1, but got {getattr(self, name)} (augmentation.{name}).")
        if self.pad < 0:
            raise ValueError(f"`pad` must not be negative, but got {self.pad} (augmentation.pad).")


IN_DOMAIN = Augmentation(erasing=0.5)
CROSS_DOMAIN = Augmentation(brightness=0.4, contrast=0.4, saturation=0.3)


def random_table(seed: int, epoch: int, stream: str, num_samples: int, cycle: int = 0) -> NDArray[np.float64]:
    """Uniform numbers in [0, 1), num_samples×R; row i belongs to the i-th sample of the epoch.

    Args:
        seed, epoch, stream, cycle: As of the batches; see `msinet.data.streams.generator`.
        num_samples: Rows; fewer of them are the first of more.
    """
    return generator(seed, f"{stream}/augmentation", epoch, cycle).random((num_samples, NUM_RANDOM))


def augment(images_BHWC: Tensor, random_BR: Tensor, augmentation: Augmentation) -> Tensor:
    """Augmented, normalised pictures: images_BCHW, float32, in channels-last memory.

    Flip, pad, crop, colour jitter in a random order (on whole grey levels, as torchvision does it on Pillow's
    images), normalisation, random erasing.

    Args:
        images_BHWC: uint8, RGB.
        random_BR: Rows of `random_table`, float64, on the same device.
        augmentation: What to do.
    """
    images_BHWC = _flip_and_crop(images_BHWC, random_BR, augmentation)
    if augmentation.brightness or augmentation.contrast or augmentation.saturation:
        images_BHWC = _jitter(images_BHWC, random_BR, augmentation)
    images_BCHW = normalise(images_BHWC)
    return _erase(images_BCHW, random_BR, augmentation) if augmentation.erasing else images_BCHW


def normalise(images_BHWC: Tensor) -> Tensor:
    """(level / 255 - ImageNet's mean) / its deviation: images_BCHW, float32, in channels-last memory.

    Args:
        images_BHWC: Grey levels 0 to 255, RGB.
    """
    B, H, W, C = images_BHWC.shape
    # The colours of a whole row stand one after the other: long runs of numbers are quick to compute with.
    mean_S, std_S = (torch.tensor(x, device=images_BHWC.device).repeat(W) for x in (MEAN, STD))
    images_BHS = images_BHWC.reshape(B, H, W * C).float()
    return images_BHS.div(255).sub_(mean_S).div_(std_S).view(B, H, W, C).permute(0, 3, 1, 2)


def _flip_and_crop(images_BHWC: Tensor, random_BR: Tensor, augmentation: Augmentation) -> Tensor:
    """Flip, pad with black, and crop to the size before, as one gather of pixels."""
    if not (augmentation.flip or augmentation.pad):
        return images_BHWC
    B, H, W, C = images_BHWC.shape
    device, pad = images_BHWC.device, augmentation.pad
    top_B = (random_BR[:, TOP] * (2 * pad + 1)).long()
    left_B = (random_BR[:, LEFT] * (2 * pad + 1)).long()
    rows_BH = torch.arange(H, device=device) + top_B[:, None] - pad
    columns_BW = torch.arange(W, device=device) + left_B[:, None] - pad
    flipped_B1 = random_BR[:, FLIP, None] < augmentation.flip
    columns_BW = torch.where(flipped_B1, W - 1 - columns_BW, columns_BW)
    inside_BHW = _within(rows_BH, H)[:, :, None] & _within(columns_BW, W)[:, None, :]
    batch_B11 = torch.arange(B, device=device)[:, None, None]
    pixels_BHW = (batch_B11 * H + rows_BH[:, :, None]) * W + columns_BW[:, None, :]
    # One black pixel after all others is what the padding consists of.
    pixels_BHW = pixels_BHW.masked_fill(~inside_BHW, B * H * W)
    source_NC = torch.cat([images_BHWC.reshape(-1, C), images_BHWC.new_zeros(1, C)])
    return source_NC.index_select(0, pixels_BHW.flatten()).view(B, H, W, C)


def _within(positions: Tensor, size: int) -> Tensor:
    return (positions >= 0) & (positions < size)


def _jitter(images_BHWC: Tensor, random_BR: Tensor, augmentation: Augmentation) -> Tensor:
    """Brightness, contrast and saturation in each picture's own order: whole grey levels as float32.

    Each of the three mixes the picture with a duller one: black, its mean grey, its grey version. So a step of
    the order is one mix, whose dull picture differs from sample to sample.
    """
    strength_3 = random_BR.new_tensor([augmentation.brightness, augmentation.contrast, augmentation.saturation])
    factors_B3 = (1 + strength_3 * (2 * random_BR[:, BRIGHTNESS : SATURATION + 1] - 1)).float()
    order_B = (random_BR[:, ORDER] * len(ORDERS_63)).long()
    operations_B3 = ORDERS_63.to(order_B.device)[order_B]
    # Colour by colour, so that the planes are long runs of numbers.
    images_BCHW = images_BHWC.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
    for step in range(3):
        operation_B111 = operations_B3[:, step, None, None, None]
        factor_B111 = factors_B3.gather(1, operations_B3[:, step, None] - BRIGHTNESS)[:, :, None, None]
        grey_B1HW = _grey(images_BCHW)
        # Pillow rounds the mean grey, and cuts a mixed level to a whole one.
        mean_B111 = (grey_B1HW.mean((1, 2, 3), keepdim=True, dtype=torch.float64) + 0.5).floor().float()
        dull_B1HW = torch.where(operation_B111 == SATURATION, grey_B1HW, mean_B111)
        dull_B1HW = dull_B1HW.masked_fill(operation_B111 == BRIGHTNESS, 0.0)
        images_BCHW.sub_(dull_B1HW).mul_(factor_B111).add_(dull_B1HW).clamp_(0, 255).floor_()
    return images_BCHW.permute(0, 2, 3, 1)


def _grey(images_BCHW: Tensor) -> Tensor:
    """Whole grey levels; sums stay below 2**24, so float32 holds them exactly."""
    red, green, blue = (images_BCHW[:, c, None] * weight for c, weight in enumerate(GREY_WEIGHTS))
    return (red + green + blue).add_(32768).div_(65536).floor_()


def _erase(images_BCHW: Tensor, random_BR: Tensor, augmentation: Augmentation) -> Tensor:
    """Fill the first drawn rectangle that fits, in the pictures that are drawn for it."""
    B, _, H, W = images_BCHW.shape
    device = images_BCHW.device
    area_BA, aspect_BA, top_BA, left_BA = random_BR[:, ATTEMPTS:].reshape(B, ERASING_ATTEMPTS, 4).unbind(2)
    area_BA = _between(ERASING_AREA, area_BA) * (H * W)
    aspect_BA = _between(ERASING_ASPECT, aspect_BA)
    height_BA = (area_BA * aspect_BA).sqrt().round()
    width_BA = (area_BA / aspect_BA).sqrt().round()
    fits_BA = (height_BA < H) & (width_BA < W)
    first_B1 = fits_BA.int().argmax(1, keepdim=True)

    def chosen(values_BA: Tensor) -> Tensor:
        return values_BA.gather(1, first_B1)

    height_B1, width_B1 = chosen(height_BA), chosen(width_BA)
    top_B1 = (chosen(top_BA) * (H - height_B1 + 1)).floor()
    left_B1 = (chosen(left_BA) * (W - width_B1 + 1)).floor()
    erased_B1 = (random_BR[:, ERASE, None] < augmentation.erasing) & chosen(fits_BA)
    rows_H, columns_W = torch.arange(H, device=device), torch.arange(W, device=device)
    rows_BH = (rows_H >= top_B1) & (rows_H < top_B1 + height_B1) & erased_B1
    columns_BW = (columns_W >= left_B1) & (columns_W < left_B1 + width_B1)
    inside_B1HW = (rows_BH[:, :, None] & columns_BW[:, None, :])[:, None]
    fill_C11 = torch.tensor(ERASING_FILL, device=device)[:, None, None]
    return torch.where(inside_B1HW, fill_C11, images_BCHW)


def _between(bounds: tuple[float, float], random: Tensor) -> Tensor:
    return bounds[0] + (bounds[1] - bounds[0]) * random
