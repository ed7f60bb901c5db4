"""The platform jobs of an environment's life: which function does which kind, and what follows when one has failed."""

import functools

from functions.environment import delete, provision, resume, suspend
from functions.environment.phase import EnvironmentPorts
from jobs.platform import Handler, OnEnd
from waypost.tenancy.model import Phase


def handlers(ports: EnvironmentPorts) -> dict[str, Handler]:
    """By kind."""
    return {
        Phase.PROVISION.kind: functools.partial(provision.provision, ports=ports),
        Phase.SUSPEND.kind: functools.partial(suspend.suspend, ports=ports),
        Phase.RESUME.kind: functools.partial(resume.resume, ports=ports),
        Phase.DELETE.kind: functools.partial(delete.delete, ports=ports),
    }


def on_end(ports: EnvironmentPorts) -> dict[str, OnEnd]:
    """By kind; a suspend or resume that failed is finished by the next reconciliation."""
    return {
        Phase.PROVISION.kind: functools.partial(provision.give_up, ports=ports),
        Phase.DELETE.kind: functools.partial(delete.give_up, ports=ports),
    }
