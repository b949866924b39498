"""`trimtab invoke`: one request to an endpoint, the answer on stdout as it is."""

from __future__ import annotations

import base64
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trimtab.cli.options import AsJson, DataDir, EndpointName
from trimtab.cli.render import CliError, emit_json

if TYPE_CHECKING:
    from trimtab.aws.client import CallFailed, Client

_TYPES = {
    ".json": "application/json",
    ".jsonl": "application/jsonlines",
    ".csv": "text/csv",
    ".npy": "application/x-npy",
    ".txt": "text/plain",
}
_TEXT_TYPES = ("text/", "application/json", "application/jsonlines")


def invoke(
    name: EndpointName,
    source: Annotated[
        str, typer.Argument(metavar="[-]", help="`-` reads the body from stdin.", show_default=False)
    ] = "",
    body: Annotated[str | None, typer.Option(help="The body, as text.", show_default=False)] = None,
    file: Annotated[Path | None, typer.Option(help="The body, from a file; `-` for stdin.", show_default=False)] = None,
    content_type: Annotated[
        str, typer.Option(help="What the body is. Without it: by the file's name, else by what the body looks like.")
    ] = "",
    accept: Annotated[str, typer.Option(help="What the answer should be.", show_default=False)] = "",
    variant: Annotated[str, typer.Option(help="Send it to this variant.", show_default=False)] = "",
    target_model: Annotated[
        str,
        typer.Option(help="Ask this model of a multi-model endpoint: its key below the prefix.", show_default=False),
    ] = "",
    stream: Annotated[bool, typer.Option("--stream", help="Print the answer in parts, as they arrive.")] = False,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Send one request to an endpoint and print the answer."""
    from trimtab.aws.client import CallFailed
    from trimtab.cli.connect import connect

    data, path = _body(body, file, source)
    params: dict[str, Any] = {
        "EndpointName": name,
        "Body": data,
        "ContentType": content_type or _guess(data, path),
    }
    if accept:
        params["Accept"] = accept
    if variant:
        params["TargetVariant"] = variant
    if target_model:
        params["TargetModel"] = target_model
    client = connect(data_dir)
    try:
        if stream:
            _streamed(client, params, as_json=as_json)
        else:
            _whole(client, params, as_json=as_json)
    except CallFailed as error:
        raise _explained(error, name) from error


def _whole(client: Client, params: dict[str, Any], *, as_json: bool) -> None:
    started_s = time.perf_counter()
    answer, data = client.invoke(**params)
    latency_ms = (time.perf_counter() - started_s) * 1000
    if as_json:
        emit_json(_document(answer, data, latency_ms))
        return
    _write(data)
    if sys.stdout.isatty() and not data.endswith(b"\n"):
        _write(b"\n")


def _streamed(client: Client, params: dict[str, Any], *, as_json: bool) -> None:
    started_s = time.perf_counter()
    params["target_model"] = params.pop("TargetModel", "")
    for answer, part in client.invoke_streaming(**params):
        if as_json:  # one JSON document a line, as they come
            document = _document(answer, part, (time.perf_counter() - started_s) * 1000)
            typer.echo(json.dumps(document))
        else:
            _write(part)


def _document(answer: dict[str, Any], data: bytes, latency_ms: float) -> dict[str, Any]:
    content_type = answer.get("ContentType", "")
    return {
        "content_type": content_type,
        "variant": answer.get("InvokedProductionVariant", ""),
        "latency_ms": round(latency_ms, 3),
        **({"custom_attributes": answer["CustomAttributes"]} if answer.get("CustomAttributes") else {}),
        **_readable(data, content_type),
    }


def _readable(data: bytes, content_type: str) -> dict[str, Any]:
    """`body` where it is JSON or text, `body_base64` where it is not."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return {"body_base64": base64.b64encode(data).decode()}
    if content_type.startswith("application/json"):
        try:
            return {"body": json.loads(text)}
        except ValueError:
            return {"body": text}
    if content_type and not content_type.startswith(_TEXT_TYPES):
        return {"body_base64": base64.b64encode(data).decode()}
    return {"body": text}


def _body(body: str | None, file: Path | None, source: str) -> tuple[bytes, Path | None]:
    given = [value for value in (body, file, source or None) if value is not None]
    if len(given) != 1 or source not in ("", "-"):
        raise CliError(
            "Give the body once: --body TEXT, --file FILE, or - for stdin.", "trimtab invoke NAME --body '[[1, 2, 3]]'"
        )
    if body is not None:
        return body.encode(), None
    if source == "-" or str(file) == "-":
        return sys.stdin.buffer.read(), None
    assert file is not None
    try:
        return file.read_bytes(), file
    except OSError as error:
        raise CliError(f"{file} cannot be read: {error.strerror}.") from error


def _guess(data: bytes, path: Path | None) -> str:
    """The content type by the file's suffix, else JSON if it is JSON, else CSV if it is text."""
    if path is not None and path.suffix.lower() in _TYPES:
        return _TYPES[path.suffix.lower()]
    if data.startswith(b"\x93NUMPY"):
        return _TYPES[".npy"]
    try:
        text = data.decode()
        json.loads(text)
    except UnicodeDecodeError:
        return "application/octet-stream"
    except ValueError:
        return "text/csv"
    return "application/json"


def _write(data: bytes) -> None:
    typer.echo(data, nl=False)
    sys.stdout.flush()


def _explained(error: CallFailed, name: str) -> CliError:
    if error.code == "ModelError":
        status = error.details.get("OriginalStatusCode", 0)
        said = str(error.details.get("OriginalMessage", "")) or str(error)
        if status == 0:
            return CliError(f"The model did not answer: {said}", f"trimtab logs {name} --tail 50")
        return CliError(f"The model answered {status}: {said}", f"trimtab logs {name} --tail 50")
    if error.code in ("ModelStreamError", "InternalStreamFailure"):
        return CliError(f"The answer broke off: {error}", f"trimtab logs {name} --tail 50")
    if error.status == 413:
        return CliError(f"The body is too large. {error}")
    if "not found" in str(error):
        return CliError(str(error), "`trimtab endpoints` lists what there is and how it is.")
    return CliError(f"{error} ({error.code})", f"trimtab describe {name}")
