"""Textbook code that `benchmarks.speed.speed` compares fakelab with ("plain" in the tables).

Runs as its own process (`python -m benchmarks.speed.plain train FOLDER ...`), so that fakelab's tuning does not affect it.
Prints images per second; `head` prints a list, [seconds, AUROC].
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch
from torch import nn


def generator() -> nn.Sequential:
    """DCGAN's generator at 64x64 as tutorials write it: z (B, 100, 1, 1) -> (B, 3, 64, 64)."""
    layers: list[nn.Module] = []
    for before, after, stride, padding in ((100, 512, 1, 0), (512, 256, 2, 1), (256, 128, 2, 1), (128, 64, 2, 1)):
        layers += [
            nn.ConvTranspose2d(before, after, 4, stride, padding, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(True),
        ]
    return nn.Sequential(*layers, nn.ConvTranspose2d(64, 3, 4, 2, 1, bias=False), nn.Tanh())


def discriminator() -> nn.Sequential:
    """DCGAN's discriminator at 64x64: (B, 3, 64, 64) -> (B, 1, 1, 1)."""
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, True)]
    for before, after in ((64, 128), (128, 256), (256, 512)):
        layers += [nn.Conv2d(before, after, 4, 2, 1, bias=False), nn.BatchNorm2d(after), nn.LeakyReLU(0.2, True)]
    return nn.Sequential(*layers, nn.Conv2d(512, 1, 4, 1, 0, bias=False), nn.Sigmoid())


def train(folder: Path, epochs: int, workers: int = 2) -> float:
    """Train DCGAN by the textbook (fp32, batch 128, ImageFolder, DataLoader): images per second after the first epoch."""
    from torchvision import datasets, transforms

    steps = [
        transforms.Resize(64),
        transforms.CenterCrop(64),
        transforms.ToTensor(),
        transforms.Normalize([0.5] * 3, [0.5] * 3),
    ]
    data = datasets.ImageFolder(str(folder), transforms.Compose(steps))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    loader = torch.utils.data.DataLoader(data, batch_size=128, shuffle=True, num_workers=workers, drop_last=True)
    net_g, net_d, loss = generator().to(device), discriminator().to(device), nn.BCELoss()
    optimiser_d = torch.optim.Adam(net_d.parameters(), lr=2e-4, betas=(0.5, 0.999))
    optimiser_g = torch.optim.Adam(net_g.parameters(), lr=2e-4, betas=(0.5, 0.999))
    seen, began = 0, 0.0
    for epoch in range(epochs):
        if epoch == 1:
            began = time.perf_counter()
        for batch, _ in loader:
            real = batch.to(device)
            ones, zeros = torch.ones(len(real), device=device), torch.zeros(len(real), device=device)
            net_d.zero_grad()
            loss_real = loss(net_d(real).view(-1), ones)
            loss_real.backward()
            fake = net_g(torch.randn(len(real), 100, 1, 1, device=device))
            loss_fake = loss(net_d(fake.detach()).view(-1), zeros)
            loss_fake.backward()
            optimiser_d.step()
            net_g.zero_grad()
            loss_g = loss(net_d(fake).view(-1), ones)
            loss_g.backward()
            optimiser_g.step()
            (loss_real + loss_fake).item(), loss_g.item()
            seen += len(real) if epoch else 0
    return seen / (time.perf_counter() - began)


def sample(checkpoint: Path, out: Path, count: int) -> float:
    """Write fakes by the textbook (a batch through the network, torchvision's save_image for each): images per second."""
    from safetensors.torch import load_file
    from torchvision.utils import save_image

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = generator().to(device).eval()
    prefix = "generator_ema.layers."  # the weights that fakelab samples from, so that the PNGs are comparable
    tensors = load_file(checkpoint)
    network.load_state_dict({name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)})
    out.mkdir(parents=True, exist_ok=True)
    began, written = time.perf_counter(), 0
    with torch.no_grad():
        while written < count:
            for image in network(torch.randn(64, 100, 1, 1, device=device)):
                save_image(image, out / f"{written:06d}.png", normalize=True, value_range=(-1, 1))
                written += 1
    return written / (time.perf_counter() - began)


def score(folder: Path, detector: Path) -> float:
    """Score a folder by the textbook (fp32, ImageFolder, DataLoader) with fakelab's detector: images per second."""
    from torchvision import datasets, transforms

    from fakedetect import Detector

    loaded = Detector.load(detector)
    side = loaded.resolution
    steps = [transforms.Resize(side), transforms.CenterCrop(side), transforms.PILToTensor()]
    data = datasets.ImageFolder(str(folder), transforms.Compose(steps))
    loader = torch.utils.data.DataLoader(data, batch_size=64, num_workers=2)
    network = loaded.network.to(memory_format=torch.contiguous_format)
    began, seen = time.perf_counter(), 0
    with torch.no_grad():
        for batch, _ in loader:
            torch.sigmoid(network(batch.to(loaded.device))).tolist()
            seen += len(batch)
    return seen / (time.perf_counter() - began)


