"""Compiled augmentation of a batch on the CPU: one picture after the other, so that a picture stays in the cache.

Legend: B pictures, H×W pixels, C = 3 channels, N colour operations (3 or none).
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from msinet.compiled import compiled

BRIGHTEN, CONTRAST, SATURATE = range(3)  # colour operations
# Pillow's weights of red, green and blue in grey (ITU-R 601: 0.299, 0.587, 0.114), in units of 1/65536.
GREY_WEIGHTS = (19595, 38470, 7471)
RED, GREEN, BLUE = GREY_WEIGHTS


def augment_on_cpu(
    images_BHWC: Tensor,
    choices: tuple[Tensor, ...],
    normalised_C256: NDArray[np.float32],
    fill_C: NDArray[np.float32],
) -> Tensor:
    """Do the same as `augment_on_device`, with as many threads as torch uses: images_BCHW with the same numbers.

    Args:
        images_BHWC: Pictures, uint8, RGB.
        choices: A `msinet.data.transforms.Choices`.
        normalised_C256: Normalised value of each grey level in each channel.
        fill_C: Value of erased pixels in each channel.
    """
    sources = [np.ascontiguousarray(source.numpy()) for source in (images_BHWC, *choices)]
    result_BHWC = np.empty(images_BHWC.shape, np.float32)
    threads = torch.get_num_threads()
    ends = np.linspace(0, len(result_BHWC), threads + 1).astype(int)

    def work(start: int, end: int) -> None:
        own = (array[start:end] for array in (result_BHWC, *sources))
        _augment(normalised_C256, fill_C, *own)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, ends[:-1], ends[1:]))
    return torch.from_numpy(result_BHWC).permute(0, 3, 1, 2)


@compiled
def _augment(
    normalised_C256, fill_C, result_BHWC, source_BHWC, flipped_B, shift_B2, operations_BN, factors_BN, erased_B4
):
    _, H, W, C = source_BHWC.shape
    levels_HWC = np.empty((H, W, C), np.uint8)
    levels_NC = levels_HWC.reshape(H * W, C)
    for b in range(len(source_BHWC)):
        _flip_and_crop(source_BHWC[b], flipped_B[b], shift_B2[b], levels_HWC)
        for n in range(operations_BN.shape[1]):
            operation, factor = operations_BN[b, n], factors_BN[b, n]
            if operation == SATURATE:
                _saturate(levels_NC, factor)
            else:
                _mix(levels_NC.reshape(-1), _mean_grey(levels_NC) if operation == CONTRAST else 0, factor)
        _normalise(levels_NC, normalised_C256, result_BHWC[b].reshape(H * W, C))
        top, bottom, left, right = erased_B4[b]
        result_BHWC[b, top:bottom, left:right] = fill_C


@compiled
def _flip_and_crop(source_HWC, flipped, shift_2, result_HWC):
    """Copy to row y and column x from y and x plus the shift, in the mirrored picture if flipped; black outside."""
    H, W, _ = source_HWC.shape
    down, right = shift_2
    result_HWC[:] = 0
    low, high = max(0, -right), min(W, W - right)
    if low >= high:  # nothing but padding
        return
    for y in range(max(0, -down), min(H, H - down)):
        row, target = source_HWC[y + down], result_HWC[y]
        if flipped:
            for x in range(low, high):
                for c in range(3):
                    target[x, c] = row[W - 1 - x - right, c]
        else:
            target.reshape(-1)[3 * low : 3 * high] = row.reshape(-1)[3 * (low + right) : 3 * (high + right)]


@compiled
def _mix(levels_S, dull, factor):
    """Mix a picture with one grey level. A plain loop over one run of numbers can use vector instructions."""
    for s in range(len(levels_S)):
        levels_S[s] = _mixed(levels_S[s], dull, factor)


@compiled
def _saturate(levels_NC, factor):
    """Mix a picture with its grey version."""
    grey_NC = np.empty_like(levels_NC)
    for n in range(len(levels_NC)):
        grey = np.uint8(_grey(levels_NC[n, 0], levels_NC[n, 1], levels_NC[n, 2]))
        grey_NC[n, 0] = grey_NC[n, 1] = grey_NC[n, 2] = grey
    levels_S, grey_S = levels_NC.reshape(-1), grey_NC.reshape(-1)
    for s in range(len(levels_S)):
        levels_S[s] = _mixed(levels_S[s], grey_S[s], factor)


@compiled
def _mean_grey(levels_NC):
    total = 0
    for n in range(len(levels_NC)):
        total += _grey(levels_NC[n, 0], levels_NC[n, 1], levels_NC[n, 2])
    return int(total / len(levels_NC) + 0.5)  # rounded, as Pillow does it


@compiled
def _normalise(levels_NC, normalised_C256, result_NC):
    red_256, green_256, blue_256 = normalised_C256
    for n in range(len(levels_NC)):
        result_NC[n, 0] = red_256[levels_NC[n, 0]]
        result_NC[n, 1] = green_256[levels_NC[n, 1]]
        result_NC[n, 2] = blue_256[levels_NC[n, 2]]


@compiled(inline="always")
def _grey(red, green, blue):
    return (RED * np.int32(red) + GREEN * np.int32(green) + BLUE * np.int32(blue) + np.int32(32768)) >> 16


@compiled(inline="always")
def _mixed(level, dull, factor):
    """Mix two levels in float32 and truncate the result to a whole level, as Pillow does it."""
    dull = np.float32(dull)
    mixed = (np.float32(level) - dull) * factor + dull
    return np.uint8(min(max(mixed, np.float32(0)), np.float32(255)))
