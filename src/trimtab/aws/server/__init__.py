"""HTTP/1.1 server: bytes of a socket to requests, and answers back. No routes and no AWS in here."""

from trimtab.aws.server.exchange import Exchange
from trimtab.aws.server.limits import Limits
from trimtab.aws.server.listener import FastPath, HttpServer

__all__ = ["Exchange", "FastPath", "HttpServer", "Limits"]
