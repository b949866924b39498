"""What a key may do. A key without limits may do everything; limits only ever take away."""

from __future__ import annotations

from fnmatch import fnmatchcase

from trimtab.errors import Denied
from trimtab.resources.routing import AccessKey

_ALWAYS = "sts:GetCallerIdentity"  # AWS: needs no permission


def allowed(key: AccessKey | None, action: str, endpoint: str = "") -> bool:
    """Whether `key` may do `action` (`sagemaker:InvokeEndpoint`), on `endpoint` where the call names one.

    None is the caller of a trimtab that asks for no keys: everything. A key limited to endpoints may only make calls
    that name one of them.
    """
    if key is None or not (key.actions or key.endpoints) or action == _ALWAYS:
        return True
    if key.actions and not any(fnmatchcase(action.lower(), pattern.lower()) for pattern in key.actions):
        return False
    return not key.endpoints or any(fnmatchcase(endpoint, pattern) for pattern in key.endpoints if endpoint)


def check(key: AccessKey | None, action: str, endpoint: str = "") -> None:
    """Raise Denied (AccessDenied) unless `allowed`."""
    if key is None or allowed(key, action, endpoint):
        return
    where = f" on endpoint '{endpoint}'" if endpoint else ""
    limits = [f"actions {', '.join(key.actions)}"] if key.actions else []
    limits += [f"endpoints {', '.join(key.endpoints)}"] if key.endpoints else []
    raise Denied(
        f"User: {key.id} is not authorized to perform: {action}{where}. This key is limited to {'; '.join(limits)}. "
        "`trimtab keys create` makes one that may do more."
    )
