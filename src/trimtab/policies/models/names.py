"""Names of models: what a TargetModel may be. Pure."""

from __future__ import annotations

from typing import Final

from trimtab.errors import Invalid

LONGEST: Final = 1024  # AWS: TargetModel has at most 1024 characters; an S3 key at most 1024 bytes


def model_of(target_model: str) -> str:
    """The key below the prefix that a TargetModel names. Invalid when it can be the key of no model.

    A slash at the beginning is left out: `/a.tar.gz` and `a.tar.gz` are one model. A key never leads out of the
    prefix: object stores take `..` for a name like any other, the people who write it do not.
    """
    model = target_model.lstrip("/")
    if not model:
        raise Invalid("TargetModel names no model. Give the key of an archive below the model's S3 prefix.")
    if len(model.encode("utf-8", "surrogatepass")) > LONGEST:
        raise Invalid(f"TargetModel is longer than {LONGEST} bytes: no S3 key is.")
    if not model.isprintable():
        raise Invalid("TargetModel has a character that cannot be printed.")
    parts = model.split("/")
    if ".." in parts or "." in parts:
        raise Invalid(
            f"TargetModel {_shown(target_model)} leads out of the model's S3 prefix. Name a key below it, without "
            "`.` and `..`."
        )
    if not parts[-1]:
        raise Invalid(f"TargetModel {_shown(target_model)} is a folder. Name an archive (.tar.gz) in it.")
    return model


def _shown(name: str) -> str:
    return repr(name if len(name) <= 128 else f"{name[:128]}...")
