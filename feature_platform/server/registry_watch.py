"""The registry that requests are planned by: read at start and again in the background; plans are kept until it changes.

Where it cannot be read again, the last one stays in use, and :attr:`RegistryWatch.is_current` says so. What is in it does not belong here
(``served_registry``).
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from feature_platform.core.online.reads import UnplannedRequestError
from feature_platform.errors import FeaturePlatformError, NotFoundError, StorageError
from feature_platform.ports.object_store import ObjectStore
from feature_platform.server.plans import Refusal, RequestPlan, RequestShape, plan_request
from feature_platform.server.served_registry import ServedRegistry, served_registry

REFRESH_S: Final = 5.0

_PLANS_KEPT: Final = 256
_log = logging.getLogger(__name__)


class RegistryWatch:
    """The newest registry that could be read, and the plans made from it.

    Args:
        fetch: Reads the stored registry; blocks, and raises the platform's errors.
    """

    def __init__(self, fetch: Callable[[], bytes], *, project: str, refresh_s: float = REFRESH_S) -> None:
        self._fetch, self._project, self._refresh_s = fetch, project, refresh_s
        self._body = b""
        self._read_s: float | None = None
        self._plans: dict[RequestShape, RequestPlan | Refusal | None] = {}
        self.registry = ServedRegistry(project, {}, {}, {})

    @property
    def age_s(self) -> float | None:
        """Seconds since the registry was last read; None before the first time."""
        return None if self._read_s is None else time.monotonic() - self._read_s

    @property
    def is_current(self) -> bool:
        """Whether the registry was read lately; False where several readings in a row have failed."""
        return self.age_s is not None and self.age_s < 3 * self._refresh_s + 10

    def plan(self, shape: RequestShape) -> RequestPlan:
        """The plan of a request shape. Errors are those of :func:`plan_request`, and StorageError before a registry was read."""
        if self._read_s is None:
            raise StorageError("The Feast registry was not read yet. Try again.")
        try:
            plan = self._plans[shape]
        except KeyError:
            plan = self._planned(shape)
        if plan is None:
            raise UnplannedRequestError
        if isinstance(plan, Refusal):
            raise Refusal(plan.status, plan.body)
        return plan

    def _planned(self, shape: RequestShape) -> RequestPlan | Refusal | None:
        if len(self._plans) >= _PLANS_KEPT:
            self._plans.clear()
        try:
            self._plans[shape] = plan_request(shape, self.registry)
        except Refusal as refusal:
            self._plans[shape] = refusal
        except UnplannedRequestError:
            self._plans[shape] = None
        return self._plans[shape]

    async def read(self) -> None:
        """Read the registry now. It is fetched in a thread and replaced in the event loop, so that no plan mixes two registries.

        Raises:
            StorageError, ConfigurationError, NotFoundError, InvalidDataError: It could not be read; what was known stays.
        """
        body = await asyncio.to_thread(self._fetch)
        if body != self._body:
            self.registry, self._body = served_registry(body, project=self._project), body
            self._plans = {}
        self._read_s = time.monotonic()

    async def keep_reading(self) -> None:
        """Read it again and again until cancelled."""
        while True:
            await asyncio.sleep(self._refresh_s)
            try:
                await self.read()
            except FeaturePlatformError as error:
                _log.error("The Feast registry could not be read again; the last one stays in use. %s", error)
            except Exception:  # noqa: BLE001  whatever it was, nobody would read the registry again
                _log.exception("The Feast registry could not be read again; the last one stays in use.")


def stored_registry(objects: ObjectStore, uri: str) -> Callable[[], bytes]:
    """Reads the registry at a URI of an object store."""

    def fetch() -> bytes:
        stored = objects.get(uri)
        if stored is None:
            raise NotFoundError(f"There is no Feast registry at {uri}; apply the contracts first: feature-platform deployment apply")
        return bytes(stored.body)

    return fetch
