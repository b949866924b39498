"""AWS's request signatures, verified: on hashlib and hmac alone, so that a gateway stays small and quick."""

from trimtab.aws.sigv4.quick import QuickCheck
from trimtab.aws.sigv4.verifier import Verifier

__all__ = ["QuickCheck", "Verifier"]
