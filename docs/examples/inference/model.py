"""A model of handwritten digits for MLServer: INT32 [1, 1, 28, 28] in, from 0 to 255, and UINT8 [1, 10] out, the share of each digit.

It holds the card of its pod open for as long as it is loaded. The arithmetic is done by the processor, since what computes on a card is
each vendor's own; a real model hands its input to that instead.
"""

import os
from pathlib import Path

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse

DEVICES = Path(os.environ.get("DEVICES", "/dev/rngd"))


class Mnist(MLModel):
    """Softmax regression."""

    async def load(self) -> bool:
        self._card = [os.open(path, os.O_RDWR | os.O_CLOEXEC) for path in sorted(DEVICES.iterdir())]
        with np.load(Path(__file__).with_name("weights.npz")) as weights:
            self._weights, self._bias = weights["weights"], weights["bias"]
        return True

    async def unload(self) -> bool:
        for descriptor in self._card:
            os.close(descriptor)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        image = NumpyCodec.decode_input(payload.inputs[0]).reshape(-1, 28 * 28) / 255
        logits = image @ self._weights + self._bias
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        scores = np.rint(odds / odds.sum(axis=1, keepdims=True) * 255).astype(np.uint8)
        return InferenceResponse(
            id=payload.id, model_name=self.name, model_version=self.version, outputs=[NumpyCodec.encode_output("scores", scores)]
        )
