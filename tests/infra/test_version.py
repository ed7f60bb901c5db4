"""One version, said in one voice."""

import importlib.metadata

import waypost


def test_the_code_and_the_distribution_agree_on_the_version() -> None:
    """The data folder and the API tell `waypost.__version__`, the package index the distribution's."""
    assert waypost.__version__ == importlib.metadata.version("waypost")
