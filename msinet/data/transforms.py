"""Augmentation of a whole batch on its device, after the pictures were resized.

Every random decision reads a number of a table that has one row per sample and depends only on the seed, the epoch and
the stream. So neither the loaders nor the number of processes change what a sample looks like.

Legend: B pictures, H×W pixels, C = 3 channels, S = W·C, R random numbers for each picture,
N colour operations (3 or none), A attempts at a rectangle.
"""

from functools import cache
from itertools import permutations
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from msinet.data.streams import generator
from msinet.data.transforms_cpu import BRIGHTEN, CONTRAST, GREY_WEIGHTS, SATURATE, augment_on_cpu
from msinet.recipes import Augmentation

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, RGB in [0, 1]

# Random erasing (Zhong et al., AAAI 2020), with the paper's numbers.
ERASING_AREA = (0.02, 0.4)  # as a part of the picture's area
ERASING_ASPECT = (0.3, 1 / 0.3)  # height : width
ERASING_FILL = (0.4914, 0.4822, 0.4465)  # in units of the normalised picture
ERASING_ATTEMPTS = 10  # if none of so many rectangles fits, nothing is erased

Array = NDArray[Any]

# The columns of a row.
FLIP, TOP, LEFT, _, _, _, ORDER, ERASE, ATTEMPTS = range(9)
COLOURS = slice(3, 6)  # brightness, contrast, saturation
NUM_RANDOM = ATTEMPTS + 4 * ERASING_ATTEMPTS  # R; an attempt needs area, aspect, top and left

# All six orders of the three colour operations.
ORDERS_63 = np.array(list(permutations((BRIGHTEN, CONTRAST, SATURATE))))


def random_table(seed: int, epoch: int, stream: str, num_samples: int, cycle: int = 0) -> NDArray[np.float64]:
    """Return uniform numbers in [0, 1), num_samples×R; row i belongs to the i-th sample of the epoch.

    Args:
        seed, epoch, stream, cycle: The same as for the batches; see `msinet.data.streams.generator`.
        num_samples: Number of rows. A shorter table has the first rows of a longer one.
    """
    return generator(seed, f"{stream}/augmentation", epoch, cycle).random((num_samples, NUM_RANDOM))


class Choices(NamedTuple):
    """The random choices for each picture.

    Attributes:
        flipped_B: Whether the picture is flipped.
        shift_B2: How far down and to the right the crop begins, in pixels; negative if it begins in the padding.
        operations_BN: `BRIGHTEN`, `CONTRAST` and `SATURATE` in the picture's order; N is 0 if colours do not change.
        factors_BN: Factors of the operations, float32; 1 changes nothing.
        erased_B4: First row, row after the last, first column and column after the last of the erased rectangle, which
            is empty if nothing is erased.
    """

    flipped_B: Tensor
    shift_B2: Tensor
    operations_BN: Tensor
    factors_BN: Tensor
    erased_B4: Tensor


def choose(random_BR: NDArray[np.float64], size_HW: tuple[int, int], augmentation: Augmentation) -> Choices:
    """Translate rows of `random_table` to choices for pictures of `size_HW`, (height, width) in pixels."""
    arrays = (
        random_BR[:, FLIP] < augmentation.flip,
        (random_BR[:, [TOP, LEFT]] * (2 * augmentation.pad + 1)).astype(np.int64) - augmentation.pad,
        *_colours(random_BR, augmentation),
        _rectangles(random_BR, size_HW, augmentation),
    )
    return Choices(*map(torch.from_numpy, arrays))


def augment(images_BHWC: Tensor, choices: Choices) -> Tensor:
    """Augment and normalise pictures: images_BCHW, float32, in channels-last memory.

    The steps are: flip, pad, crop, colour jitter in a random order (on whole grey levels, as torchvision does it on
    Pillow's images), normalisation, random erasing.

    Args:
        images_BHWC: Pictures, uint8, RGB.
        choices: What to do with each picture, on the same device.
    """
    if images_BHWC.device.type == "cpu":
        return augment_on_cpu(images_BHWC, choices, _normalised_levels(), np.array(ERASING_FILL, np.float32))
    return augment_on_device(images_BHWC, choices)


