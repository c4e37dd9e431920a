"""The one place where the platform's errors become Dagster's: which failures are retried, and how they read in the UI.

Handling by ``try`` in an asset does not belong anywhere.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from feature_platform.errors import ConfigurationError, ContractError, FeaturePlatformError, InvalidDataError, NotFoundError

RETRY_DELAY_S = 180
NEVER_RETRIED = (ConfigurationError, ContractError, InvalidDataError, NotFoundError)


def retry_policy(*, delay_s: float = RETRY_DELAY_S) -> dg.RetryPolicy:
    """One retry after three minutes, for what a retry can mend."""
    return dg.RetryPolicy(max_retries=1, delay=delay_s)


@contextmanager
def as_dagster_failures() -> Iterator[None]:
    """Turn the platform's errors into :class:`dagster.Failure`; only conflicts and storage errors are worth a retry."""
    try:
        yield
    except FeaturePlatformError as error:
        raise dg.Failure(
            description=str(error),
            metadata={"error": type(error).__name__, "kind": error.kind},
            allow_retries=not isinstance(error, NEVER_RETRIED),
        ) from error
