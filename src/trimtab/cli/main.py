"""`trimtab VERB`: one verb per file, imported when it is called, so that every verb starts quickly."""

from __future__ import annotations

import importlib
import traceback
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

import trimtab
from trimtab.cli.render import CliError, debugging, say, say_error
from trimtab.cli.start import INTERRUPTED
from trimtab.errors import TrimtabError

_OTHER_KEYS = 'The keys are not this trimtab\'s. Run `eval "$(trimtab env)"`, or name its --data-dir.'
_NOT_OURS = ("signature we calculated does not match", "security token included in the request is invalid")


class Verb(NamedTuple):
    """Where a verb is (`module:function`, or `module:typer_app` for a verb with verbs of its own), and what it does."""

    target: str
    help: str


VERBS: dict[str, Verb] = {
    "serve": Verb("trimtab.cli.serve:serve", "Run trimtab on this machine."),
    "env": Verb("trimtab.cli.env:env", 'Print the exports for AWS programs: eval "$(trimtab env)".'),
    "run": Verb("trimtab.cli.run:run", "Run a program against trimtab: trimtab run -- PROGRAM."),
    "deploy": Verb("trimtab.cli.deploy:deploy", "From a model folder to an endpoint, in one step."),
    "invoke": Verb("trimtab.cli.invoke:invoke", "Send one request to an endpoint."),
    "bench": Verb("trimtab.cli.bench:bench", "Load an endpoint: latencies, cost, highest rate."),
    "endpoints": Verb("trimtab.cli.endpoints:endpoints", "List the endpoints."),
    "describe": Verb("trimtab.cli.describe:describe", "Show an endpoint: replicas, start budgets, reasons."),
    "explain": Verb("trimtab.cli.explain:explain", "Why there are as many replicas as there are."),
    "models": Verb("trimtab.cli.models:models", "Models of a multi-model endpoint; pin them, bound them."),
    "queue": Verb("trimtab.cli.queue:queue", "Queue of an asynchronous endpoint; redrive, purge."),
    "plan": Verb("trimtab.cli.plan:plan", "The cheapest architecture that keeps every SLO."),
    "replay": Verb("trimtab.cli.replay:replay", "Scaling again: what another policy would have done."),
    "simulate": Verb("trimtab.cli.simulate:simulate", "A scenario through other architectures: costs, latencies."),
    "record": Verb("trimtab.cli.record:record", "Live traffic as a scenario, to simulate or plan with."),
    "instances": Verb("trimtab.cli.instances:instances", "Instance types: what fits, price, what to try first."),
    "cost": Verb("trimtab.cli.cost:cost", "Dollars: what was spent, and what for."),
    "audit": Verb("trimtab.cli.audit:audit", "An AWS account: what is paid for and not needed."),
    "prices": Verb("trimtab.cli.prices:prices", "Prices: list, show, renew from a file or from AWS."),
    "top": Verb("trimtab.cli.top:top", "Rates, latencies, CPU and memory, live."),
    "logs": Verb("trimtab.cli.logs:logs", "Show what an endpoint's replicas wrote."),
    "keys": Verb("trimtab.cli.keys:keys", "Access keys, also with limits."),
    "doctor": Verb("trimtab.cli.doctor:doctor", "What is wrong with this machine or model, and the cure."),
}


class LazyGroup(TyperGroup):
    """Imports a verb when it is called; turns every failure into an error and a hint."""

    _listing = False

    def list_commands(self, ctx: Any) -> list[str]:
        """The verbs, in the order in which a reader meets them."""
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The verb, imported now; while help is being written, only its name and help."""
        verb = VERBS.get(cmd_name)
        if verb is None:
            return None
        if self._listing:
            return TyperCommand(cmd_name, help=verb.help)
        return _load(cmd_name, verb)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the list of verbs without importing any."""
        self._listing = True
        try:
            super().format_help(ctx, formatter)
        finally:
            self._listing = False

    def invoke(self, ctx: Any) -> Any:
        """Run the verb. People see `error:` and `hint:`; tracebacks only with TRIMTAB_DEBUG=1."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            say("stopped")
            raise typer.Exit(INTERRUPTED) from None
        except (typer.Exit, typer.Abort, BrokenPipeError):
            raise
        except CliError as error:
            raise _ended(error, str(error), error.hint, error.exit_code) from error
        except TrimtabError as error:
            raise _ended(error, str(error), _hint(error)) from error
        except OSError as error:
            raise _ended(error, f"{error.filename or 'input or output'}: {error.strerror or error}") from error
        except Exception as error:  # a defect of ours, or a usage error of typer's
            if _is_usage_error(error):
                raise
            hint = "This is a defect of trimtab. TRIMTAB_DEBUG=1 shows the traceback to report."
            raise _ended(error, f"{type(error).__name__}: {error}", hint) from error


def _ended(error: BaseException, message: str, hint: str = "", exit_code: int = 1) -> typer.Exit:
    if debugging():
        traceback.print_exception(error)
    say_error(message, hint)
    return typer.Exit(exit_code)


def _hint(error: TrimtabError) -> str:
    """What to do about an error that a server, or nobody, answered."""
    if error.reason == "Unreachable":
        return "Start a trimtab with `trimtab serve`; `trimtab doctor` says what is wrong with this machine."
    code = getattr(error, "code", "")
    if any(said in str(error) for said in _NOT_OURS):  # services differ in the code that they give it
        return _OTHER_KEYS
    if code in ("AccessDeniedException", "AccessDenied", "Denied"):
        return "`trimtab keys` shows what the key may do."
    if code in ("UnrecognizedClientException", "InvalidSignatureException", "InvalidClientTokenId"):
        return _OTHER_KEYS
    if code == "NotFound" or "Could not find endpoint" in str(error):
        return "`trimtab endpoints` lists what there is."
    return ""


def _is_usage_error(error: Exception) -> bool:
    return hasattr(error, "format_message") and hasattr(
        error, "exit_code"
    )  # typer's own copy of click has no public name


def _load(name: str, verb: Verb) -> Any:
    module, _, attribute = verb.target.partition(":")
    target = getattr(importlib.import_module(module), attribute)
    if isinstance(target, typer.Typer):
        command = typer.main.get_command(target)
    else:
        single = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
        single.command(name, context_settings=getattr(target, "context_settings", None))(target)
        command = typer.main.get_command(single)
    command.name = name
    return command


app = typer.Typer(
    name="trimtab",
    cls=LazyGroup,
    help=trimtab.__doc__,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"trimtab {trimtab.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """SageMaker inference that anyone can run."""