def augment_on_device(images_BHWC: Tensor, choices: Choices) -> Tensor:
    """Do the same as `augment` by operations on whole batches, without a wait for the device."""
    levels_BHWC = _mix(_flip_and_crop(images_BHWC, choices), choices)
    return _erase(normalise(levels_BHWC), choices)


def normalise(images_BHWC: Tensor) -> Tensor:
    """Return (level / 255 - `MEAN`) / `STD`: images_BCHW, float32, in channels-last memory.

    Args:
        images_BHWC: Grey levels 0 to 255, RGB.
    """
    B, H, W, C = images_BHWC.shape
    # Compute on whole rows, in which the three colours alternate: long contiguous runs of numbers are fast.
    mean_S, std_S = (_constant(x, images_BHWC.device).repeat(W) for x in (MEAN, STD))
    images_BHS = images_BHWC.reshape(B, H, W * C).float()
    return images_BHS.div(255).sub_(mean_S).div_(std_S).view(B, H, W, C).permute(0, 3, 1, 2)


@cache
def _normalised_levels() -> NDArray[np.float32]:
    """Return the normalised value of each grey level in each channel, C×256."""
    levels_1256C = torch.arange(256)[None, :, None, None].expand(1, 256, 1, len(MEAN))
    return normalise(levels_1256C)[0, :, :, 0].contiguous().numpy()


