"""`waypost node run`: serve the functions of a file; with --reload again after every change."""

import importlib.util
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from waypost_sdk.command import failure
from waypost_sdk.command.failure import UsageError

if TYPE_CHECKING:
    from waypost_sdk.node.node import Node

app = typer.Typer(help="Run a compute node here.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Run a compute node here."""  # a group of one command would otherwise lose its name


@app.command()
def run(
    file: Annotated[
        str, typer.Argument(metavar="FILE[:NAME]", help="Python file with a Node, e.g. app.py or app.py:node.")
    ],
    reload: Annotated[
        bool, typer.Option("--reload", help="Start again when a .py file of its folder changes.")
    ] = False,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Serve the functions of a file until SIGTERM or Ctrl-C: finish what is running, then leave."""
    if reload:
        from waypost_sdk.node import reload as reloading

        watched = Path(file.partition(":")[0]).resolve().parent
        command = [sys.executable, "-m", "waypost_sdk.command.main", "node", "run", file, "--log-level", log_level]
        raise typer.Exit(reloading.run(command, watched))
    logging.basicConfig(
        level=_level(log_level), stream=sys.stderr, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s"
    )
    logging.getLogger("httpx").setLevel(logging.WARNING)
    load(file).run()


def load(file: str) -> "Node":
    """The Node in a file: the one that is named, else the only one. Raises UsageError."""
    from waypost_sdk.node.node import Node, read_by_command

    path, _, name = file.partition(":")
    with read_by_command():
        module = _import(Path(path))
    if name:
        node = getattr(module, name, None)
        if not isinstance(node, Node):
            raise UsageError(f"{path} has no Node called {name}.")
        return node
    found = {id(value): value for value in vars(module).values() if isinstance(value, Node)}
    if len(found) != 1:
        raise UsageError(f"{path} has {len(found)} Node objects; name one: {path}:NAME.")
    return next(iter(found.values()))


def _import(path: Path) -> object:
    """The file as a module; its folder is importable, as when Python runs it."""
    if not path.is_file():
        raise UsageError(f"There is no file {path}.")
    sys.path.insert(0, str(path.resolve().parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses and pickles look their module up
    spec.loader.exec_module(module)
    return module


def _level(text: str) -> int:
    level = logging.getLevelNamesMapping().get(text.upper())
    if level is None:
        raise typer.Exit(failure.report(UsageError(f"There is no log level {text!r}.")))
    return level
