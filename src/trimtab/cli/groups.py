"""Verbs that have verbs of their own, one of which need not be named."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup


def group_with(unnamed: str) -> type[TyperGroup]:
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
