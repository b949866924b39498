"""LitServe: one worker process, one API server."""

import os

import litserve
from scoring import MAX_BATCH, MAX_DELAY_S, Scorer


class Model(litserve.LitAPI):
    """Gets a list of requests where batching is on."""

    def setup(self, device):
        """Load the model."""
        self.score = Scorer()

    def decode_request(self, request):
        """The rows of the JSON body."""
        return request["rows"]

    def batch(self, inputs):
        """Leave them apart: each may have several rows."""
        return inputs

    def predict(self, rows):
        """Rows in, answers out."""
        return self.score.many(rows) if MAX_BATCH else self.score(rows)

    def unbatch(self, output):
        """One answer for each request."""
        return output

    def encode_response(self, output):
        """The JSON answer."""
        return {"answers": output}


if __name__ == "__main__":
    model = Model(max_batch_size=MAX_BATCH, batch_timeout=MAX_DELAY_S) if MAX_BATCH else Model()
    server = litserve.LitServer(model, accelerator="cpu", workers_per_device=1, fast_queue=True)
    port = int(os.environ["BENCH_PORT"])
    server.run(
        host="127.0.0.1",
        port=port,
        num_api_servers=1,
        generate_client_file=False,
        log_level="warning",
        access_log=False,
    )
