"""Detectors as others publish them, made by the tests, and labelled images that they order."""

from pathlib import Path

import cv2
import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from sklearn.linear_model import LogisticRegression

SIDE = 40  # pixels of the images
BAND = 0.45, 0.65  # the mean red of a fake, 0 to 1; that of a real is below or above


def write_images(folder: Path, count: int = 120, seed: int = 0) -> tuple[str, str]:
    """Write `count` real and fake PNGs, whose mean red alone tells them apart, and return the two folders."""
    random = np.random.default_rng(seed)
    for label in ("real", "fake"):
        (folder / label).mkdir(parents=True)
        for number in range(count):
            means = random.uniform(0.1, 0.9, 3)
            if label == "fake":
                means[0] = random.uniform(*BAND)
            else:
                means[0] = random.choice([random.uniform(0.05, 0.3), random.uniform(0.8, 0.95)])
            coarse = cv2.resize(
                random.normal(0, 25, (5, 5, 3)).astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC
            )
            rgb = np.clip(255 * means + coarse - coarse.mean((0, 1)), 0, 255).astype(np.uint8)
            cv2.imwrite(str(folder / label / f"{number:03d}.png"), rgb[..., ::-1])
    return str(folder / "real"), str(folder / "fake")


def write_onnx(
    path: Path, *, channels_last: bool = False, softmax: bool = True, side: int = 32, outputs: int = 2, number="n"
) -> Path:
    """Write a graph that expects BGR from 0 to 255. Its outputs (N, 2) are high at 0 for fakes: in the band of red; or with
    one output, high for reals.
    """
    middle, half = 255 * sum(BAND) / 2, 255 * (BAND[1] - BAND[0]) / 2
    shape = [number, side, side, 3] if channels_last else [number, 3, side, side]
    constants = {
        "axes": np.array([1, 2] if channels_last else [2, 3]),
        "pick": np.array([[0.0], [0.0], [1.0]], np.float32),  # the third of BGR
        "middle": np.array([middle], np.float32),
        "weight": np.array([[-1.0, 1.0]] if outputs == 2 else [[1.0]], np.float32) / 10,
        "bias": np.array([1.4 * half, -1.4 * half] if outputs == 2 else [-1.4 * half], np.float32) / 10,
    }
    nodes = [
        helper.make_node("ReduceMean", ["pixels", "axes"], ["means"], keepdims=0),
        helper.make_node("MatMul", ["means", "pick"], ["red"]),
        helper.make_node("Sub", ["red", "middle"], ["off"]),
        helper.make_node("Abs", ["off"], ["away"]),
        helper.make_node("Gemm", ["away", "weight", "bias"], ["logits"]),
        helper.make_node("Softmax" if outputs == 2 else "Sigmoid", ["logits"], ["probabilities"]),
    ]
    last = "probabilities" if softmax else "logits"
    graph = helper.make_graph(
        nodes if softmax else nodes[:-1],
        "theirs",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, [number, outputs])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


def fit_head(network: torch.nn.Module, folders: tuple[str, str], side: int) -> torch.nn.Module:
    """Fit the last layer of a timm network with random weights, for BGR from -1 to 1, so that output 0 is that of fakes."""
    images, labels = [], []
    for label, folder in enumerate(folders):
        for path in sorted(Path(folder).glob("*.png")):
            images.append(cv2.resize(cv2.imread(str(path)), (side, side), interpolation=cv2.INTER_AREA))
            labels.append(label)
    x = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 127.5 - 1
    network.eval()
    with torch.no_grad():
        features = network.forward_head(network.forward_features(x), pre_logits=True)
        scale = features.std(0).clamp_min(1e-6)
        fitted = LogisticRegression(C=100, max_iter=1000).fit((features / scale).numpy(), labels)
        weight = torch.from_numpy(fitted.coef_[0]).float() / scale
        last = network.get_classifier()
        last.weight.copy_(torch.stack([weight, -weight]))
        last.bias.copy_(torch.tensor([1.0, -1.0]) * float(fitted.intercept_[0]))
    return network
