"""`waypost admin …`: what the operator of a platform does to it from its own machine, past the API.

Responsible for: the group itself. Each subject is a module with `register(admin: typer.Typer)` that imports nothing
heavy at its top: the command's help lists them all. Refuses: anything that a person with a role can do over HTTP.
"""

import importlib

import typer

# One module a subject; `waypost admin` shows their commands in this order.
SUBJECTS = ("status", "person", "limit", "kek", "backup", "audit", "usage", "reconcile")


def register(app: typer.Typer) -> None:
    """Add the group `admin` with every subject's commands."""
    admin = typer.Typer(help="Operate this platform: for whoever holds its data folder or its database logins.")
    for subject in SUBJECTS:
        importlib.import_module(f"{__name__}.{subject}").register(admin)
    app.add_typer(admin, name="admin", no_args_is_help=True)
