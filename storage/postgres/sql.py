"""SQL text from `.sql` files that lie beside the module that runs them; each is read once."""

from functools import cache
from importlib import resources


@cache
def load(package: str, name: str) -> str:
    """The statement in `<package>/<name>.sql`, as in `load("storage.postgres.ledger", "claim")`.

    Raises FileNotFoundError: a missing file is a fault of the installation.
    """
    return resources.files(package).joinpath(f"{name}.sql").read_text("utf-8")
