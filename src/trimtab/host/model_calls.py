"""AWS's multi-model container contract, as a program is asked: load, unload, list (semantics 2.2)."""

from __future__ import annotations

import logging
from typing import Final
from urllib.parse import quote

import msgspec
from msgspec import Struct

from trimtab.host.runner import LoadFault
from trimtab.logs import fields
from trimtab.resources.replica import Failure
from trimtab.wire import http

logger = logging.getLogger(__name__)

ASK_LIMIT_S: Final = 10.0  # a question about a model; loads and unloads take longer
UNLOAD_LIMIT_S: Final = 60.0
_TOLD: Final = 500  # characters of what a program says that are passed on
_PAGES: Final = 1000  # of one list
_MODELS: Final = "/models"


class _Listed(Struct):
    modelName: str = ""


class _Page(Struct):
    models: list[_Listed] = []
    nextPageToken: str | int | None = None


def path_of(name: str) -> str:
    """Where requests for a model are posted."""
    return f"{_MODELS}/{name}/invoke"


async def load(address: str, name: str, url: str) -> None:
    """Have the files in the folder `url` loaded as `name`; 409, that it is loaded, is as good.

    It takes as long as it takes: that is for the policy to bound. Raises LoadFault for what the program answers;
    OSError and ValueError as `http.ask`.
    """
    body = msgspec.json.encode({"model_name": name, "url": url})
    status, answer = await http.ask(address, "POST", _MODELS, body, timeout_s=None)
    if status in (200, 201, 409):
        return
    text = said(answer)
    if status == 507:
        message = f"The model server has not enough memory for the model (it answered 507 to POST /models). {text}"
        raise LoadFault(Failure(reason="OutOfMemory", message=message.strip()), full=True)
    message = f"The model server could not load the model: it answered {status} to POST /models."
    raise LoadFault(Failure(reason="ModelLoadFailed", message=message, tail=text))


async def unload(address: str, name: str) -> bool:
    """Have it unloaded. False when the program could not, or is gone."""
    try:
        status, answer = await http.ask(address, "DELETE", f"{_MODELS}/{quote(name)}", timeout_s=UNLOAD_LIMIT_S)
    except (OSError, TimeoutError, ValueError) as error:
        logger.debug("unload not answered %s", fields(name=name, error=error))
        return False
    if status in (200, 202, 204, 404):
        return True
    logger.warning("the model server did not unload %s", fields(name=name, status=status, said=said(answer)))
    return False


async def has(address: str, name: str) -> bool | None:
    """Whether it is loaded; None when the program does not say."""
    try:
        status, _ = await http.ask(address, "GET", f"{_MODELS}/{quote(name)}", timeout_s=ASK_LIMIT_S)
    except (OSError, TimeoutError, ValueError) as error:
        logger.debug("question not answered %s", fields(name=name, error=error))
        return None
    return {200: True, 404: False}.get(status)


async def listed(address: str) -> frozenset[str]:
    """The names of all that is loaded, from as many pages as there are.

    Raises LookupError when the program has no list of models (404: AWS counts it as unhealthy), ValueError for an
    answer that is none; OSError and TimeoutError as `http.ask`.
    """
    found: set[str] = set()
    token = ""
    for _ in range(_PAGES):
        path = f"{_MODELS}?next_page_token={quote(token)}" if token else _MODELS
        status, answer = await http.ask(address, "GET", path, timeout_s=ASK_LIMIT_S)
        if status == 404:
            raise LookupError("GET /models was answered with 404")
        if status != 200:
            raise ValueError(f"GET /models was answered with {status}")
        try:
            page = msgspec.json.decode(answer, type=_Page)
        except msgspec.MsgspecError as error:
            raise ValueError(f"the list of models cannot be read: {error}") from error
        found.update(one.modelName for one in page.models)
        if page.nextPageToken in (None, "", token):
            break
        token = str(page.nextPageToken)
    return frozenset(found)


def said(answer: bytes) -> str:
    """What a program answered, as text that may be passed on."""
    return answer[: 4 * _TOLD].decode("utf-8", "replace").strip()[:_TOLD]
