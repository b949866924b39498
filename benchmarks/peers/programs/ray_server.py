"""Ray Serve: one replica."""

import os

import ray
from ray import serve
from scoring import MAX_BATCH, MAX_DELAY_S, Scorer


@serve.deployment(
    num_replicas=1,
    max_ongoing_requests=256,
    ray_actor_options={"num_cpus": 0},
    logging_config={"enable_access_log": False, "log_level": "WARNING"},
)
class Model:
    """The replica."""

    def __init__(self):
        self.score = Scorer()

    @serve.batch(max_batch_size=MAX_BATCH or 1, batch_wait_timeout_s=MAX_DELAY_S)
    async def together(self, requests):
        """Used where batching is on."""
        return self.score.many(requests)

    async def __call__(self, request):
        """Rows in, answers out."""
        rows = await request.json()
        return await self.together(rows) if MAX_BATCH else self.score(rows)


if __name__ == "__main__":
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=100 * 2**20,
        _temp_dir=os.environ["BENCH_FOLDER"],
        log_to_driver=False,
    )
    serve.start(http_options={"host": "127.0.0.1", "port": int(os.environ["BENCH_PORT"])})
    serve.run(Model.bind(), blocking=True)
