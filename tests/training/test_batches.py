"""What `fit` takes its batches from: data sets and loaders, against the same images in memory."""

import random

import numpy as np
import pytest
import torch
from fitting import StopHereError, images, model, noisy_loss
from PIL import Image
from several import run_in
from torch.utils.data import DataLoader, Dataset, IterableDataset, WeightedRandomSampler

from mmlite import Checkpointing, ImageSet, fit
from mmlite.training.loading import stacked
from mmlite.training.watch import TrainingError


def labeled(image):
    return image, 0


class Pictures(Dataset):
    """Gives the images of an `ImageSet` in a form of its own."""

    def __init__(self, give=labeled, image_set=None):
        self.give, self.image_set = give, images() if image_set is None else image_set

    def __len__(self):
        return len(self.image_set)

    def __getitem__(self, index):
        return self.give(self.image_set.images[index])


class FromAnotherPackage:
    """A data set by what it can do."""

    __len__, __getitem__ = lambda self: 20, lambda self, index: (images().images[index], 0)


class Shaken(Pictures):
    """Random transformations, from each of the generators that such code draws from."""

    def __getitem__(self, index):
        noise = torch.rand(1, 2, 2) + random.random() + float(np.random.rand())  # noqa: NPY002
        return (self.image_set.images[index] / 255 + noise) / 4, 0


class Stream(IterableDataset):
    """Images one after the other; `told` of them by its length."""

    def __init__(self, count, told):
        self.count, self.told = count, told

    def __len__(self):
        return self.told

    def __iter__(self):
        return (images().images[i] for i in range(self.count))


def trained(source, loss=noisy_loss, **options):
    net = model()
    options = {"epochs": 2, "progress": False} | options
    history = fit(net, loss, source, **options)
    return {"weights": [p.detach() for p in net.parameters()], "loss": history.loss}


def same(a, b):
    return a["loss"] == b["loss"] and all(map(torch.equal, a["weights"], b["weights"]))


def as_pil(image):
    return Image.fromarray(image[0].numpy())


def shuffled(source, **options):
    return DataLoader(source, 6, shuffle=True, **options)


# What gives the same images trains alike


@pytest.mark.parametrize(
    "source",
    [
        Pictures(),
        Pictures(lambda image: image),
        Pictures(lambda image: [image, 3, "a label"]),
        Pictures(as_pil),
        FromAnotherPackage(),
    ],
    ids=["image and label", "image", "list", "PIL", "no Dataset"],
)
def test_a_data_set_trains_as_its_images_in_memory_do(source):
    assert same(trained(source, batch_size=6), trained(images(), batch_size=6))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"drop_last": True},
        {"num_workers": 2},
        {"num_workers": 1, "persistent_workers": True, "prefetch_factor": 3},
        {"num_workers": 1, "multiprocessing_context": "spawn"},
        {"collate_fn": torch.utils.data.default_collate},
    ],
    ids=["plain", "drop_last", "two workers", "kept worker", "spawned worker", "collate"],
)
def test_a_loader_that_shuffles_trains_as_its_images_in_memory_do(options):
    assert same(trained(shuffled(images(), **options)), trained(images(), batch_size=6))


