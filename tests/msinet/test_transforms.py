import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from msinet.data import transforms
from msinet.data.transforms import Choices, choose, normalise, random_table
from msinet.recipes import CROSS_DOMAIN, IN_DOMAIN, Augmentation

PLAIN = Augmentation(flip=0, pad=0)
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)
ORDERS = ["bcs", "bsc", "cbs", "csb", "sbc", "scb"]


def pictures(count: int, size_HW: tuple[int, int] = (32, 16)) -> torch.Tensor:
    """Return smooth pictures with noise, some very dark or very bright: images_BHWC."""
    H, W = size_HW
    rng = np.random.default_rng(0)
    scale = rng.uniform(0.1, 1.5, (count, 1, 1, 1))
    ramps = np.linspace(0, 200, H)[None, :, None, None] * rng.uniform(0, 1, (count, 1, 1, 3))
    noise = rng.integers(0, 80, (count, H, W, 3))
    return torch.from_numpy(np.clip((ramps + noise) * scale, 0, 255).astype(np.uint8))


def table(count: int, epoch: int = 0) -> np.ndarray:
    return random_table(3, epoch, "train", count)


def augment(images: torch.Tensor, random: np.ndarray, augmentation: Augmentation) -> torch.Tensor:
    _, H, W, _ = images.shape
    return transforms.augment(images, choose(random, (H, W), augmentation))


def slow_pixels(pixels: np.ndarray, row: np.ndarray, augmentation: Augmentation) -> np.ndarray:
    """Do everything before normalisation on one picture with Pillow: pixels_HWC."""
    image = Image.fromarray(pixels)
    if row[0] < augmentation.flip:
        image = ImageOps.mirror(image)
    width, height = image.size
    image = ImageOps.expand(image, augmentation.pad, 0)
    top, left = (int(u * (2 * augmentation.pad + 1)) for u in row[1:3])
    image = image.crop((left, top, left + width, top + height))
    enhancers = {
        "b": (ImageEnhance.Brightness, augmentation.brightness, row[3]),
        "c": (ImageEnhance.Contrast, augmentation.contrast, row[4]),
        "s": (ImageEnhance.Color, augmentation.saturation, row[5]),
    }
    for letter in ORDERS[int(row[6] * 6)]:
        enhancer, strength, u = enhancers[letter]
        image = enhancer(image).enhance(1 - strength + 2 * strength * u)
    return np.asarray(image)


def slow_augment(pixels: np.ndarray, row: np.ndarray, augmentation: Augmentation) -> np.ndarray:
    """Augment one picture step by step: pixels_CHW."""
    image = (slow_pixels(pixels, row, augmentation).astype(np.float32) / np.float32(255) - MEAN) / STD
    height, width, _ = image.shape
    if row[7] < augmentation.erasing:
        for attempt in range(10):
            area, aspect, top, left = row[8 + 4 * attempt : 12 + 4 * attempt]
            area = (0.02 + (0.4 - 0.02) * area) * height * width
            aspect = 0.3 + (1 / 0.3 - 0.3) * aspect
            h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if h < height and w < width:
                y, x = int(top * (height - h + 1)), int(left * (width - w + 1))
                image[y : y + h, x : x + w] = (0.4914, 0.4822, 0.4465)
                break
    return image.transpose(2, 0, 1)


@pytest.mark.parametrize(
    "augmentation",
    [
        PLAIN,
        Augmentation(flip=1, pad=0),
        Augmentation(flip=0, pad=10),
        Augmentation(flip=0.5, pad=3),
        replace(PLAIN, erasing=1.0),
        IN_DOMAIN,
    ],
)
@pytest.mark.parametrize("size_HW", [(32, 16), (12, 20)])
def test_augmentation_without_colours_equals_the_slow_loop_exactly(
    augmentation: Augmentation, size_HW: tuple[int, int]
) -> None:
    images, random = pictures(40, size_HW), table(40)
    result = augment(images, random, augmentation)
    assert (result.dtype, result.shape) == (torch.float32, (40, 3, *size_HW))
    assert result.is_contiguous(memory_format=torch.channels_last)
    for image, row, fast in zip(images.numpy(), random, result.numpy(), strict=True):
        np.testing.assert_array_equal(fast, slow_augment(image, row, augmentation))


@pytest.mark.parametrize(
    "augmentation",
    [
        replace(PLAIN, brightness=0.4),
        replace(PLAIN, contrast=0.4),
        replace(PLAIN, saturation=0.3),
        replace(PLAIN, brightness=1.0, contrast=1.0, saturation=1.0),
        CROSS_DOMAIN,
    ],
)
def test_colour_jitter_is_within_one_grey_level_of_pillow(augmentation: Augmentation) -> None:
    images, random = pictures(60), table(60)
    levels = augment(images, random, augmentation).permute(0, 2, 3, 1).numpy() * STD + MEAN
    levels = np.rint(levels * 255)
    expected = np.stack([slow_pixels(*pair, augmentation) for pair in zip(images.numpy(), random, strict=True)])
    assert np.abs(levels - expected).max() <= 1
    assert (levels == expected).mean() > 0.999


