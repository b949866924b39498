"""`trimtab prices`: the price book: what it knows, how old that is, and how it is renewed."""

from __future__ import annotations

from datetime import date
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trimtab.cli.groups import group
from trimtab.cli.options import AsJson
from trimtab.cli.render import CliError, emit, emit_json, say, table

if TYPE_CHECKING:
    from trimtab.advisor.prices.book import Book
    from trimtab.advisor.prices.price import Price, Use
    from trimtab.advisor.prices.tables import Prices
    from trimtab.advisor.prices.updates import Change

prices = group("prices", "Prices: list them, show one, renew them from a file or from AWS.")

_SHOWN = 20  # changed prices; --json has all
Region = Annotated[str, typer.Option(help="The region.", show_default="us-east-1")]


@prices.command("list")
def list_prices(
    pattern: Annotated[
        str, typer.Argument(metavar="PART", help="Only items with this in their name: g5, serverless.")
    ] = "",
    use: Annotated[
        str,
        typer.Option(help="Only this use: hosting, training, async, batch-transform, ec2, ec2-spot, ec2-reserved."),
    ] = "",
    region: Annotated[str, typer.Option(help="Only this region.", show_default="all")] = "",
    as_json: AsJson = False,
) -> None:
    """List prices, with their dates.

    All that stand in a list or are your own; what is derived from them is not among these.
    """
    from trimtab.advisor.prices.book import book
    from trimtab.advisor.prices.tables import use_of

    if use:
        use_of(use)
    known = book()
    rows: list[tuple[str, str, Price]] = [(key[0], key[1], price) for key, price in known.instances()]
    if not use:
        rows += [(key[1], key[0], price) for key, price in known.others()]
    rows = [
        row
        for row in rows
        if pattern.lower() in f"{row[0]} {row[1]}".lower() and (not use or row[1] == use) and _is_of(row[2], region)
    ]
    rows.sort(key=lambda row: (row[1], row[0], row[2].region))
    if as_json:
        emit_json([_document(price, used) for _, used, price in rows])
        return
    if not rows:
        raise _nothing(known, pattern, region)
    table(
        ["item", "use", "region", "USD", "per", "as of", ""],
        [
            [item, used, p.region or "any", f"{p.usd.normalize():f}", p.unit, p.as_of, p.mark(date.today())]
            for item, used, p in rows
        ],
        right=["USD"],
    )


def _nothing(known: Book, pattern: str, region: str) -> CliError:
    """Nothing is listed of what was asked for."""
    regions = sorted({price.region for _, price in known.instances() if price.region})
    if region and region not in regions:
        return CliError(f"There is no list of the region {region}; there are {', '.join(regions)}.")
    of = f" with {pattern!r} in its name" if pattern else ""
    return CliError(f"No price is known of anything{of} like that.", "`trimtab prices list` shows all.")


@prices.command()
def show(
    instance_type: Annotated[str, typer.Argument(metavar="TYPE", help="ml.g5.xlarge, or hardware of your own.")],
    region: Region = "us-east-1",
    as_json: AsJson = False,
) -> None:
    """Show what an instance type has and costs.

    In every use, with the source of each price.
    """
    from trimtab.advisor.prices.book import book
    from trimtab.advisor.prices.hardware import own_shapes
    from trimtab.advisor.prices.shapes import shape_of
    from trimtab.advisor.prices.tables import SERVICES

    known, shape = book(), own_shapes().get(instance_type) or shape_of(instance_type)
    uses: list[Use] = ["hosting"] if known.is_own(instance_type) else list(SERVICES)
    found = [(use, known.instance(instance_type, use, region)) for use in uses]
    priced = [(use, price) for use, price in found if price is not None]
    if not priced and shape is None:
        raise CliError(f"The instance type {instance_type!r} is not known.", "`trimtab prices list` shows what is.")
    if as_json:
        import msgspec

        emit_json(
            {
                "instance_type": instance_type,
                "shape": msgspec.to_builtins(shape) if shape else None,
                "prices": [_document(price, use) for use, price in priced],
            }
        )
        return
    if shape is not None:
        emit(f"{instance_type}: {shape.words}\n")
    if not priced:
        emit("No price of it is known.")
    for use, price in priced:
        emit(f"{use:<16} ${price.usd.normalize():f} an hour in {price.region or 'any region'}, as of {price.as_of}")
        emit(f"{'':<16} {price.source}")
        if (note := price.note(date.today())) and note != price.source:
            emit(f"{'':<16} note: {note.removeprefix(price.source + '; ')}")


