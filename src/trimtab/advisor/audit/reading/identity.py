"""Whose account it is: the first call, which tells at once where nobody answers, or the credentials are no good."""

from __future__ import annotations

from typing import Final

from botocore.exceptions import ClientError, ConnectionError, HTTPClientError
from botocore.parsers import ResponseParserError

from trimtab.advisor.audit.reading.login import Login
from trimtab.errors import Denied, Unavailable

_NOBODY: Final = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
        "IncompleteSignature",
    }
)


def account_number(login: Login) -> str:
    """The account that the credentials are of; "" where that may not be asked.

    Denied: they are of nobody, or expired. Unavailable: nobody answers.
    """
    client = login.client("sts")
    try:
        return str(client.get_caller_identity().get("Account", ""))
    except (ConnectionError, HTTPClientError) as error:
        raise Unavailable(f"Nobody answers at {client.meta.endpoint_url}: {error}") from error
    except (ResponseParserError, KeyError, TypeError, AttributeError) as error:  # a page in HTML is XML of another kind
        why = f": {error}" if isinstance(error, ResponseParserError) else ""
        raise Unavailable(f"What answers at {client.meta.endpoint_url} does not speak as AWS does{why}") from error
    except ClientError as error:
        said = error.response.get("Error", {})
        if said.get("Code") in _NOBODY:
            raise Denied(f"The credentials are refused: {said.get('Message') or said['Code']}") from error
        return ""
