"""How the deployed contracts differ from the published ones, logged when the code location loads. Refusing belongs to the build."""

import logging
import threading
from collections.abc import Mapping
from typing import Final

from feature_platform.errors import FeaturePlatformError
from feature_platform.use_cases.contracts import changes_since
from feature_platform.wiring import Platform, feature_sets_at, s3_at

LONGEST_S: Final = 5.0
_log = logging.getLogger(__name__)


def changes_at_load(platform: Platform, *, within_s: float = LONGEST_S) -> Mapping[str, str]:
    """Feature set → how its contract differs from the one that latest was built by; only those that differ.

    Each difference is a warning in the log. Loading never fails because of it, and does not wait for an S3 that is away: feature sets that
    are not compared in time are left out.
    """
    store = feature_sets_at(platform.settings.feature_base, objects=s3_at(patience_s=2))
    brief = Platform(settings=platform.settings, catalog=platform.catalog, feature_sets=store)
    found: dict[str, str] = {}
    # A thread, because resolving a host's name cannot be bounded; it does not keep the process alive.
    asking = threading.Thread(target=_ask, args=(brief, found), daemon=True)
    asking.start()
    asking.join(within_s)
    if asking.is_alive():
        _log.warning("Contracts are not compared with what is published: S3 did not answer within %.0f s.", within_s)
    return dict(found)


def _ask(platform: Platform, found: dict[str, str]) -> None:
    try:
        for name, contract in platform.catalog.contracts.items():
            difference = changes_since(platform, contract)
            if difference.changes:
                found[name] = f"{difference.kind}: {'; '.join(map(str, difference.changes))}"
                _log.warning("The contract of %s differs from what is published (%s)", name, found[name])
    except FeaturePlatformError as error:
        _log.warning("Contracts are not compared with what is published: %s", error)
