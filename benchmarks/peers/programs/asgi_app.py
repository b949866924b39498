"""The least that a Python server can do: a bare ASGI application, the model inside the event loop."""

import json

from scoring import Scorer

score = Scorer()
HEAD = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]}


async def app(scope, receive, send):
    """Answers every POST."""
    if scope["type"] != "http":
        return
    message = await receive()
    body = message["body"]
    while message["more_body"]:
        message = await receive()
        body += message["body"]
    answer = json.dumps(score(json.loads(body))).encode()
    length = (b"content-length", str(len(answer)).encode())
    await send({**HEAD, "headers": [*HEAD["headers"], length]})
    await send({"type": "http.response.body", "body": answer})
