"""A certificate authority that lives as long as one `trimtab run`, and the bundle that makes a program trust it.

The authority's key never leaves the process. The bundle is what the program would have trusted anyway, plus this one.
"""

from __future__ import annotations

import configparser
import importlib.util
import ssl
from collections.abc import Mapping
from pathlib import Path

from trimtab.cli.render import CliError


class Authority:
    """Makes the server certificate for `host`."""

    def __init__(self, host: str) -> None:
        import trustme  # here, because it takes 60 ms and only `run` needs it

        made = trustme.CA(organization_name="trimtab", organization_unit_name="local to one `trimtab run`")
        self.certificate_pem: bytes = made.cert_pem.bytes()
        self._leaf = made.issue_cert(host)

    def server_context(self) -> ssl.SSLContext:
        """TLS settings to answer as the host."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._leaf.configure_cert(context)
        return context


def user_bundle(environ: Mapping[str, str]) -> bytes:
    """The certificates that botocore would trust in `environ`, in botocore's order.

    AWS_CA_BUNDLE, the profile's `ca_bundle`, REQUESTS_CA_BUNDLE, certifi's, botocore's own, the system's. Raises
    CliError when the one that the user names cannot be read.
    """
    named = environ.get("AWS_CA_BUNDLE") or _of_profile(environ) or environ.get("REQUESTS_CA_BUNDLE")
    if named:
        try:
            return Path(named).expanduser().read_bytes()
        except OSError as error:
            raise CliError(
                f"The CA bundle {named} cannot be read: {error.strerror}.",
                "Correct AWS_CA_BUNDLE (or `ca_bundle` in the AWS config file, or REQUESTS_CA_BUNDLE).",
            ) from None
    for package in ("certifi", "botocore"):
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations if spec else None) or ():
            path = Path(folder) / "cacert.pem"
            if path.is_file():
                return path.read_bytes()
    system = ssl.get_default_verify_paths().cafile
    if system is None:
        raise CliError("No CA certificates were found on this machine.", "Set AWS_CA_BUNDLE to a file of them.")
    return Path(system).read_bytes()


def _of_profile(environ: Mapping[str, str]) -> str:
    """`ca_bundle` of the active profile: AWS_CA_BUNDLE, which `run` sets, would hide it."""
    path = Path(environ.get("AWS_CONFIG_FILE") or "~/.aws/config").expanduser()
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read(path, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError):
        return ""  # the program's own SDK will say what is wrong with it
    profile = environ.get("AWS_PROFILE") or environ.get("AWS_DEFAULT_PROFILE") or "default"
    section = profile if profile == "default" else f"profile {profile}"
    return parser.get(section, "ca_bundle", fallback="")
