"""What verifying a signature costs a gateway: CPU time per request, in one process. Figure: <= 20 us for a 512 B body.

    python benchmarks/sigv4.py

botocore signs 200 requests as a client does (same second, same key); each is verified again and again, round after
round. Beside it: SHA-256 of the body alone, which nothing can undercut, and botocore signing the same request.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import time
from collections.abc import Callable

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from trimtab.aws.sigv4.verifier import Verifier
from trimtab.resources.routing import AccessKey

KEY = AccessKey(id="TTABBENCHMARKKEY0001", secret="benchmark-secret-0123456789abcdefghijklmn")
BODY_SIZES = (512, 65_536, 1_048_576)
Signed = tuple[str, str, str, list[tuple[str, str]], bytes]


def signed(body: bytes, count: int) -> list[Signed]:
    """`count` invocations as boto3 signs them."""
    out = []
    for index in range(count):
        request = AWSRequest(method="POST", url="http://127.0.0.1:7070/endpoints/fraud/invocations", data=body)
        request.headers["Content-Type"] = "application/json"
        request.headers["Accept"] = "application/json"
        request.headers["X-Amzn-SageMaker-Inference-Id"] = f"request-{index}"
        SigV4Auth(Credentials(KEY.id, KEY.secret), "sagemaker", "us-east-1").add_auth(request)
        headers = [("host", "127.0.0.1:7070"), *((name.lower(), value) for name, value in request.headers.items())]
        out.append(("POST", "/endpoints/fraud/invocations", "", headers, body))
    return out


def cpu_us(step: Callable[[], object], steps: int, rounds: int = 7) -> tuple[float, float]:
    """Median and best CPU microseconds per call over `rounds`."""
    found = []
    for _ in range(rounds):
        start = time.process_time()
        for _ in range(steps):
            step()
        found.append((time.process_time() - start) / steps * 1e6)
    return statistics.median(found), min(found)


def measure(size: int) -> dict[str, float]:
    """One body size."""
    requests = signed(b"x" * size, 200)
    verify = Verifier(lambda: {KEY.id: KEY}, region="us-east-1").verify
    now_s = time.time()

    def verify_all() -> None:
        for method, path, query, headers, body in requests:
            verify(method, path, query, headers, body, now_s)

    verify_all()
    steps = max(1, min(50, 10_000_000 // (size * 40)))
    median, best = cpu_us(verify_all, steps)
    hash_us, _ = cpu_us(lambda: hashlib.sha256(requests[0][4]).hexdigest(), steps * 50)
    sign_us, _ = cpu_us(lambda: signed(requests[0][4], 1), max(5, steps), 3)
    return {
        "body_bytes": size,
        "verify_us": round(median / len(requests), 2),
        "verify_best_us": round(best / len(requests), 2),
        "sha256_us": round(hash_us, 2),
        "botocore_sign_us": round(sign_us, 2),
    }


def main() -> None:
    """Print the table, or JSON lines; fail when the figure is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--limit-us", type=float, default=20.0, help="for the 512 B body; 0: do not check")
    arguments = parser.parse_args()
    rows = [measure(size) for size in BODY_SIZES]
    for row in rows:
        if arguments.json:
            print(json.dumps(row))
        else:
            print("  ".join(f"{name} {value:>10}" for name, value in row.items()))
    if arguments.limit_us and rows[0]["verify_us"] > arguments.limit_us:
        raise SystemExit(f"missed: {rows[0]['verify_us']} us is over {arguments.limit_us} us")


if __name__ == "__main__":
    main()
