"""Verbs that have verbs of their own."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup


def group(name: str, help: str, *, unnamed: str = "") -> typer.Typer:
    """A verb that has verbs of its own; with `unnamed`, that one of them need not be named."""
    return typer.Typer(
        name=name,
        cls=_group_with(unnamed) if unnamed else TyperGroup,
        help=help,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )


def _group_with(unnamed: str) -> type[TyperGroup]:
    """A group in which whatever is no verb is an argument of the verb `unnamed`: `trimtab models ENDPOINT`."""

    class Group(TyperGroup):
        def resolve_command(self, ctx: Any, args: list[str]) -> Any:
            """Whatever is no verb is an endpoint's name, or an option of `unnamed`."""
            if args and args[0] not in self.commands:
                args = [unnamed, *args]
            return super().resolve_command(ctx, args)

        def parse_args(self, ctx: Any, args: list[str]) -> Any:
            """Options may come before the name: they are `unnamed`'s, but for --help."""
            if args and args[0].startswith("-") and args[0] not in ctx.help_option_names:
                args = [unnamed, *args]
            return super().parse_args(ctx, args)

    return Group
