"""Views of images as the paper's code makes them: torchvision's transforms on PIL images, in a DataLoader's workers."""

import numpy as np
import torch
from PIL import Image
from torchvision import transforms

MEAN_AND_STD = {
    32: ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    64: ((0.4802, 0.4481, 0.3975), (0.2302, 0.2265, 0.2262)),
    96: ((0.4313, 0.4156, 0.3663), (0.2683, 0.2610, 0.2687)),
}


def views_of(size):
    """One view; the parameters are those of the presets (host-gpu/data/src/augment/presets.rs)."""
    return transforms.Compose(
        [
            transforms.RandomResizedCrop(size, scale=(0.25 if size == 32 else 0.08, 1.0)),
            transforms.RandomHorizontalFlip(),
            transforms.RandomApply([transforms.ColorJitter(0.8, 0.8, 0.8, 0.2)], p=0.8),
            transforms.RandomGrayscale(p=0.2),
            transforms.RandomApply([transforms.GaussianBlur(size // 10 | 1, sigma=(0.1, 2.0))], p=0.5),
            transforms.ToTensor(),
            transforms.Normalize(*MEAN_AND_STD[size]),
        ]
    )


class Pairs(torch.utils.data.Dataset):
    """Two views of each image; bytes `[count, size, size, 3]` in memory."""

    def __init__(self, images, size):
        self.images, self.view = images, views_of(size)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        image = Image.fromarray(self.images[index])
        return self.view(image), self.view(image)


def generated(count, size):
    """Smooth coloured noise: what an image shows does not change what its views take."""
    rng = np.random.default_rng(1)
    coarse = rng.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC)) for image in coarse])


def cifar10(files):
    """The images of CIFAR-10's binary files: records of a label and three planes of 32x32."""
    records = np.concatenate([np.fromfile(path, dtype=np.uint8).reshape(-1, 3073) for path in files])
    return np.ascontiguousarray(records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))


def _one_thread(_):
    torch.set_num_threads(1)


def batches(images, size, batch, workers):
    """Endless batches of rows: first views, then second views, in pinned memory where there is a GPU."""
    loader = torch.utils.data.DataLoader(
        Pairs(images, size),
        batch_size=batch,
        shuffle=True,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        drop_last=True,
        persistent_workers=workers > 0,
        worker_init_fn=_one_thread,
    )
    while True:
        for first, second in loader:
            yield torch.cat([first, second])
