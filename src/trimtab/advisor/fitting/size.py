"""How much memory a model takes: weights + key-value cache + activations, by formulas that can be shown.

    weights      = parameters x bits / 8
    KV cache     = 2 x layers x KV heads x head size x bytes x tokens of context x requests at once
    activations  = tokens in one step x 9 x hidden size x 2 bytes + requests at once x vocabulary x 4 bytes

9 hidden sizes: a block's input and output, and the two halves of an MLP that is 3.5 times as wide, in 16 bits; blocks
come one after the other and use the same memory. A model that answers in one pass has no context, and so no cache.
"""

from __future__ import annotations

import csv
import math
import re
from fractions import Fraction
from functools import cache
from typing import Final

from msgspec import Struct

from trimtab.advisor.prices import tables
from trimtab.advisor.words import counted
from trimtab.errors import Invalid

BITS: Final = {
    "fp32": Fraction(32),
    "fp16": Fraction(16),
    "bf16": Fraction(16),
    "fp8": Fraction(8),
    "int8": Fraction(8),
    "int4": 4 + Fraction(16 + 4, 128),  # a scale and a zero for each group of 128 weights, as GPTQ and AWQ keep them
}
STEP_TOKENS: Final = 2048
"""Most tokens that a server works on in one step: longer prompts are cut (vLLM's default with chunked prefill)."""

_CLOSE: Final = 0.06  # an architecture whose size differs by less is taken for the one that is meant
_HEAD_DIM: Final = 128
_KV_HEADS: Final = 8
_VOCABULARY: Final = 128_256
_WIDTHS: Final = 9
_UNITS: Final = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "t": 10**12}


class Architecture(Struct, frozen=True, kw_only=True):
    """What of a transformer decides its memory. `told`: where the figures are from."""

    name: str
    params: int
    layers: int
    kv_heads: int
    head_dim: int
    hidden: int
    vocabulary: int
    told: str = ""


class Need(Struct, frozen=True, kw_only=True):
    """Bytes of one copy of a model, on one device or split over several."""

    architecture: Architecture
    dtype: str
    kv_dtype: str
    context: int
    concurrency: int
    weights: int
    kv: int
    activations: int

    @property
    def total(self) -> int:
        """All of it, on one device."""
        return self.weights + self.kv + self.activations

    @property
    def kv_per_request(self) -> int:
        """Bytes that one more request of full context takes."""
        return self.kv // self.concurrency

    def each_of(self, devices: int) -> int:
        """On each of several: weights and cache are split (in tensor parallel), activations are not."""
        return math.ceil((self.weights + self.kv) / devices) + self.activations

    def formula(self) -> list[str]:
        """The sum, with its numbers, a line for each term."""
        a, bits = self.architecture, BITS[self.dtype]
        kv_bytes = float(BITS[self.kv_dtype] / 8)
        tokens = min(self.context, STEP_TOKENS) or 1
        lines = [f"weights      {a.params:,} parameters x {float(bits):.4g} bits / 8 = {gib(self.weights)}"]
        if self.context:
            lines.append(
                f"KV cache     2 x {a.layers} layers x {a.kv_heads} KV heads x {a.head_dim} x {kv_bytes:g} bytes"
                f" x {self.context:,} tokens x {counted(self.concurrency, 'request')} = {gib(self.kv)}"
            )
        logits = f" + {self.concurrency:,} x {a.vocabulary:,} x 4 bytes" if self.context else ""
        step = counted(tokens, "token") if self.context else counted(self.concurrency, "request")
        lines.append(f"activations  {step} x {_WIDTHS} x {a.hidden:,} x 2 bytes{logits} = {gib(self.activations)}")
        return [*lines, f"together     {gib(self.total)}"]


