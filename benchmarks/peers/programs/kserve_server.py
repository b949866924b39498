"""KServe's Python server: one process."""

import os

from kserve import Model, ModelServer
from scoring import Scorer


class Fraud(Model):
    """Speaks the V1 protocol."""

    def __init__(self):
        super().__init__("model")
        self.score = Scorer()
        self.ready = True

    async def predict(self, payload, headers=None, response_headers=None):
        """Rows in, answers out."""
        return {"predictions": self.score(payload["instances"])}


if __name__ == "__main__":
    port = int(os.environ["BENCH_PORT"])
    ModelServer(http_port=port, workers=1, enable_grpc=False, enable_latency_logging=False).start([Fraud()])
