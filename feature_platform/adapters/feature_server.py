"""The feature server port over HTTP or HTTPS, by Feast's contract, with a bearer token where the server wants one.

What its answers must be does not belong here (``use_cases.deploy``).
"""

import json
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self
from urllib.error import URLError
from urllib.request import Request, urlopen

from feature_platform.adapters.token_file import read_tokens
from feature_platform.core.contract.feature_set import Contract
from feature_platform.errors import StorageError

ANSWER_S: Final = 10


@dataclass(frozen=True, slots=True)
class HTTPFeatureServer:
    """A server at an address; see :class:`FeatureServer`."""

    address: str
    token: str | None = field(default=None, repr=False)
    authority: Path | None = None
    """CA certificate that the server's certificate is checked by; the system's own authorities where left out."""

    @classmethod
    def of(cls, url: str, *, tokens: Path | None, authority: Path | None) -> Self:
        """A server at ``http://host:port`` or ``https://host:port`` that knows the tokens of a file; the first one is used.

        Raises:
            ConfigurationError: As :func:`read_tokens`.
        """
        return cls(url, token=None if tokens is None else read_tokens(tokens)[0][1], authority=authority)

    def health(self) -> None:
        """Whether its process answers.

        Raises:
            StorageError: It does not.
        """
        self._ask("/health")

    def read(self, contract: Contract, keys: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> dict[str, list[Any]]:
        request = {
            "features": [f"{contract.feature_set}:{column}" for column in columns],
            "entities": {key: [row[key] for row in keys] for key in contract.primary_keys},
        }
        answer = json.loads(self._ask("/get-online-features", body=request))
        return {name: result["values"] for name, result in zip(answer["metadata"]["feature_names"], answer["results"], strict=True)}

    def _ask(self, path: str, *, body: Mapping[str, Any] | None = None) -> bytes:
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self.token}"} if self.token else {})
        request = Request(f"{self.address}{path}", data=None if body is None else json.dumps(body).encode(), headers=headers)  # noqa: S310
        context = ssl.create_default_context(cafile=self.authority) if self.address.startswith("https:") else None
        try:
            # The operator names the server; a scheme without a host has nobody to answer.
            with urlopen(request, timeout=ANSWER_S, context=context) as response:  # noqa: S310
                answer: bytes = response.read()
                return answer
        except (URLError, OSError) as error:
            raise StorageError(f"The feature server does not answer {self.address}{path}: {error}.") from error
