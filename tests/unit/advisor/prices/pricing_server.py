"""AWS's pricing API as far as GetProducts goes: requests are checked against botocore's model, pages are small."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import botocore.session
from botocore.validate import ParamValidator

PUBLISHED = "2026-10-02T17:04:05Z"


def entry(
    service: str, usage: str, usd: str, *, region: str = "us-east-1", unit: str = "Hrs", **attributes: str
) -> str:
    """A product as GetProducts gives it: a JSON document in a string."""
    sku = f"SKU{abs(hash((service, usage, region))) % 10**9}"
    return json.dumps(
        {
            "product": {
                "productFamily": "ML Instance" if service == "AmazonSageMaker" else "Compute Instance",
                "sku": sku,
                "attributes": {"servicecode": service, "usagetype": usage, "regionCode": region, **attributes},
            },
            "serviceCode": service,
            "terms": {
                "OnDemand": {
                    f"{sku}.JRTCKXETXF": {
                        "offerTermCode": "JRTCKXETXF",
                        "sku": sku,
                        "effectiveDate": "2026-10-01T00:00:00Z",
                        "priceDimensions": {
                            f"{sku}.JRTCKXETXF.6YS6EN2CT7": {
                                "unit": unit, "beginRange": "0", "endRange": "Inf", "appliesTo": [],
                                "rateCode": f"{sku}.JRTCKXETXF.6YS6EN2CT7",
                                "description": f"${usd} per {unit} of {usage}", "pricePerUnit": {"USD": usd},
                            }
                        },
                        "termAttributes": {},
                    }
                }
            },
            "version": "20261002170405",
            "publicationDate": PUBLISHED,
        }
    )  # fmt: skip


LINUX = {"operatingSystem": "Linux", "tenancy": "Shared", "preInstalledSw": "NA", "capacitystatus": "Used"}


class PricingServer:
    """Answers GetProducts from `entries`, `page` at a time. `failures`: (status, code) of the first answers."""

    def __init__(self, url: str, entries: list[str]) -> None:
        self.url = url
        self.entries = entries
        self.page = 2
        self.failures: list[tuple[int, str]] = []
        self.calls: list[dict[str, Any]] = []
        self._shape = botocore.session.get_session().get_service_model("pricing").operation_model("GetProducts")

    def answer(self, target: str, request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        assert target == "AWSPriceListService.GetProducts"
        report = ParamValidator().validate(request, self._shape.input_shape)
        assert not report.has_errors(), report.generate_report()
        self.calls.append(request)
        if self.failures:
            status, code = self.failures.pop(0)
            return status, {"__type": code, "message": "says the test"}
        found = [text for text in self.entries if self._is_meant(json.loads(text), request)]
        start = int(request.get("NextToken", "0"))
        end = start + min(self.page, request.get("MaxResults", 100))
        more = {"NextToken": str(end)} if end < len(found) else {}
        return 200, {"FormatVersion": "aws_v1", "PriceList": found[start:end]} | more

    def _is_meant(self, document: dict[str, Any], request: dict[str, Any]) -> bool:
        attributes = document["product"]["attributes"]
        return document["serviceCode"] == request["ServiceCode"] and all(
            attributes.get(each["Field"]) == each["Value"] for each in request.get("Filters", [])
        )


@contextmanager
def pricing_server(entries: list[str]) -> Iterator[PricingServer]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, document = serving.answer(self.headers["X-Amz-Target"], request)
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    serving = PricingServer(f"http://127.0.0.1:{server.server_port}", entries)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield serving
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
