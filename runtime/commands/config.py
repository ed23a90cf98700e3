"""`kangae config`: where the settings stand, and what holds."""

from __future__ import annotations

import argparse


def add_commands(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `config`."""
    config = subparsers.add_parser(
        "config", help="the settings", description="Settings: flag > environment KANGAE_* > file."
    )
    commands = config.add_subparsers(dest="config_command", metavar="COMMAND", required=True)
    path = commands.add_parser("path", help="the file that you may write")
    path.add_argument("--json", action="store_true", help="print one JSON object")
    path.set_defaults(run=run_path)
    show = commands.add_parser("show", help="what holds now, and where it comes from")
    show.add_argument("--json", action="store_true", help="print one JSON object")
    show.set_defaults(run=run_show)


def run_path(arguments: argparse.Namespace) -> int:
    """Print the file's path, whether or not it is there."""
    from models.json_output import print_json
    from runtime.settings import config_file

    path = config_file()
    if arguments.json:
        print_json({"path": str(path), "exists": path.is_file()})
    else:
        print(path)
    return 0


def run_show(arguments: argparse.Namespace) -> int:
    """Print every setting with its origin."""
    from models.json_output import print_json
    from models.plain_text import json_line, strip_controls
    from runtime.profile.profile_store import profiles_folder
    from runtime.settings import config_file, load_settings

    settings = load_settings()
    values = settings.values()
    if settings.budget is None:
        values["budget"] = "unlimited"
    if arguments.json:
        told = {name: {"value": value, "from": settings.origins.get(name, "default")} for name, value in values.items()}
        print_json({"path": str(config_file()), "settings": told, "profiles": str(profiles_folder())})
        return 0
    for name, value in values.items():
        shown = json_line(value) if value is not None else "(the model's or the machine's own)"
        print(strip_controls(f"{name} = {shown}  # {settings.origins.get(name, 'default')}"))
    print(strip_controls(f"# what `kangae calibrate` found: {profiles_folder()}"))
    return 0
