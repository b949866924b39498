"""BentoML: one worker."""

import bentoml
from scoring import MAX_BATCH, Scorer

QUIET = {
    "workers": 1,
    "metrics": {"enabled": False},
    "logging": {"access": {"enabled": False}},
    "traffic": {"timeout": 60},
}

if MAX_BATCH:

    @bentoml.service(**QUIET)
    class Model:
        """Batches by BentoML's own adaptive rule."""

        def __init__(self):
            self.score = Scorer()

        @bentoml.api(batchable=True, batch_dim=0, max_batch_size=MAX_BATCH, max_latency_ms=1000)
        def predict(self, rows: list[list[float]]) -> list[list[float]]:
            """Rows in, answers out."""
            return self.score(rows)

else:

    @bentoml.service(**QUIET)
    class Model:
        """One request at a time."""

        def __init__(self):
            self.score = Scorer()

        @bentoml.api
        async def predict(self, rows: list[list[float]]) -> list[list[float]]:
            """Rows in, answers out."""
            return self.score(rows)
