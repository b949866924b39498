"""Why a caller is refused: the neutral codes of `errors.Denied`.

Each service has its own name and status for the same refusal; `aws/faults.py` is the only table from these codes to
them. The comment beside each code says what AWS calls it: in JSON and REST-JSON services | in query services | in S3.

On S3, INCOMPLETE_SIGNATURE and WRONG_SCOPE are `AuthorizationHeaderMalformed` 400 for a signed header, and
`AuthorizationQueryParametersError` 400 for a presigned URL (`X-Amz-Signature` or `Signature` in the query).
"""

from __future__ import annotations

from typing import Final

# The signature is not the one that the key makes over this request.
# InvalidSignatureException | SignatureDoesNotMatch 403 | SignatureDoesNotMatch 403
INVALID_SIGNATURE: Final = "InvalidSignature"

# No such access key. UnrecognizedClientException | InvalidClientTokenId 403 | InvalidAccessKeyId 403
UNKNOWN_KEY: Final = "UnknownKey"

# A session token that trimtab did not give out.
# UnrecognizedClientException | InvalidClientTokenId 403 | InvalidToken 400
INVALID_TOKEN: Final = "InvalidToken"

# Not signed. MissingAuthenticationTokenException | MissingAuthenticationToken 403 | AccessDenied 403
MISSING_TOKEN: Final = "MissingToken"

# The Authorization header (or the presigned query) is malformed.
# IncompleteSignatureException | IncompleteSignature 400 | above
INCOMPLETE_SIGNATURE: Final = "IncompleteSignature"

# The presigned URL's time is over, or its clock runs ahead.
# InvalidSignatureException | SignatureDoesNotMatch 403 | AccessDenied 403
EXPIRED: Final = "Expired"

# The clocks differ too much. InvalidSignatureException | SignatureDoesNotMatch 403 | RequestTimeTooSkewed 403
SKEW: Final = "Skew"

# Signed for another day, region or service. InvalidSignatureException | SignatureDoesNotMatch 403 | above
WRONG_SCOPE: Final = "WrongScope"

# The body is not the one that was signed.
# InvalidSignatureException | SignatureDoesNotMatch 403 | XAmzContentSHA256Mismatch 400
BODY_HASH: Final = "BodyHash"

# Known, but its key does not allow this. AccessDeniedException | AccessDenied 403 | AccessDenied 403
ACCESS_DENIED: Final = "AccessDenied"

# S3 only: the body is not what Content-MD5 or an x-amz-checksum-* said. BadDigest 400
BAD_DIGEST: Final = "BadDigest"

# S3 only: Content-MD5 or x-amz-checksum-* is not a digest. InvalidDigest 400
INVALID_DIGEST: Final = "InvalidDigest"

# S3 only: the body has fewer or more bytes than x-amz-decoded-content-length. IncompleteBody 400
INCOMPLETE_BODY: Final = "IncompleteBody"

CODES: Final = frozenset(
    {
        INVALID_SIGNATURE,
        UNKNOWN_KEY,
        INVALID_TOKEN,
        MISSING_TOKEN,
        INCOMPLETE_SIGNATURE,
        EXPIRED,
        SKEW,
        WRONG_SCOPE,
        BODY_HASH,
        ACCESS_DENIED,
        BAD_DIGEST,
        INVALID_DIGEST,
        INCOMPLETE_BODY,
    }
)
