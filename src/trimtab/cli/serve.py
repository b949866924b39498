"""`trimtab serve`: run trimtab on this machine, in the foreground."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trimtab.config import Auth, Config, default_data_dir


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 7070,
    data_dir: Annotated[
        Path | None, typer.Option(help="Where everything is kept.", show_default="~/.local/share/trimtab")
    ] = None,
    gateways: Annotated[int, typer.Option(min=1, max=64, help="Processes that carry the traffic.")] = 1,
    auth: Annotated[Auth, typer.Option(help="Whether callers must sign; `none` works on loopback only.")] = Auth.SIGV4,
    region: Annotated[str, typer.Option(help="The AWS region to be.")] = "us-east-1",
    account: Annotated[str, typer.Option(help="The AWS account number to be.")] = "000000000000",
    enforce_instance_shapes: Annotated[
        bool,
        typer.Option("--enforce-instance-shapes", help="Give a replica no more CPU and memory than its instance type."),
    ] = False,
    invocation_timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that a model may take to answer.")] = 60.0,
    max_artifact_mib: Annotated[int, typer.Option(min=1, help="MiB that an unpacked artifact may have.")] = 20 * 1024,
    artifact_cache_mib: Annotated[
        int, typer.Option(min=1, help="MiB that unpacked artifacts may take; those in no use are removed for new ones.")
    ] = 20 * 1024,
    sns_endpoint_url: Annotated[
        str, typer.Option(help="URL of a real SNS that is to have the topics of asynchronous endpoints' notices.")
    ] = "",
    queues_url: Annotated[
        str,
        typer.Option(
            envvar="TRIMTAB_QUEUES_URL",
            help="postgresql://... where queues are to be kept for many machines; else a file in the data directory.",
        ),
    ] = "",
    log_level: Annotated[str, typer.Option(help="DEBUG, INFO, WARNING or ERROR.")] = "INFO",
) -> None:
    """Serve until stopped. Prints `trimtab ready at URL` on stdout once it can answer; logs go to stderr."""
    from trimtab.app.serving import serve as serve_until_stopped

    serve_until_stopped(
        Config(
            host=host,
            port=port,
            data_dir=(data_dir or default_data_dir()).absolute(),
            gateways=gateways,
            auth=auth,
            region=region,
            account=account,
            enforce_instance_shapes=enforce_instance_shapes,
            invocation_timeout_s=invocation_timeout,
            max_artifact_bytes=max_artifact_mib * 2**20,
            artifact_cache_bytes=artifact_cache_mib * 2**20,
            sns_endpoint_url=sns_endpoint_url,
            queues_url=queues_url,
            log_level=log_level.upper(),
        )
    )
