"""TorchServe and Multi Model Server: a handler that is a plain function, one list of requests in, one of answers out."""

import json
import sys

sys.path.insert(0, __import__("os").environ["BENCH_PROGRAMS"])

from scoring import Scorer

_scorer = None


def handle(data, context):
    """`data` is None when the server only wants the model loaded."""
    global _scorer
    if _scorer is None:
        _scorer = Scorer()
    if data is None:
        return None
    return [json.dumps(answer) for answer in _scorer.many([_rows(request) for request in data])]


def _rows(request):
    body = request.get("body") or request.get("data")
    return body if isinstance(body, list) else json.loads(body)
