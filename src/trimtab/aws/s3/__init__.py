"""S3 over an object store: AWS's members and codes on one side, `trimtab.objects` on the other."""

from __future__ import annotations

from trimtab.aws.registry import OperationHandler, handlers_of, merge
from trimtab.aws.s3.access import Access
from trimtab.aws.s3.buckets import Buckets
from trimtab.aws.s3.copying import Copying
from trimtab.aws.s3.listing import Listing
from trimtab.aws.s3.multipart import Multipart
from trimtab.aws.s3.reading import Reading
from trimtab.aws.s3.tagging import Tagging
from trimtab.aws.s3.writing import Writing
from trimtab.objects.store import ObjectStore

PARTS = (Buckets, Listing, Reading, Writing, Copying, Multipart, Tagging, Access)


def s3_handlers(store: ObjectStore) -> dict[str, dict[str, OperationHandler]]:
    """Every S3 operation that trimtab serves, over `store`; for the Dispatcher."""
    return merge(*(handlers_of(part(store)) for part in PARTS))
