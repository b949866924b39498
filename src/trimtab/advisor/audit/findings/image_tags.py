"""Image tags that do not say what is in the image: which version of the model, and of which framework."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from trimtab.advisor.audit.account import Account
from trimtab.advisor.audit.findings.images import repositories_in_use
from trimtab.advisor.audit.stored import Image, Repository
from trimtab.advisor.finding import Confidence, Finding, Fix, Risk
from trimtab.advisor.prices.book import Book

KIND: Final = "image-tags"
_SHOWN: Final = 6
_FRAMEWORKS: Final = frozenset({
    "pytorch", "torch", "tensorflow", "tf", "xgboost", "xgb", "sklearn", "lightgbm", "lgbm", "catboost", "onnxruntime",
    "onnx", "ort", "transformers", "huggingface", "hf", "triton", "tensorrt", "trt", "tensorrtllm", "vllm", "sglang",
    "tgi", "djl", "lmi", "mxnet", "jax", "keras", "paddle", "openvino", "spacy", "mlflow",
})  # fmt: skip
_BESIDES: Final = frozenset(
    {"py", "cu", "cuda", "rocm", "ubuntu", "debian", "cpu", "gpu"}
)  # their versions say neither
_WORD: Final = re.compile(r"([a-z]*?)v?((?:\d+(?:\.\d+)*)?)")  # xgboost1.7, v3, py311, fraud
_COMMIT: Final = re.compile(r"(?=.*[a-f])(?=.*\d)[0-9a-f]{7,40}")  # of the model's source: it will do, too


def find(account: Account, book: Book) -> Iterator[Finding]:
    """Repositories that models or training jobs are run from, with tagged images of which no tag says both."""
    used = repositories_in_use(account)
    for repository in account.repositories or ():
        if repository.uri in used:
            vague = [image for image in repository.images or () if image.tags and not any(map(says_both, image.tags))]
            if vague:
                yield _finding(repository, vague)


def says_both(tag: str) -> bool:
    """Whether it names a version of the model and one of the framework: `3.2-pytorch2.3`, `fraud-7-xgboost1.7`."""
    framework = model = False
    before = ""
    for word in re.split(r"[-_+]", tag.lower().replace("scikit-learn", "sklearn")):
        if _COMMIT.fullmatch(word):
            model, before = True, ""
            continue
        matched = _WORD.fullmatch(word)
        name, version = (matched[1], matched[2]) if matched else (word, "")
        name = name or before
        if version and name in _FRAMEWORKS:
            framework = True
        elif version and name not in _BESIDES:
            model = True
        before = "" if version else name
    return framework and model


def _finding(repository: Repository, vague: list[Image]) -> Finding:
    tags = [tag for image in vague for tag in image.tags]
    count = len(vague)
    document = (
        "Tag what is pushed MODEL_VERSION-FRAMEWORK_VERSION, and let models name that tag (or the digest):\n\n"
        f"    docker tag {repository.name} {repository.uri}:3.2-pytorch2.3\n\n"
        "An image that is there gets a further tag without being pushed again:\n\n"
        f"    aws ecr batch-get-image --repository-name {repository.name} --image-ids imageTag={tags[0]} \\\n"
        "        --query 'images[0].imageManifest' --output text > manifest.json\n"
        f"    aws ecr put-image --repository-name {repository.name} --image-tag 3.2-pytorch2.3 \\\n"
        "        --image-manifest file://manifest.json"
    )
    return Finding(
        id=f"{KIND}/{repository.name}",
        kind=KIND,
        resource=repository.arn,
        title=f"{repository.name} has {count} image{'' if count == 1 else 's'} whose tags do not say what is in them",
        evidence={"images": count, "tags": ", ".join(tags[:_SHOWN])},
        saves_micro_usd_per_month=0,
        risk=Risk.NONE,
        confidence=Confidence.MEDIUM,  # a tag is free text
        fix=Fix(title="Say in the tag what is in the image", document=document),
    )