@pytest.mark.parametrize(
    "augmentation",
    [
        PLAIN,
        Augmentation(flip=0.5, pad=3),
        Augmentation(flip=0.5, pad=40),
        replace(PLAIN, brightness=1.0, contrast=1.0, saturation=1.0),
        replace(CROSS_DOMAIN, erasing=0.7),
        IN_DOMAIN,
    ],
)
@pytest.mark.parametrize("size_HW", [(32, 16), (13, 21)])
def test_the_compiled_path_equals_the_path_of_devices(augmentation: Augmentation, size_HW: tuple[int, int]) -> None:
    images, random = pictures(61, size_HW), table(61)
    expected = transforms.augment_on_device(images, transforms.choose(random, size_HW, augmentation))
    assert augment(images, random, augmentation).equal(expected)


def test_every_order_of_the_colour_operations_is_drawn() -> None:
    orders = [ORDERS[int(u * 6)] for u in table(60)[:, 6]]
    assert set(orders) == set(ORDERS)
    letters = {transforms.BRIGHTEN: "b", transforms.CONTRAST: "c", transforms.SATURATE: "s"}
    assert ["".join(letters[operation] for operation in order) for order in transforms.ORDERS_63.tolist()] == ORDERS


def test_normalisation_is_exact() -> None:
    images = pictures(3)
    expected = (images.numpy().astype(np.float32) / np.float32(255) - MEAN) / STD
    result = normalise(images)
    np.testing.assert_array_equal(result.numpy(), expected.transpose(0, 3, 1, 2))
    assert result.is_contiguous(memory_format=torch.channels_last)


def test_probabilities_and_ranges_are_kept() -> None:
    random = table(4000)
    white = torch.full((4000, 6, 6, 3), 255, dtype=torch.uint8)
    result = augment(white, random, replace(PLAIN, erasing=0.5))
    erased = (result != normalise(white)).any(1).float().mean((1, 2))
    assert abs((erased > 0).float().mean() - 0.5) < 0.04
    assert erased.max() <= 0.45  # 0.4 plus rounding to whole pixels


def test_the_preset_values() -> None:
    assert (IN_DOMAIN.flip, IN_DOMAIN.pad, IN_DOMAIN.erasing, IN_DOMAIN.brightness) == (0.5, 10, 0.5, 0)
    assert (CROSS_DOMAIN.flip, CROSS_DOMAIN.pad, CROSS_DOMAIN.erasing) == (0.5, 10, 0)
    assert (CROSS_DOMAIN.brightness, CROSS_DOMAIN.contrast, CROSS_DOMAIN.saturation) == (0.4, 0.4, 0.3)


def test_a_picture_does_not_depend_on_its_batch() -> None:
    images, random = pictures(10), table(10)
    for augmentation in (IN_DOMAIN, CROSS_DOMAIN):
        whole = augment(images, random, augmentation)
        order = torch.tensor([7, 1, 4])
        assert augment(images[order], random[order.numpy()], augmentation).equal(whole[order])


def test_the_table_follows_from_its_arguments() -> None:
    whole = random_table(1, 2, "train", 20)
    assert whole.shape == (20, transforms.NUM_RANDOM)
    assert (whole >= 0).all()
    assert (whole < 1).all()
    np.testing.assert_array_equal(random_table(1, 2, "train", 5), whole[:5])
    others = [(2, 2, "train", 20), (1, 3, "train", 20), (1, 2, "valid", 20), (1, 2, "train", 20, 1)]
    assert all((random_table(*arguments) != whole).all() for arguments in others)


def test_impossible_augmentations_are_errors() -> None:
    with pytest.raises(ValueError, match=r"`erasing` must be 0 to 1, but got 1.5"):
        Augmentation(erasing=1.5)
    with pytest.raises(ValueError, match=r"`pad` must not be negative"):
        Augmentation(pad=-1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("augmentation", [IN_DOMAIN, CROSS_DOMAIN])
def test_a_gpu_computes_the_same(augmentation: Augmentation) -> None:
    images, choices = pictures(40), choose(table(40), (32, 16), augmentation)
    expected = transforms.augment(images, choices)
    result = transforms.augment(images.cuda(), Choices(*(choice.cuda() for choice in choices))).cpu()
    close = torch.isclose(result, expected, rtol=0, atol=1e-5)
    assert close.float().mean() > 0.999  # a fused multiply-add may truncate a mixed value to the next level
    assert (result - expected).abs().max() < 3 / 255 / 0.22
