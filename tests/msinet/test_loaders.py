import itertools
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from support.pictures import items

from msinet.data.loaders import Batch, TrainBatches, eval_batches, prefetched
from msinet.data.packed import ImageStore, PackedDataset, write_shards
from msinet.data.records import label_of
from msinet.data.samplers import IdentityBatches
from msinet.data.transforms import augment, choose, normalise, random_table
from msinet.recipes import CROSS_DOMAIN


@pytest.fixture(scope="module")
def store_and_labels(tmp_path_factory: pytest.TempPathFactory) -> tuple[ImageStore, list[int]]:
    folder = tmp_path_factory.mktemp("data")
    write_shards(items(num_ids=5, per_id=4), folder / "shards")
    packed = PackedDataset(folder / "shards")
    labels = label_of(packed.records)
    store = ImageStore.open(packed, range(len(packed)), (16, 8), folder / "cache", "key")
    return store, [labels[record.pid] for record in packed.records]


@pytest.fixture
def batches(store_and_labels: tuple[ImageStore, list[int]]) -> TrainBatches:
    store, labels = store_and_labels
    sampler = IdentityBatches(labels, num_ids=2, num_instances=2, seed=4, stream="train")
    return TrainBatches(store, labels, sampler, CROSS_DOMAIN, seed=4, device="cpu", stream="train")


def same(first: Batch, second: Batch) -> bool:
    pairs = zip(vars(first).values(), vars(second).values(), strict=True)
    return all(a.equal(b) for a, b in pairs)


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "prefetch"]


