"""`trimtab instances`: instance types with hardware and price; with a model: what fits, and what to try first."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trimtab.cli.options import AsJson
from trimtab.cli.render import CliError, emit, emit_json, say, table

if TYPE_CHECKING:
    from trimtab.advisor.fitting.places import Place
    from trimtab.advisor.fitting.size import Need
    from trimtab.advisor.prices.book import Book
    from trimtab.advisor.prices.price import Use

_MOST = 15  # rows; --all and --json show the rest
_CONTEXT = 4096
_CPU_PARAMS = 10**9  # models from this size on are looked for on accelerators


def instances(
    params: Annotated[
        str, typer.Option(help="The model: its size (8b, 350m) or a known name (llama-3.1-8b).", show_default=False)
    ] = "",
    dtype: Annotated[str, typer.Option(help="Of the weights: fp32, fp16, bf16, fp8, int8, int4.")] = "fp16",
    context: Annotated[
        int, typer.Option(help="Tokens of a request and its answer; 0: it answers in one pass.")
    ] = _CONTEXT,
    concurrency: Annotated[int, typer.Option(help="Requests at once.")] = 1,
    kv_dtype: Annotated[str, typer.Option(help="Of the KV cache.")] = "fp16",
    layers: Annotated[
        int | None, typer.Option(help="Of the model, where it is not a known one.", show_default=False)
    ] = None,
    kv_heads: Annotated[int | None, typer.Option(help="Heads of keys and values.", show_default=False)] = None,
    head_dim: Annotated[int | None, typer.Option(help="Size of a head.", show_default=False)] = None,
    max_usd_per_hour: Annotated[
        float | None, typer.Option("--max-usd-per-hour", help="Only what costs no more.", show_default=False)
    ] = None,
    accelerator: Annotated[
        str, typer.Option(help="any, gpu, cpu, or a name: L4, A10G.", show_default="any; gpu from 1b on")
    ] = "",
    region: Annotated[str, typer.Option(help="The region of the prices.")] = "us-east-1",
    use: Annotated[str, typer.Option(help="What it is paid for as: hosting, training, ec2, ec2-spot, ...")] = "hosting",
    show_all: Annotated[bool, typer.Option("--all", help="Every type, not only the cheapest.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show instance types with memory and price. With --params: what fits, by which sum, and what to try first."""
    from trimtab.advisor.fitting.places import first_choice, places
    from trimtab.advisor.fitting.size import architecture_of, need_of
    from trimtab.advisor.prices.book import book
    from trimtab.advisor.prices.hardware import own_shapes
    from trimtab.advisor.prices.tables import use_of

    need = None
    if not params and (given := _of_a_model(dtype, context, concurrency, kv_dtype, layers, kv_heads, head_dim)):
        raise CliError(f"{given} is of a model: say which, with --params.")
    if params:
        architecture = architecture_of(params, layers=layers, kv_heads=kv_heads, head_dim=head_dim)
        need = need_of(architecture, dtype=dtype, context=context, concurrency=concurrency, kv_dtype=kv_dtype)
    found = places(
        book(), region=region, use=use_of(use), need=need, max_usd_per_hour=max_usd_per_hour, own=own_shapes()
    )
    wanted = accelerator or ("gpu" if need is not None and need.architecture.params >= _CPU_PARAMS else "any")
    found = [place for place in found if _is_wanted(place, wanted)]
    if not found:
        raise _none_like_that(book(), region, use_of(use), need, max_usd_per_hour, wanted)
    for note in _of_no_list(book(), region):
        say(f"note: {note}")
    if as_json:
        emit_json(_document(found, need, first_choice(found) if need else None))
        return
    if need is None:
        _show(found, show_all=show_all)
    else:
        _show_fitting(found, need, show_all=show_all)


def _of_a_model(
    dtype: str,
    context: int,
    concurrency: int,
    kv_dtype: str,
    layers: int | None,
    kv_heads: int | None,
    head_dim: int | None,
) -> str:
    """The first option that says something about a model; "" where none was given."""
    given = {
        "--dtype": dtype != "fp16",
        "--context": context != _CONTEXT,
        "--concurrency": concurrency != 1,
        "--kv-dtype": kv_dtype != "fp16",
        "--layers": layers is not None,
        "--kv-heads": kv_heads is not None,
        "--head-dim": head_dim is not None,
    }
    return next((name for name, is_given in given.items() if is_given), "")


def _none_like_that(
    known: Book, region: str, use: Use, need: Need | None, most_usd: float | None, wanted: str
) -> CliError:
    """Nothing is left: because of the price, or because nothing has such an accelerator."""
    from trimtab.advisor.fitting.places import places
    from trimtab.advisor.prices.hardware import own_shapes

    priced = places(known, region=region, use=use, need=need, max_usd_per_hour=None, own=own_shapes())
    alike = [place for place in priced if _is_wanted(place, wanted)]
    if not alike:
        names = sorted({place.shape.accelerator for place in priced if place.shape.accelerator})
        return CliError(f"No instance type has {wanted!r}.", f"--accelerator is any, gpu, cpu, or {', '.join(names)}.")
    holding = [place for place in alike if place.copies] or alike
    least = min(holding, key=lambda place: place.usd)
    that = " that holds it" if least.copies else ""
    return CliError(
        f"No instance type like that costs at most ${most_usd:g} an hour; the cheapest{that} is {least.instance_type}, "
        f"${least.usd:,.4g}."
    )


def _of_no_list(known: Book, region: str) -> Iterator[str]:
    """What to say of a region that no price is listed of."""
    regions = {price.region for _, price in known.instances() if price.region}
    if region not in regions:
        yield (
            f"no price of the region {region} is listed: these are us-east-1's "
            f"(lists there are of {', '.join(sorted(regions))}; `trimtab prices update --from-aws --region {region}`)"
        )


