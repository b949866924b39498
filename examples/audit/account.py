"""An AWS account to try `trimtab audit` on, on this machine: endpoints, training, buckets and images with their faults.

    eval "$(python examples/audit/account.py)"    # a server of AWS's APIs in the background; AWS_* now point at it
    eval "$(python examples/audit/account.py scans ledger)"    # with these endpoints alone: all are in the source
    trimtab audit
    kill $PREPARED_ACCOUNT_PID

It is moto's server with 14 days of metrics; nothing of it is real, and no request leaves this machine. Needs
`pip install 'moto[s3]' flask flask-cors`. It ends by itself after two hours.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from functools import partial

import boto3

from trimtab.testing.account import CASES, Case, populate
from trimtab.testing.account_stores import ACCOUNT, PRODUCTION, REGION, aged, populate_stores, quick
from trimtab.testing.aws_server import aws_server

LASTS_S = 2 * 3600
KEYS = {"aws_access_key_id": "prepared", "aws_secret_access_key": "account", "region_name": REGION}


def chosen(names: list[str]) -> tuple[Case, ...]:
    """The endpoints of these names; all of them without any."""
    known = {case.name: case for case in (*CASES, *PRODUCTION)}
    if unknown := [name for name in names if name not in known]:
        sys.exit(f"There is no endpoint {unknown[0]}. There are {', '.join(known)}.")
    return tuple(known[name] for name in names or known)


def serve(cases: tuple[Case, ...], ready: int) -> None:
    """Run the account until somebody ends it; write its address to `ready` once everything is in it."""
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    with aws_server() as server:
        made = {}

        def clients(service: str):
            if service not in made:
                made[service] = boto3.client(service, endpoint_url=server.url, **KEYS)
            return made[service]

        populate_stores(clients)
        populate(quick(clients), time.time(), cases=cases)
        aged(ACCOUNT, REGION, time.time())
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)  # until now it told what went wrong; whoever waits for the end of it need not wait longer
        os.write(ready, server.url.encode())
        os.close(ready)
        ended.wait(LASTS_S)


def main() -> None:
    """Start it in the background, and print what a shell needs to use it."""
    cases = chosen(sys.argv[1:])
    told, ready = os.pipe()
    pid = os.fork()
    if not pid:
        os.setsid()
        os.close(told)
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1):
            os.dup2(nowhere, stream)
        serve(cases, ready)
        return
    os.close(ready)
    url = b"".join(iter(partial(os.read, told, 4096), b"")).decode()
    if not url:
        sys.exit("The account could not be started: see above.")
    print(f"export AWS_ENDPOINT_URL={url} AWS_DEFAULT_REGION={REGION}")
    print(f"export AWS_ACCESS_KEY_ID={KEYS['aws_access_key_id']}")
    print(f"export AWS_SECRET_ACCESS_KEY={KEYS['aws_secret_access_key']}")
    print(f"export PREPARED_ACCOUNT_PID={pid}")


if __name__ == "__main__":
    main()
