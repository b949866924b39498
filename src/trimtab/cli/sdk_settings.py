"""The sagemaker SDK's telemetry, switched off for one program without touching the user's own SDK settings.

Both SDKs merge two YAML files, the administrator's and then the user's; an environment variable can name each.
trimtab's setting goes where nothing is yet; where both are taken, into a copy of the user's. (`load_sagemaker_config`
in sagemaker.config.config, v2, and sagemaker.core.config.config, v3; the key is in config_schema.py.)
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from trimtab.cli.render import CliError

ADMIN: Final = "SAGEMAKER_ADMIN_CONFIG_OVERRIDE"
USER: Final = "SAGEMAKER_USER_CONFIG_OVERRIDE"
_HINT: Final = "Correct it; the sagemaker SDK would fail on it too."


def without_telemetry(environ: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Write the settings into `folder`; returns the variable that names them to the SDK.

    Empty when both places are taken and the user's file is not on this machine (`s3://...`): then nothing is changed.
    Raises CliError when the user's file cannot be read.
    """
    path = folder / "sagemaker-sdk.yaml"
    admin, user = _admin_file(environ), _user_file(environ)
    if admin is None or user is None:
        path.write_text(json.dumps(_opted_out({})))  # JSON is YAML
        return {ADMIN if admin is None else USER: str(path)}
    if user.startswith("s3://"):
        return {}
    import yaml

    path.write_text(yaml.safe_dump(_opted_out(_read(user))))
    return {USER: str(path)}


def _opted_out(settings: dict[str, Any]) -> dict[str, Any]:
    """`settings` with `SageMaker.PythonSDK.Modules.TelemetryOptOut` set, unless the user has decided on it."""
    inner = settings.setdefault("SageMaker", {})
    for name in ("PythonSDK", "Modules"):
        inner = inner.setdefault(name, {})
    inner.setdefault("TelemetryOptOut", True)
    settings.setdefault("SchemaVersion", "1.0")
    return settings


def _read(name: str) -> dict[str, Any]:
    import yaml

    path = Path(name) / "config.yaml" if os.path.isdir(name) else Path(name)
    try:
        found = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise CliError(f"The sagemaker SDK settings {path} cannot be read: {error}", _HINT) from None
    if found is None:
        return {}
    if not isinstance(found, dict) or not _is_nested(found):
        raise CliError(f"The sagemaker SDK settings {path} are not a mapping of mappings.", _HINT)
    return found


def _is_nested(settings: dict[str, Any]) -> bool:
    inner: Any = settings
    for name in ("SageMaker", "PythonSDK", "Modules"):
        inner = inner.get(name, {})
        if not isinstance(inner, dict):
            return False
    return True


def _admin_file(environ: Mapping[str, str]) -> str | None:
    folders = environ.get("XDG_CONFIG_DIRS") or "/etc/xdg"
    return _file(environ, ADMIN, Path(folders.split(os.pathsep)[0]))


def _user_file(environ: Mapping[str, str]) -> str | None:
    home = Path(environ.get("HOME") or "~").expanduser()
    return _file(environ, USER, Path(environ.get("XDG_CONFIG_HOME") or home / ".config"))


def _file(environ: Mapping[str, str], variable: str, folder: Path) -> str | None:
    """The settings file that the SDK would read in this place; None when there is none."""
    if variable in environ:
        return environ[variable]
    path = folder / "sagemaker" / "config.yaml"
    return str(path) if path.exists() else None
