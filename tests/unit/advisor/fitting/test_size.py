"""How much memory a model takes, by sums that can be done by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.advisor.fitting.size import BITS, architecture_of, architectures, need_of, size_of
from trimtab.errors import Invalid


def test_eight_billion_parameters_in_int8_with_sixteen_requests_of_4096_tokens() -> None:
    need = need_of(architecture_of("8b"), dtype="int8", context=4096, concurrency=16)
    assert need.weights == 8_000_000_000
    assert need.kv == 2 * 32 * 8 * 128 * 2 * 4096 * 16 == 8 * 2**30
    assert need.activations == 2048 * 9 * 4096 * 2 + 16 * 128_256 * 4
    assert need.total == need.weights + need.kv + need.activations
    assert need.formula() == [
        "weights      8,000,000,000 parameters x 8 bits / 8 = 7.5 GiB",
        "KV cache     2 x 32 layers x 8 KV heads x 128 x 2 bytes x 4,096 tokens x 16 requests = 8.0 GiB",
        "activations  2,048 tokens x 9 x 4,096 x 2 bytes + 16 x 128,256 x 4 bytes = 151.8 MiB",
        "together     15.6 GiB",
    ]


def test_a_model_that_answers_in_one_pass_has_no_cache() -> None:
    need = need_of(architecture_of("110m"), dtype="fp32", context=0, concurrency=1)
    assert need.kv == 0
    assert need.weights == 440_000_000
    assert [line.split()[0] for line in need.formula()] == ["weights", "activations", "together"]


def test_where_the_figures_are_from_is_said() -> None:
    assert architecture_of("llama-2-7b").told == "as published for llama-2-7b"
    assert architecture_of("8b").told.startswith("taken from llama-3.1-8b")
    assert architecture_of("5.3b").told.startswith("estimated")
    assert architecture_of("8b", layers=40).told.startswith("layers as given, the rest taken from llama-3.1-8b")
    assert architecture_of("8b", layers=40, kv_heads=4, head_dim=64).told == "all as given"


def test_estimates_are_near_what_is_published_of_dense_models() -> None:
    compared = 0
    for known in architectures().values():
        guess = architecture_of(str(round(known.params * 1.1)))
        if guess.name == "estimate" and not known.name.startswith("mixtral"):  # of several experts beside each other
            assert guess.layers == pytest.approx(known.layers, rel=0.5)
            compared += 1
    assert compared > 5


@pytest.mark.parametrize(
    ("text", "count"), [("8b", 8 * 10**9), ("350M", 350 * 10**6), ("1.5e9", 1_500_000_000), ("12", 12), ("2k", 2000)]
)
def test_sizes_are_read_as_people_write_them(text: str, count: int) -> None:
    assert size_of(text) == count


@pytest.mark.parametrize("text", ["", "huge", "-8b", "0", "8bb", "1e99", "1e400b", "nan"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        architecture_of(text)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(Invalid, match="'fp12' is none of"):
        need_of(architecture_of("8b"), dtype="fp12", context=1, concurrency=1)
    with pytest.raises(Invalid, match="at least one request"):
        need_of(architecture_of("8b"), dtype="fp16", context=1, concurrency=0)
    with pytest.raises(Invalid, match="at least 1"):
        architecture_of("8b", layers=0)


@given(
    st.integers(10**6, 10**12), st.sampled_from(sorted(BITS)), st.integers(0, 10**6), st.integers(1, 1000),
    st.sampled_from([1, 2, 4, 8]),
)  # fmt: skip
def test_more_of_anything_never_takes_less_and_splitting_never_takes_more(
    params: int, dtype: str, context: int, concurrency: int, devices: int
) -> None:
    architecture = architecture_of(str(params))
    need = need_of(architecture, dtype=dtype, context=context, concurrency=concurrency)
    more = need_of(architecture, dtype=dtype, context=context + 1, concurrency=concurrency + 1)
    assert more.total >= need.total
    assert need.each_of(1) == need.total
    assert need.each_of(2 * devices) <= need.each_of(devices)
    assert need.each_of(devices) * devices >= need.weights + need.kv
