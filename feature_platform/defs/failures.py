"""The one place where the platform's errors become Dagster's: which failures are retried, and how they read in the UI.

Handling by ``try`` in an asset does not belong anywhere.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import dagster as dg

from feature_platform.errors import ConfigurationError, ContractError, FeaturePlatformError, InvalidDataError, NotFoundError

RETRY_DELAY_S: Final = 180.0
MAX_RETRIES: Final = 1
NEVER_RETRIED = (ConfigurationError, ContractError, InvalidDataError, NotFoundError)


@dataclass(frozen=True, slots=True)
class Retry:
    """How long a step pauses before its second attempt, in seconds.

    Steps have no retry policy of Dagster's: that one takes an interrupt for a failure worth a retry, so that whoever ends a run would get
    minutes of silence and then the whole step again. And the pause is made here, at the beginning of the second attempt: while Dagster
    waits between attempts it hears no interrupt.
    """

    delay_s: float = RETRY_DELAY_S

    def pause(self, context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext) -> None:
        """Say that it waits, and wait, where this is not the first attempt. Ctrl-C and Terminate end the wait at once."""
        if self.delay_s and attempts_before(context):
            context.log.warning(f"The first attempt failed for a reason that may pass; the step tries again in {self.delay_s:.0f} s.")
            time.sleep(self.delay_s)


def attempts_before(context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext) -> int:
    """How often the step was tried before, in its run."""
    try:
        return int(context.retry_number)
    except AttributeError:
        return 0  # an asset called as a function: that context has no steps to count


@contextmanager
def as_dagster_failures() -> Iterator[None]:
    """Turn the platform's errors into :class:`dagster.Failure`; conflicts and storage errors ask for one further attempt."""
    try:
        yield
    except FeaturePlatformError as error:
        metadata = {"error": type(error).__name__, "kind": error.kind}
        failure = dg.Failure(description=str(error), metadata=metadata, allow_retries=False)
        failure.__cause__ = error
        if isinstance(error, NEVER_RETRIED):
            raise failure from error
        raise dg.RetryRequested(max_retries=MAX_RETRIES) from failure