def test_a_collate_of_the_callers_own_is_kept():
    def brighter(items):
        return torch.stack([image // 2 for image, _ in items])

    half = ImageSet(images().images // 2, images().labels, ("a",))
    loader = shuffled(images(), collate_fn=brighter)
    assert same(trained(loader), trained(half, batch_size=6))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.uint16])
def test_a_loss_gets_the_images_in_their_type(dtype):
    seen = set()

    def loss(model, batch, generator):
        seen.add((batch.dtype, tuple(batch.shape)))
        return noisy_loss(model, batch, generator)

    trained(Pictures(lambda image: image.to(dtype)), loss, batch_size=6)
    assert seen == {(dtype, (6, 1, 2, 2))}


def test_random_transformations_do_not_depend_on_workers_nor_disturb_other_draws():
    torch.manual_seed(5)
    alone = trained(Shaken(), batch_size=6)
    state = torch.get_rng_state()
    random.seed(1)
    wanted = random.random()
    for workers in (0, 1, 2):
        torch.manual_seed(5)
        random.seed(1)
        assert same(trained(shuffled(Shaken(), num_workers=workers)), alone)
        assert torch.equal(torch.get_rng_state(), state)
        assert random.random() == wanted


def test_each_image_of_each_epoch_has_random_numbers_of_its_own():
    drawn = []

    def loss(model, batch, generator):
        drawn.append(batch)
        return noisy_loss(model, batch, generator)

    trained(Shaken(), loss, batch_size=6)
    assert len(torch.cat(drawn).flatten(1).unique(dim=0)) == 36


# A loader whose order is its own


def test_any_other_loader_is_taken_as_it_is():
    seen = []

    def loss(model, batch, generator):
        seen.append(batch[:, 0, 0, 0].tolist())
        return noisy_loss(model, batch, generator)

    history = fit(model(), loss, DataLoader(images(), 8), epochs=2, progress=False)
    epoch = [list(range(8)), list(range(8, 16)), list(range(16, 20))]
    assert seen == epoch * 2
    assert history.steps_per_epoch == 3
    seen.clear()
    sampler = WeightedRandomSampler([1.0] * 3 + [0.0] * 17, 12)
    trained(DataLoader(images(), 4, sampler=sampler), loss, epochs=1)
    assert len(seen) == 3
    assert {place for batch in seen for place in batch} <= {0, 1, 2}
    seen.clear()
    trained(DataLoader(Stream(12, 12), 4), loss, epochs=1)
    assert seen == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    seen.clear()
    sizes = [[0, 1], [2, 3, 4]]
    trained(DataLoader(images(), batch_sampler=sizes), loss, epochs=1)
    assert seen == sizes


def test_a_sampler_is_told_the_epoch():
    class Rotated(torch.utils.data.SequentialSampler):
        def set_epoch(self, epoch):
            self.epoch = epoch

        def __iter__(self):
            return iter([(i + self.epoch) % 20 for i in range(20)])

    seen = []

    def loss(model, batch, generator):
        seen.append(int(batch[0, 0, 0, 0]))
        return noisy_loss(model, batch, generator)

    trained(DataLoader(images(), 20, sampler=Rotated(images())), loss, epochs=3)
    assert seen == [0, 1, 2]


# Stopped and gone on


def stopped_at(step):
    taken = []

    def after_step(optimizer):
        taken.append(None)
        if len(taken) == step:
            raise StopHereError

    return after_step


@pytest.mark.parametrize("step", [2, 3, 4])
@pytest.mark.parametrize(
    "make",
    [Shaken, lambda: shuffled(Shaken()), lambda: shuffled(Shaken(), num_workers=1)],
    ids=["data set", "loader", "worker"],
)
def test_a_run_goes_on_within_an_epoch_bit_by_bit(make, step, tmp_path):
    size = {} if isinstance(make(), DataLoader) else {"batch_size": 6}
    whole = trained(make(), **size)
    path = tmp_path / "last.pt"
    with pytest.raises(StopHereError):
        trained(
            make(), after_step=stopped_at(step), **size, checkpoint=Checkpointing(path, every=1)
        )
    torch.manual_seed(99)
    again = trained(make(), **size, checkpoint=Checkpointing(path, resume=True))
    assert same(again, whole)


def test_a_loader_of_its_own_order_goes_on_between_epochs_bit_by_bit(tmp_path):
    def make():
        generator = torch.Generator().manual_seed(3)
        sampler = WeightedRandomSampler([1.0] * 20, 20, generator=generator)
        return DataLoader(images(), 5, sampler=sampler)

    torch.manual_seed(4)
    whole = trained(make(), epochs=3)
    torch.manual_seed(4)
    path = tmp_path / "last.pt"
    with pytest.raises(StopHereError):
        trained(make(), epochs=3, after_step=stopped_at(6), checkpoint=Checkpointing(path))
    torch.manual_seed(99)
    again = trained(make(), epochs=3, checkpoint=Checkpointing(path, resume=True))
    assert same(again, whole)


def test_a_loader_of_its_own_order_does_not_save_within_an_epoch(tmp_path):
    with pytest.raises(ValueError, match=r"a run cannot go on there.*shuffle=True"):
        trained(DataLoader(images(), 5), checkpoint=Checkpointing(tmp_path / "last.pt", every=2))
    assert not list(tmp_path.iterdir())


def test_a_loader_may_go_on_where_memory_began_and_other_images_may_not(tmp_path):
    path = tmp_path / "last.pt"
    trained(images(), batch_size=6, checkpoint=Checkpointing(path))
    trained(shuffled(images()), checkpoint=Checkpointing(path, resume=True))
    with pytest.raises(RuntimeError, match=r"images is .* there and 'Pictures of 20 images' here"):
        trained(Pictures(), batch_size=6, checkpoint=Checkpointing(path, resume=True))


def _share(rank, sizes, source, size):
    seen = []

    def loss(model, batch, generator):
        seen.append(batch)
        return noisy_loss(model, batch, generator)

    fit(model(), loss, source, epochs=1, batch_size=size, progress=False)
    return {"seen": seen}


def test_several_processes_share_what_one_would_load(tmp_path):
    seen = []
    trained(Shaken(), lambda m, b, g: seen.append(b) or noisy_loss(m, b, g), epochs=1, batch_size=7)
    found = run_in([1, 1], _share, tmp_path, Shaken(), 7)
    for step, whole in enumerate(seen):
        assert torch.equal(torch.cat([one["seen"][step] for one in found]), whole)


# A loader that misbehaves


def breaking(image):
    if int(image[0, 0, 0]) == 13:
        raise KeyError("13.png is missing")
    return image


def ragged(image):
    return image if int(image[0, 0, 0]) % 2 else image[:, :1]


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("give", "error", "message"),
    [
        (breaking, TrainingError, r"could not be loaded \(KeyError: .*13.png is missing"),
        (ragged, ValueError, r"one shape and type, got .*\(1, 1, 2\).* and .*\(1, 2, 2\)"),
        (lambda image: image.numpy(), ValueError, "an item of the data set must be an image"),
        (lambda image: {"image": image}, ValueError, "an item of the data set must be an image"),
        (lambda image: image[0], ValueError, r"an item .*, got a tensor uint8 of shape \[2, 2\]"),
        (lambda image: image.int(), ValueError, "a batch of the loader must be images .*int32"),
        (lambda image: None, ValueError, "an item of the data set must be .*, got None"),
        (
            lambda image: torch.zeros(8, 8, 3, dtype=torch.uint8),
            ValueError,
            r"images of shape \[\d+, 8, 8, 3\] have their channels last",
        ),
    ],
    ids=["raises", "sizes", "NumPy", "dictionary", "flat", "int32", "None", "channels last"],
)
def test_images_that_cannot_be_taken_are_refused_in_a_sentence(give, error, message, workers):
    with pytest.raises(error, match=message) as raised:
        trained(shuffled(Pictures(give), num_workers=workers))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("mode", ["1", "P", "PA", "CMYK", "YCbCr", "LAB", "HSV", "L", "RGB"])
