"""Runs in a platform pod: prints every version of a feature set with its hashes, and the rows of some of them.

Arguments: feature set, then versions whose rows are wanted. Answers {"head", "versions": [{version, schema_hash, content_hash}],
"rows": version → entity → feature → value}.
"""

import json
import sys
from typing import Any

from feature_platform.wiring import open_platform

feature_set, wanted = sys.argv[1], sys.argv[2:]
platform = open_platform()
store = platform.feature_sets
history = store.history(feature_set)
answer: dict[str, Any] = {
    "head": history.head.version if history.head else None,
    "versions": [
        {
            "version": v.version,
            "schema_hash": v.schema_hash,
            "content_hash": v.content_hash,
            "row_count": store.metadata(feature_set, v.version).row_count,
        }
        for v in history.live
    ],
    "rows": {},
}
for version in wanted:
    rows = store.load(feature_set, version).to_pylist()
    answer["rows"][version] = {str(row["user_id"]): {k: v for k, v in row.items() if k.startswith("f_")} for row in rows}
print(json.dumps(answer, ensure_ascii=False))
