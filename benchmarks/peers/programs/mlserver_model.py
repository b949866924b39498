"""MLServer: a custom runtime."""

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse
from scoring import Scorer


class Model(MLModel):
    """Gets tensors, batched by MLServer where that is on."""

    async def load(self):
        """Load the model."""
        self.score = Scorer()
        return True

    async def predict(self, payload):
        """Rows in, answers out."""
        rows = NumpyCodec.decode_input(payload.inputs[0])
        answers = NumpyCodec.encode_output("answers", self.score.array(rows))
        return InferenceResponse(model_name=self.name, outputs=[answers])
