"""FastAPI, the model inside the event loop: the fastest of the usual ways."""

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from scoring import Scorer

app = FastAPI()
score = Scorer()


@app.post("/predict")
async def predict(request: Request):
    """Rows in, answers out."""
    return JSONResponse(score(await request.json()))
