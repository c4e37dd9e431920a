"""Everything Feast knows about, derived from the contracts; for `feast apply`, `plan`, `materialize` and `serve` by hand.

A feature set is added by adding a contract file, not here.
"""

from feature_platform.adapters.contract_files import load_catalog
from feature_platform.adapters.feast.objects import feast_objects
from feature_platform.settings import load_settings, s3_endpoint_url

_settings = load_settings()
_objects = feast_objects(
    load_catalog(_settings.contracts_dir).contracts.values(), feature_base=_settings.feature_base, s3_endpoint=s3_endpoint_url()
)

# Feast collects the objects that a module holds under names of their own.
globals().update({f"{type(item).__name__}_{item.name}": item for item in (*_objects.sources, *_objects.all)})
