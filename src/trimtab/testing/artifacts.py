"""Model artifacts for tests."""

from __future__ import annotations

import io
import tarfile
import textwrap

ECHO = """
def model_fn(model_dir):
    return None

def transform_fn(model, body, content_type, accept):
    return body, content_type or "application/octet-stream"
"""


def archive(**files: bytes | str) -> bytes:
    """A gzip'd tar; `code__inference_py` names `code/inference.py`, as SageMaker lays it out."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as tar:
        for key, content in files.items():
            stem, _, suffix = key.replace("__", "/").rpartition("_")
            data = textwrap.dedent(content).encode() if isinstance(content, str) else content
            member = tarfile.TarInfo(f"{stem}.{suffix}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return packed.getvalue()


def script(text: str) -> bytes:
    """An artifact that is nothing but `code/inference.py`."""
    return archive(code__inference_py=text)