def test_an_epoch_equals_a_loop_without_prefetching(batches: TrainBatches) -> None:
    result = list(batches.epoch(3))
    order = batches.sampler.epoch(3)
    table = random_table(4, 3, "train", order.size)
    assert len(result) == len(order) == 5
    assert batches.num_classes == 5
    for number, (batch, indices) in enumerate(zip(result, order, strict=True)):
        choices = choose(table[4 * number : 4 * number + 4], batches.store.size_HW, CROSS_DOMAIN)
        assert batch.images_BCHW.equal(augment(batches.store.gather(indices), choices))
        assert batch.indices_B.tolist() == indices.tolist()
        assert batch.labels_B.tolist() == [index // 4 for index in indices]


def test_an_epoch_can_be_repeated_and_epochs_differ(batches: TrainBatches) -> None:
    first, again, other = (list(batches.epoch(epoch)) for epoch in (1, 1, 2))
    assert all(map(same, first, again))
    assert not any(map(same, first, other))


def test_cycling_goes_on_with_other_batches_and_depends_on_the_epoch_alone(batches: TrainBatches) -> None:
    twelve = list(itertools.islice(batches.cycling(1), 12))
    assert all(map(same, twelve[:5], batches.epoch(1)))
    assert not any(map(same, twelve[:5], twelve[5:10]))
    assert all(map(same, twelve, itertools.islice(batches.cycling(1), 12)))
    passes = [sorted(torch.cat([b.indices_B for b in twelve[at : at + 5]]).tolist()) for at in (0, 5)]
    assert passes == [list(range(20))] * 2


@pytest.fixture
def uneven(store_and_labels: tuple[ImageStore, list[int]]) -> TrainBatches:
    """Return batches of identities with unequal numbers of pictures, so that passes differ in length."""
    store, _ = store_and_labels
    labels = np.repeat(np.arange(4), [2, 4, 4, 10])
    sampler = IdentityBatches(labels, num_ids=2, num_instances=2, seed=4)
    return TrainBatches(store, labels, sampler, CROSS_DOMAIN, seed=4, device="cpu")


@pytest.mark.parametrize("start", range(8))
def test_batches_can_begin_anywhere(uneven: TrainBatches, start: int) -> None:
    passes = {len(uneven.sampler.epoch(0, cycle)) for cycle in range(3)}
    assert len(passes) > 1
    whole, twelve = list(uneven.epoch(0)), list(itertools.islice(uneven.cycling(0), 12))
    rest = list(uneven.epoch(0, start))
    assert len(rest) == max(0, len(whole) - start)
    assert all(map(same, rest, whole[start:]))
    assert all(map(same, itertools.islice(uneven.cycling(0, start), 12 - start), twelve[start:]))


def test_batches_that_are_left_out_are_not_gathered(uneven: TrainBatches, monkeypatch: pytest.MonkeyPatch) -> None:
    gathered = []
    gather = uneven.store.gather

    def recording(indices: np.ndarray) -> torch.Tensor:
        gathered.append(indices.tolist())
        return gather(indices)

    monkeypatch.setattr(uneven.store, "gather", recording)
    rest = list(uneven.epoch(0, 1))
    assert gathered == [batch.indices_B.tolist() for batch in rest]
    gathered.clear()
    first = next(uneven.cycling(0, 7))
    assert gathered[0] == first.indices_B.tolist()


def test_streams_with_one_seed_differ(store_and_labels: tuple[ImageStore, list[int]], batches: TrainBatches) -> None:
    store, labels = store_and_labels
    sampler = IdentityBatches(labels, 2, 2, seed=4, stream="valid")
    valid = TrainBatches(store, labels, sampler, CROSS_DOMAIN, seed=4, device="cpu", stream="valid")
    assert not any(map(same, batches.epoch(0), valid.epoch(0)))


def test_evaluation_sees_every_picture_in_order(store_and_labels: tuple[ImageStore, list[int]]) -> None:
    store, _ = store_and_labels
    result = list(eval_batches(store, 8, "cpu"))
    assert [len(images) for images in result] == [8, 8, 4]
    assert torch.cat(result).equal(normalise(store.gather(np.arange(20))))


def test_labels_must_be_contiguous_and_one_per_picture(store_and_labels: tuple[ImageStore, list[int]]) -> None:
    store, labels = store_and_labels
    sampler = IdentityBatches(labels, 2, 2, seed=4)
    with pytest.raises(ValueError, match="one label"):
        TrainBatches(store, labels[:-1], sampler, CROSS_DOMAIN, 4, "cpu")
    with pytest.raises(ValueError, match="contiguous"):
        TrainBatches(store, [2 * label for label in labels], sampler, CROSS_DOMAIN, 4, "cpu")


def test_labels_may_be_a_part_of_a_shared_numbering(
    store_and_labels: tuple[ImageStore, list[int]], batches: TrainBatches
) -> None:
    store, labels = store_and_labels
    shared = [2 * label + 3 for label in labels]
    sampler = IdentityBatches(shared, 2, 2, seed=4)
    part = TrainBatches(store, shared, sampler, CROSS_DOMAIN, 4, "cpu", num_classes=12)
    assert part.num_classes == 12
    for batch, own in zip(part.epoch(0), batches.epoch(0), strict=True):  # only the labels differ
        assert batch.labels_B.tolist() == [2 * label + 3 for label in own.labels_B.tolist()]
        assert batch.images_BCHW.equal(own.images_BCHW)


@pytest.mark.parametrize(
    ("shift", "num_classes", "reach"), [(0, 4, "0 to 4, with num_classes=4"), (-1, 9, "-1 to 3, with num_classes=9")]
)
def test_labels_must_lie_in_a_shared_numbering(
    store_and_labels: tuple[ImageStore, list[int]], shift: int, num_classes: int, reach: str
) -> None:
    store, labels = store_and_labels
    shifted = [label + shift for label in labels]
    sampler = IdentityBatches(shifted, 2, 2, seed=4)
    with pytest.raises(ValueError, match=f"below `num_classes`, but they range from {reach}"):
        TrainBatches(store, shifted, sampler, CROSS_DOMAIN, 4, "cpu", num_classes=num_classes)


def test_an_error_in_the_background_arrives_after_the_items_before_it() -> None:
    def failing() -> Iterator[int]:
        yield from (1, 2)
        raise OSError("the disk is gone")

    iterator = prefetched(failing())
    assert [next(iterator), next(iterator)] == [1, 2]
    with pytest.raises(OSError, match="the disk is gone"):
        next(iterator)


def test_an_abandoned_iterator_ends_its_thread(batches: TrainBatches) -> None:
    before = threads()
    iterator = batches.cycling(0)
    next(iterator)
    (thread,) = set(threads()) - set(before)
    del iterator
    thread.join(timeout=10)
    assert not thread.is_alive()


def test_a_finished_iterator_ends_its_thread() -> None:
    before = threads()
    assert list(prefetched(iter(range(10)))) == list(range(10))
    assert set(threads()) == set(before)


def test_prefetching_runs_ahead_by_a_bounded_number() -> None:
    made = []

    def items_made() -> Iterator[int]:
        for item in range(100):
            made.append(item)
            yield item

    iterator = prefetched(items_made(), ahead=2)
    assert next(iterator) == 0
    deadline = time.monotonic() + 10
    while len(made) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert made == [0, 1, 2, 3]  # one was taken, two wait in the queue, and the thread holds one
    iterator.close()
    assert made == [0, 1, 2, 3]