def _is_wanted(place: Place, wanted: str) -> bool:
    name = place.shape.accelerator.lower()
    if wanted.lower() in ("any", "gpu", "cpu"):
        return {"any": True, "gpu": bool(name), "cpu": not name}[wanted.lower()]
    return name == wanted.lower()


def _show(found: list[Place], *, show_all: bool) -> None:
    rows = found if show_all else found[:_MOST]
    table(
        ["type", "vCPU", "memory", "accelerators", "USD an hour", "USD/GiB", "USD/TFLOP", ""],
        [[*_hardware(p), f"{p.usd:,.4g}", _rate(p.usd_per_gib), _rate(p.usd_per_tflop), _mark(p)] for p in rows],
        right=["vCPU", "memory", "USD an hour", "USD/GiB", "USD/TFLOP"],
    )
    _say_more(len(found) - len(rows))
    emit(
        "\nUSD/GiB: an hour of accelerator memory, or of the machine's where it has none. "
        "USD/TFLOP: 16-bit, dense, by data sheet."
    )


def _show_fitting(found: list[Place], need: Need, *, show_all: bool) -> None:
    from trimtab.advisor.fitting.places import USABLE, first_choice
    from trimtab.advisor.fitting.size import gib

    a = need.architecture
    emit(f"Layers {a.layers}, KV heads {a.kv_heads}, head size {a.head_dim}, hidden size {a.hidden:,}: {a.told}.\n")
    for line in need.formula():
        emit(f"  {line}")
    emit(f"  of a device's memory {USABLE:.0%} may be used\n")
    choice = first_choice(found)
    if choice is None:
        largest = max(found, key=lambda p: p.shape.accelerator_gib or p.shape.memory_gib)
        memory = gib((largest.shape.accelerator_gib or largest.shape.memory_gib) * 2**30)
        raise CliError(
            f"None of {len(found)} types holds it; the largest, {largest.instance_type}, has {memory}.",
            "Try a smaller --dtype (int8, int4), --context or --concurrency, or a higher --max-usd-per-hour.",
        )
    holding = [place for place in found if place.copies]
    rows = holding if show_all else holding[:_MOST]
    table(
        [
            "type", "accelerators", "USD an hour", "holds", "full", "requests at once",
            "USD/copy", "USD/GiB", "USD/TFLOP", "",
        ],
        [
            [
                p.instance_type, _hardware(p)[3], f"{p.usd:,.4g}", _held(p), f"{p.full:.0%}", _requests(p, need),
                _rate(p.usd_per_copy), _rate(p.usd_per_gib), _rate(p.usd_per_tflop), _mark(p),
            ]
            for p in rows
        ],
        right=["USD an hour", "full", "requests at once", "USD/copy", "USD/GiB", "USD/TFLOP"],
    )  # fmt: skip
    _say_more(len(holding) - len(rows))
    best, reasons = choice
    where = best.price.region or "any region"
    emit(f"\nTry first: {best.instance_type}, ${best.usd:,.4g} an hour in {where}, as of {best.price.as_of}.")
    for reason in reasons:
        emit(f"  - {reason}")
    if note := best.price.note(date.today()):
        emit(f"  - its price: {note}")


def _hardware(place: Place) -> list[str]:
    shape = place.shape
    gpu = f"{shape.accelerators:g} x {shape.accelerator}, {shape.accelerator_gib:g} GiB" if shape.accelerator else "-"
    return [place.instance_type, str(shape.vcpus), f"{shape.memory_gib:g} GiB", gpu]


def _held(place: Place) -> str:
    over = f" over {place.devices}" if place.devices > 1 else ""
    return f"{place.copies} {'copy' if place.copies == 1 else 'copies'}{over}"


def _requests(place: Place, need: Need) -> str:
    return f"{place.most_requests:,}" if need.kv else "-"


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _mark(place: Place) -> str:
    mark = place.price.mark(date.today())
    return ", ".join(filter(None, (place.caveat, f"price {mark}" if mark else "")))


def _held_document(place: Place) -> dict[str, Any]:
    return {
        "copies": place.copies,
        "devices_each": place.devices,
        "most_requests": place.most_requests,
        "full": place.full,
        "usd_per_copy_hour": place.usd_per_copy,
        "caveat": place.caveat or None,
    }


def _say_more(left: int) -> None:
    if left > 0:
        emit(f"... and {left} dearer ones (--all shows them)")


def _document(found: list[Place], need: Need | None, choice: Any) -> dict[str, Any]:
    import msgspec

    rows = [
        {
            "instance_type": p.instance_type,
            "shape": msgspec.to_builtins(p.shape),
            "usd_per_hour": str(p.price.usd),
            "price": {
                "region": p.price.region or None, "as_of": p.price.as_of, "source": p.price.source,
                "is_derived": p.price.is_derived, "note": p.price.note(date.today()) or None,
            },
            "usd_per_gib_hour": p.usd_per_gib,
            "usd_per_tflop_hour": p.usd_per_tflop,
            "speed": msgspec.to_builtins(p.speed) if p.speed else None,
        }
        | (_held_document(p) if need else {})
        for p in found
    ]  # fmt: skip
    if need is None:
        return {"instances": rows}
    sizes = msgspec.to_builtins(need) | {"total": need.total, "formula": need.formula()}
    first = {"instance_type": choice[0].instance_type, "why": choice[1]} if choice else None
    return {"need_bytes": sizes, "first": first, "instances": rows}
