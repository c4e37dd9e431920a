"""Several processes that apply a view each to one registry at the same moment, round after round; a script for tests.

``python -m tests.support.registry_appliers <registry uri> <processes> <rounds>`` prints the names of all views that were applied. Feast
is imported once and the processes are forked from there: importing it in each would take longer than the race.
"""

import os
import sys
import warnings

warnings.simplefilter("ignore")


def apply_one(uri: str, name: str) -> None:
    """One process: open the registry anew and apply one view."""
    from tests.support.feast_registries import apply, contract, open_s3_registry

    apply(open_s3_registry(uri), contract(name))


def main(uri: str, processes: int, rounds: int) -> None:
    """Fork, apply, wait; fail where one of the processes failed."""
    import feast  # noqa: F401  imported before the fork

    import feature_platform.feast_plugins.registry_store  # noqa: F401

    for turn in range(rounds):
        ready, go = os.pipe()
        children = []
        for process in range(processes):
            child = os.fork()
            if child == 0:
                os.close(go)
                os.read(ready, 1)  # ends when the parent closes its side: all start at once
                apply_one(uri, f"view_{turn}_{process}")
                os._exit(0)
            children.append(child)
        os.close(go)
        statuses = [os.waitpid(child, 0)[1] for child in children]
        os.close(ready)
        if any(statuses):
            sys.exit(f"round {turn}: exit statuses {statuses}")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
