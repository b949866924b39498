"""Mosec: its Rust front, one worker process."""

from mosec import Server, Worker
from scoring import MAX_BATCH, MAX_DELAY_S, Scorer


class Model(Worker):
    """Gets a list of requests where batching is on."""

    def __init__(self):
        self.score = Scorer()

    def forward(self, data):
        """Rows in, answers out."""
        return self.score.many(data) if MAX_BATCH else self.score(data)


if __name__ == "__main__":
    server = Server()
    server.append_worker(Model, num=1, max_batch_size=MAX_BATCH or 1, max_wait_time=int(MAX_DELAY_S * 1000))
    server.run()
