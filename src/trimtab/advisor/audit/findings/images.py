"""Which images of ECR an account runs, as the findings about images look at them. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from trimtab.advisor.audit.account import Account


def images_in_use(account: Account) -> Iterator[str]:
    """The images of endpoints' models and of training jobs, as they are named there."""
    for endpoint in account.endpoints:
        for variant in (*endpoint.variants, *endpoint.shadows):
            for container in variant.model.containers if variant.model else ():
                yield container.image
    for job in account.training or ():
        yield job.image


def repositories_in_use(account: Account) -> frozenset[str]:
    """URIs of the repositories that those are from."""
    return frozenset(_repository(image) for image in images_in_use(account) if image)


def digests_in_use(account: Account) -> frozenset[str]:
    """The digests that are run by name: `...@sha256:...`."""
    return frozenset(image.partition("@")[2] for image in images_in_use(account) if "@" in image)


def _repository(image: str) -> str:
    name = image.partition("@")[0]
    folder, slash, last = name.rpartition("/")
    return f"{folder}{slash}{last.partition(':')[0]}"
