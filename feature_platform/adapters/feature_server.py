"""The feature server port over HTTP, by Feast's contract (``POST /get-online-features``)."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.error import URLError
from urllib.request import Request, urlopen

from feature_platform.core.contract.feature_set import Contract
from feature_platform.errors import StorageError

ANSWER_S: Final = 10


class HTTPFeatureServer:
    """See :class:`FeatureServer`.

    Args:
        address: The server's URL, without a path.
    """

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")

    def health(self) -> None:
        """See :meth:`FeatureServer.health`."""
        self._ask("/health")

    def read(self, contract: Contract, keys: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> dict[str, list[Any]]:
        """See :meth:`FeatureServer.read`."""
        request = {
            "features": [f"{contract.feature_set}:{column}" for column in columns],
            "entities": {key: [row[key] for row in keys] for key in contract.primary_keys},
        }
        answer = json.loads(self._ask("/get-online-features", body=json.dumps(request).encode()))
        named = zip(answer["metadata"]["feature_names"], answer["results"], strict=True)
        return {name: result["values"] for name, result in named}

    def _ask(self, path: str, *, body: bytes | None = None) -> bytes:
        url = f"{self.address}{path}"
        try:
            # The operator names the server; another scheme than HTTP has no host to answer.
            with urlopen(Request(url, data=body, headers={"Content-Type": "application/json"}), timeout=ANSWER_S) as response:  # noqa: S310
                answer: bytes = response.read()
                return answer
        except (URLError, OSError, ValueError) as error:
            raise StorageError(f"The feature server does not answer {url}: {error}. Look at its log, then ask again.") from error