def score_resnet50(folder: Path) -> float:
    """Score a folder of photos with timm's ResNet50 at 224x224 in fp32, unchanged: images per second."""
    import timm
    from torchvision import datasets, transforms

    steps = [transforms.Resize(224), transforms.CenterCrop(224), transforms.ToTensor()]
    steps.append(transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    loader = torch.utils.data.DataLoader(
        datasets.ImageFolder(str(folder), transforms.Compose(steps)), batch_size=32, num_workers=2
    )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = timm.create_model("resnet50", num_classes=1).eval().to(device)
    began, seen = time.perf_counter(), 0
    with torch.no_grad():
        for batch, _ in loader:
            torch.sigmoid(network(batch.to(device))).tolist()
            seen += len(batch)
    return seen / (time.perf_counter() - began)


def finetune(folder: Path) -> float:
    """Train timm's ResNet50 on photos at 64x64 for an epoch by the textbook (fp32, DataLoader): images per second."""
    import timm
    from torchvision import datasets, transforms

    steps = [transforms.Resize(64), transforms.CenterCrop(64), transforms.RandomHorizontalFlip(), transforms.ToTensor()]
    data = datasets.ImageFolder(str(folder), transforms.Compose(steps))
    loader = torch.utils.data.DataLoader(data, batch_size=64, shuffle=True, num_workers=2, drop_last=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = timm.create_model("resnet50", num_classes=1).to(device)
    optimiser, loss = torch.optim.AdamW(network.parameters(), lr=1e-4), nn.BCEWithLogitsLoss()
    began, seen = time.perf_counter(), 0
    for batch, _ in loader:
        labels = torch.randint(2, (len(batch),), device=device).float()
        optimiser.zero_grad()
        found = loss(network(batch.to(device)).flatten(), labels)
        found.backward()
        optimiser.step()
        found.item()
        seen += len(batch)
    return seen / (time.perf_counter() - began)


def head(folder: Path, weights: Path, size: int, epochs: int) -> tuple[float, float]:
    """Train the textbook transfer classifier, which sends every image through the frozen backbone in every epoch:
    (seconds, best AUROC on the last tenth of each class).
    """
    import timm
    from sklearn.metrics import roc_auc_score
    from torchvision import datasets, transforms

    from fakedetect.models.heads import TransferHead

    steps = [transforms.Resize(size), transforms.RandomHorizontalFlip(), transforms.ToTensor()]
    steps.append(transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    data = datasets.ImageFolder(str(folder), transforms.Compose(steps))  # fake = 0, real = 1: inverted below
    each = len(data) // 2
    val_rows = [row for row in range(len(data)) if row % each >= each * 9 // 10]
    train_rows = [row for row in range(len(data)) if row % each < each * 8 // 10]
    train, val = (
        torch.utils.data.DataLoader(torch.utils.data.Subset(data, rows), batch_size=64, shuffle=True, num_workers=2)
        for rows in (train_rows, val_rows)
    )
    backbone = timm.create_model("resnet50", num_classes=0).eval()
    backbone.load_state_dict(torch.load(weights, weights_only=True))
    layers = TransferHead(backbone.num_features)
    optimiser = torch.optim.AdamW(layers.parameters(), lr=1e-3)
    began, best = time.perf_counter(), 0.0
    for _ in range(epochs):
        layers.train()
        for batch, labels in train:
            with torch.no_grad():
                features = backbone(batch)
            logits = layers(features).flatten()
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, 1.0 - labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        layers.eval()
        with torch.no_grad():
            found = [(layers(backbone(batch)).flatten(), 1 - labels) for batch, labels in val]
        logits, labels = (torch.cat(parts).numpy() for parts in zip(*found, strict=True))
        best = max(best, float(roc_auc_score(labels, logits)))
    return time.perf_counter() - began, best


if __name__ == "__main__":
    what, *arguments = sys.argv[1:]
    first, *rest = map(Path, arguments)
    if what == "train":
        print(train(first, *map(int, arguments[1:])))
    elif what == "finetune":
        print(finetune(first))
    elif what == "sample":
        print(sample(first, rest[0], int(arguments[2])))
    elif what == "score_resnet50":
        print(score_resnet50(first))
    elif what == "head":
        print(list(head(first, rest[0], int(arguments[2]), int(arguments[3]))))
    else:
        print(score(first, rest[0]))