@cache
def _constant(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Return the values on the device. They are copied once, because a copy in every step would wait for the device."""
    return torch.tensor(values, device=device)


def _colours(random_BR: Array, augmentation: Augmentation) -> tuple[Array, Array]:
    """Return the colour operations and their factors, each B×3, or B×0 if colours do not change."""
    strength_3 = (augmentation.brightness, augmentation.contrast, augmentation.saturation)
    order_B = (random_BR[:, ORDER] * len(ORDERS_63)).astype(np.int64)
    operations_BN = ORDERS_63[order_B, : 3 if any(strength_3) else 0]
    factors_B3 = (1 + np.array(strength_3) * (2 * random_BR[:, COLOURS] - 1)).astype(np.float32)
    return operations_BN, np.take_along_axis(factors_B3, operations_BN, 1)


def _rectangles(random_BR: Array, size_HW: tuple[int, int], augmentation: Augmentation) -> Array:
    """Return the first rectangle that fits, B×4; it is empty in pictures that are not chosen for erasing."""
    B, (H, W) = len(random_BR), size_HW
    area_BA, aspect_BA, top_BA, left_BA = np.moveaxis(random_BR[:, ATTEMPTS:].reshape(B, ERASING_ATTEMPTS, 4), 2, 0)
    area_BA = _between(ERASING_AREA, area_BA) * (H * W)
    aspect_BA = _between(ERASING_ASPECT, aspect_BA)
    height_BA = np.sqrt(area_BA * aspect_BA).round().astype(np.int64)
    width_BA = np.sqrt(area_BA / aspect_BA).round().astype(np.int64)
    top_BA = (top_BA * (H - height_BA + 1)).astype(np.int64)
    left_BA = (left_BA * (W - width_BA + 1)).astype(np.int64)
    fits_BA = (height_BA < H) & (width_BA < W)
    erased_BA = fits_BA & (random_BR[:, ERASE, None] < augmentation.erasing)
    sides_BA4 = np.stack([top_BA, top_BA + height_BA, left_BA, left_BA + width_BA], 2) * erased_BA[:, :, None]
    return sides_BA4[np.arange(B), fits_BA.argmax(1)]


def _between(bounds: tuple[float, float], random: Array) -> Array:
    return bounds[0] + (bounds[1] - bounds[0]) * random


def _flip_and_crop(images_BHWC: Tensor, choices: Choices) -> Tensor:
    """Flip, pad and crop by one gather of pixels."""
    B, H, W, C = images_BHWC.shape
    device = images_BHWC.device
    rows_BH = torch.arange(H, device=device) + choices.shift_B2[:, :1]
    columns_BW = torch.arange(W, device=device) + choices.shift_B2[:, 1:]
    columns_BW = torch.where(choices.flipped_B[:, None], W - 1 - columns_BW, columns_BW)
    inside_BHW = _within(rows_BH, H)[:, :, None] & _within(columns_BW, W)[:, None, :]
    batch_B11 = torch.arange(B, device=device)[:, None, None]
    pixels_BHW = (batch_B11 * H + rows_BH[:, :, None]) * W + columns_BW[:, None, :]
    # All padding is read from one black pixel, which is appended after all others.
    pixels_BHW = pixels_BHW.masked_fill(~inside_BHW, B * H * W)
    source_NC = torch.cat([images_BHWC.reshape(-1, C), images_BHWC.new_zeros(1, C)])
    return source_NC.index_select(0, pixels_BHW.flatten()).view(B, H, W, C)


def _within(positions: Tensor, size: int) -> Tensor:
    return (positions >= 0) & (positions < size)


def _mix(images_BHWC: Tensor, choices: Choices) -> Tensor:
    """Apply the colour operations in each picture's own order; the result has whole grey levels.

    Each of the three operations mixes the picture with a dull one: black, the picture's mean grey, or its grey
    version. So each step of the order is one mix, and only the dull picture differs from sample to sample.
    """
    # One contiguous plane for each colour, because long runs of numbers are fast to compute with.
    images_BCHW = images_BHWC.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
    for operation_B, factor_B in zip(choices.operations_BN.unbind(1), choices.factors_BN.unbind(1), strict=True):
        operation_B111, factor_B111 = operation_B[:, None, None, None], factor_B[:, None, None, None]
        grey_B1HW = _grey(images_BCHW)
        # As in Pillow, the mean grey is rounded and mixed levels are truncated.
        mean_B111 = (grey_B1HW.mean((1, 2, 3), keepdim=True, dtype=torch.float64) + 0.5).floor().float()
        dull_B1HW = torch.where(operation_B111 == SATURATE, grey_B1HW, mean_B111)
        dull_B1HW = dull_B1HW.masked_fill(operation_B111 == BRIGHTEN, 0.0)
        images_BCHW.sub_(dull_B1HW).mul_(factor_B111).add_(dull_B1HW).clamp_(0, 255).floor_()
    return images_BCHW.permute(0, 2, 3, 1)


def _grey(images_BCHW: Tensor) -> Tensor:
    """Return whole grey levels. The sums stay below 2**24, so float32 holds them exactly."""
    red, green, blue = (images_BCHW[:, c, None] * float(weight) for c, weight in enumerate(GREY_WEIGHTS))
    return (red + green + blue).add_(32768).div_(65536).floor_()


def _erase(images_BCHW: Tensor, choices: Choices) -> Tensor:
    _, _, H, W = images_BCHW.shape
    device = images_BCHW.device
    rows_H, columns_W = torch.arange(H, device=device), torch.arange(W, device=device)
    top_B1, bottom_B1, left_B1, right_B1 = choices.erased_B4[:, :, None].unbind(1)
    rows_BH = (rows_H >= top_B1) & (rows_H < bottom_B1)
    columns_BW = (columns_W >= left_B1) & (columns_W < right_B1)
    inside_B1HW = (rows_BH[:, :, None] & columns_BW[:, None, :])[:, None]
    fill_C11 = _constant(ERASING_FILL, device)[:, None, None]
    return torch.where(inside_B1HW, fill_C11, images_BCHW)