@prices.command()
def update(
    source: Annotated[
        Path | None,
        typer.Option(
            "--from", help="A list: CSV in trimtab's columns, or an offer file of AWS (JSON).", show_default=False
        ),
    ] = None,
    from_aws: Annotated[bool, typer.Option("--from-aws", help="Ask AWS's pricing API (pricing:GetProducts).")] = False,
    region: Annotated[
        list[str] | None, typer.Option(help="A region to ask AWS for; may be repeated.", show_default="us-east-1")
    ] = None,
    profile: Annotated[str, typer.Option(help="The AWS profile that asks.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Lay newer prices over those that are known. They are kept in $TRIMTAB_PRICES (.csv) or ~/.config/trimtab."""
    from trimtab.advisor.prices.book import book
    from trimtab.advisor.prices.updates import changes, read_list, save, strange

    if (source is None) != from_aws:
        both = " Not both." if from_aws else ""
        raise CliError(f"Say where from: --from FILE or --from-aws.{both}", "`trimtab prices update --help`")
    newer = read_list(source) if source is not None else _asked(region or ["us-east-1"], profile)
    known = book(must_exist=False)  # the file that is named is perhaps the one that is written now
    found = changes(known, newer)
    if source is not None and source.suffix == ".csv":  # AWS's own lists have what is new to us
        for note in strange(newer):
            say(f"note: {note}")
    path = None if dry_run else save(newer)
    count = len(newer.instances) + len(newer.others)
    if as_json:
        emit_json({"read": count, "changed": [_change(change) for change in found], "file": path and str(path)})
        return
    _show_changes(found)
    new = sum(change.before is None for change in found)
    emit(f"{count:,} prices read: {new:,} new, {len(found) - new:,} changed, {count - len(found):,} as before.")
    emit("Nothing was written (--dry-run)." if path is None else f"Written to {path}.")


def _asked(regions: list[str], profile: str) -> Prices:
    from trimtab.advisor.prices.pricing_api import fetch

    return fetch(regions, profile=profile, told=lambda what: say(f"reading {what}"))


def _show_changes(found: list[Change]) -> None:
    changed = [change for change in found if change.before is not None]
    changed.sort(key=lambda change: abs(float(change.ratio) - 1) if change.ratio is not None else inf, reverse=True)
    if not changed:
        return
    rows = [
        [
            c.after.item,
            c.use,
            c.after.region,
            f"{c.before.usd.normalize():f}",
            f"{c.after.usd.normalize():f}",
            f"{float(c.ratio) - 1:+.1%}" if c.ratio is not None else "",  # it cost nothing before
        ]
        for c in changed[:_SHOWN]
        if c.before is not None
    ]
    table(["item", "use", "region", "before", "now", ""], rows, right=["before", "now", ""])
    if len(changed) > _SHOWN:
        emit(f"... and {len(changed) - _SHOWN:,} more (--json shows all)")
    emit("")


def _is_of(price: Price, region: str) -> bool:
    return not region or price.region in (region, "")


def _document(price: Price, use: str) -> dict[str, Any]:
    return {
        "item": price.item,
        "use": use,
        "region": price.region or None,
        "usd": str(price.usd),
        "per": price.unit,
        "as_of": price.as_of,
        "source": price.source,
        "is_derived": price.is_derived,
        "age_days": price.age_days(date.today()),
    }


def _change(change: Change) -> dict[str, Any]:
    before = str(change.before.usd) if change.before is not None else None
    return _document(change.after, change.use) | {"before_usd": before}