def need_of(architecture: Architecture, *, dtype: str, context: int, concurrency: int, kv_dtype: str = "fp16") -> Need:
    """What one copy takes. `context`: tokens of prompt and answer of one request, 0 for models that answer in one pass.

    Invalid: an unknown type, a negative context, no request.
    """
    for name in (dtype, kv_dtype):
        if name not in BITS:
            raise Invalid(f"The type {name!r} is none of {', '.join(BITS)}.")
    if context < 0 or concurrency < 1:
        raise Invalid("The context must be 0 or more tokens, and at least one request at once.")
    a = architecture
    cached = 2 * a.layers * a.kv_heads * a.head_dim * context * concurrency
    tokens = min(context, STEP_TOKENS) if context else concurrency
    logits = concurrency * a.vocabulary * 4 if context else 0
    return Need(
        architecture=a,
        dtype=dtype,
        kv_dtype=kv_dtype,
        context=context,
        concurrency=concurrency,
        weights=math.ceil(a.params * BITS[dtype] / 8),
        kv=math.ceil(cached * BITS[kv_dtype] / 8),
        activations=tokens * _WIDTHS * a.hidden * 2 + logits,
    )


@cache
def architectures() -> dict[str, Architecture]:
    """Known ones by name: figures of the models' published configurations (config.json)."""
    rows = csv.DictReader(tables.own("architectures.csv").splitlines())
    return {
        row["name"]: Architecture(
            name=row["name"],
            told=f"as published for {row['name']}",
            **{key: int(row[key]) for key in ("params", "layers", "kv_heads", "head_dim", "hidden", "vocabulary")},
        )
        for row in rows
    }


def architecture_of(
    params: str, *, layers: int | None = None, kv_heads: int | None = None, head_dim: int | None = None
) -> Architecture:
    """By name (`llama-3.1-8b`) or size (`8b`, `350m`): a known one of that size, else an estimate; what is given holds.

    Invalid: neither a name nor a size.
    """
    known = architectures().get(params.lower())
    found = known or _by_size(size_of(params))
    given = {"layers": layers, "kv_heads": kv_heads, "head_dim": head_dim}
    told = {name: value for name, value in given.items() if value is not None}
    if any(value < 1 for value in told.values()):
        raise Invalid("Layers, KV heads and the size of a head must be at least 1.")
    if not told:
        return found
    words = "all as given" if len(told) == len(given) else f"{', '.join(told)} as given, the rest {found.told}"
    return Architecture(**({name: getattr(found, name) for name in found.__struct_fields__} | told | {"told": words}))


def size_of(text: str) -> int:
    """Parameters: `8b`, `350M`, `1.5e9`. Invalid for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?(?:e\d+)?)\s*([kmbt]?)", text.strip().lower())
    size = float(match[1]) * _UNITS[match[2]] if match else 0.0
    if not 0.5 < size < 1e15:
        raise Invalid(
            f"{text!r} is neither a size such as 8b or 350m nor a known model ({', '.join(sorted(architectures()))})."
        )
    return round(size)


def _by_size(params: int) -> Architecture:
    nearest = min(architectures().values(), key=lambda known: abs(math.log(known.params / params)))
    if abs(nearest.params / params - 1) <= _CLOSE:
        return Architecture(
            name=nearest.name,
            params=params,
            layers=nearest.layers,
            kv_heads=nearest.kv_heads,
            head_dim=nearest.head_dim,
            hidden=nearest.hidden,
            vocabulary=nearest.vocabulary,
            told=f"taken from {nearest.name}, which has {nearest.params / 1e9:.3g}e9 parameters",
        )
    return _estimated(params)


def _estimated(params: int) -> Architecture:
    """12 x layers x hidden^2 parameters, hidden = 128 x layers: the shape that most models of 1 to 100e9 come near."""
    layers = max(1, round((params / (12 * 128**2)) ** (1 / 3)))
    return Architecture(
        name="estimate",
        params=params,
        layers=layers,
        kv_heads=_KV_HEADS,
        head_dim=_HEAD_DIM,
        hidden=128 * layers,
        vocabulary=_VOCABULARY,
        told="estimated: no known architecture has this size (--layers, --kv-heads and --head-dim say it)",
    )


def gib(size_bytes: float) -> str:
    """`12.3 GiB`, `84.0 MiB`."""
    return f"{size_bytes / 2**30:,.1f} GiB" if size_bytes >= 2**30 else f"{size_bytes / 2**20:,.1f} MiB"
