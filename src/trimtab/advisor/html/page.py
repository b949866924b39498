"""A page from a template of `templates/`, with the style that all reports share."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import BaseLoader, Environment, StrictUndefined, TemplateNotFound

from trimtab.advisor.html.money import usd

_TEMPLATES = files("trimtab.advisor.html") / "templates"


class _Templates(BaseLoader):
    """Out of the package, wherever that lies: a folder or a wheel."""

    def get_source(self, environment: Environment, template: str) -> tuple[str, None, None]:
        source = _TEMPLATES / template
        if not source.is_file():
            raise TemplateNotFound(template)
        return source.read_text(encoding="utf-8"), None, None


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=_Templates(), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["usd"] = usd
    return environment


def page_of(template: str, **values: Any) -> str:
    """One HTML document. Values are escaped unless they are Markup."""
    return _environment().get_template(template).render(**values) + "\n"
