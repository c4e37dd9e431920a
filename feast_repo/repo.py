"""Everything Feast knows about, derived from the contracts; for `feast apply`, `plan`, `materialize` and `serve` by hand.

A feature set is added by adding a contract file, not here. One that is published is described by the contract that latest was built by:
a changed contract reaches readers together with the first version that is built by it.
"""

from feature_platform.adapters.feast.objects import feast_objects
from feature_platform.settings import s3_endpoint_url
from feature_platform.use_cases.contracts import contracts_to_register
from feature_platform.wiring import open_platform

_platform = open_platform()
_objects = feast_objects(contracts_to_register(_platform), feature_base=_platform.settings.feature_base, s3_endpoint=s3_endpoint_url())

# Feast collects the objects that a module holds under names of their own.
globals().update({f"{type(item).__name__}_{item.name}": item for item in (*_objects.sources, *_objects.all)})