def test_a_picture_of_any_mode_is_loaded_as_it_is_seen(mode):
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:4] = 255  # black and white, which every mode can tell
    picture = Image.fromarray(pixels).convert(mode)
    (found,) = stacked([picture])
    seen = np.asarray(picture.convert("RGB")).transpose(2, 0, 1)
    assert found.shape[0] == (1 if mode in ("1", "L") else 3)
    assert np.abs(found.numpy().astype(int) - seen.astype(int)).max() == 0
    assert found[:, 0].min() > 250
    assert found[:, 7].max() < 5


def test_what_is_no_source_of_batches_is_refused_in_a_sentence():
    def refused(source, message, **options):
        with pytest.raises((ValueError, TrainingError), match=message):
            trained(source, **options)

    refused(Stream(8, 8), "is an IterableDataset; give a DataLoader of it")
    refused(iter([1]), "images must be .* a map-style Dataset, or a DataLoader")
    refused({"a": 1}, "images must be .* a map-style Dataset, or a DataLoader")
    refused([(images().images[0], 0)] * 9, "images must be .* a map-style Dataset")
    refused(shuffled(images()), "batch_size is 5, and the loader's is 6", batch_size=5)
    refused(DataLoader(images(), 30, drop_last=True), "the loader has no batch")
    refused(DataLoader(Stream(9, 9), 4), "has 1 images, and a loss compares at least 2")
    refused(DataLoader(Stream(8, 16), 4), r"gave 2 batches in epoch 1, .* length says 4")
    refused(DataLoader(images(), 5, collate_fn=lambda items: items), r"a batch .* must be images")
    refused(
        Pictures(image_set=images(1)),
        "batch_size must be a whole number from 2 to 1, got 2",
        batch_size=2,
    )
    refused(
        shuffled(images(), collate_fn=lambda items: torch.zeros(3, 1, 2, 2)),
        "has 3 images where 6 were due",
    )

    class Endless(IterableDataset):
        def __iter__(self):
            return iter(images().images)

    refused(DataLoader(Endless(), 4), "cannot tell how many batches")


def _refused(rank, sizes):
    try:
        fit(model(), noisy_loss, DataLoader(images(), 5), epochs=1, progress=False)
    except ValueError as error:
        return {"told": str(error)}
    return {"told": ""}


def test_several_processes_do_not_share_a_loader_of_its_own_order(tmp_path):
    for one in run_in([1, 1], _refused, tmp_path):
        assert "several processes cannot share a loader whose order is its own" in one["told"]
