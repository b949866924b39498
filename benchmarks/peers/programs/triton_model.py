"""Triton's Python backend: one instance."""

import numpy as np
import triton_python_backend_utils as triton
from scoring import Scorer


class TritonPythonModel:
    """Gets a list of requests, several where batching is on."""

    def initialize(self, arguments):
        """Load the model."""
        self.score = Scorer()

    def execute(self, requests):
        """Rows in, answers out."""
        rows = [triton.get_input_tensor_by_name(request, "rows").as_numpy() for request in requests]
        answers = self.score.array(rows[0] if len(rows) == 1 else np.concatenate(rows))
        done, at = [], 0
        for part in rows:
            found = triton.Tensor("answers", answers[at : at + len(part)])
            done.append(triton.InferenceResponse(output_tensors=[found]))
            at += len(part)
        return done
