"""The feature server port over HTTP or HTTPS, by Feast's contract, with a bearer token where the server wants one.

What its answers must be does not belong here (``use_cases.deploy``).
"""

import json
import re
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final, Self
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from feature_platform.adapters.token_file import read_tokens
from feature_platform.core.contract.feature_set import Contract
from feature_platform.errors import ConfigurationError, StorageError

ANSWER_S: Final = 10


@dataclass(frozen=True, slots=True)
class HTTPFeatureServer:
    """A server at an address; see :class:`FeatureServer`."""

    address: str
    token: str | None = field(default=None, repr=False)
    trust: ssl.SSLContext | None = field(default=None, repr=False)
    """What the server's certificate is checked by, for an ``https://`` address."""

    @classmethod
    def of(cls, url: str, *, tokens: Path | None, authority: Path | None) -> Self:
        """A server at ``http://host:port`` or ``https://host:port`` that knows the tokens of a file; the first one is used.

        Args:
            authority: CA certificate that the server's certificate is checked by; the system's own authorities where left out.

        Raises:
            ConfigurationError: The URL is none, the certificate cannot be used, or as :func:`read_tokens`.
        """
        if not re.fullmatch(r"https?://[^\s/]+\S*", url):
            raise ConfigurationError(f"{url}: expected the URL of a feature server, as http://host:port or https://host:port.")
        try:
            trust = ssl.create_default_context(cafile=authority) if url.startswith("https:") else None
        except OSError as error:
            raise ConfigurationError(f"{authority} cannot be used ({error}): expected a file of CA certificates in PEM.") from error
        return cls(url.rstrip("/"), token=None if tokens is None else read_tokens(tokens)[0][1], trust=trust)

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
        path = "/get-online-features"
        told = self._ask(path, body=request)
        try:
            answer = json.loads(told)
            values = {name: result["values"] for name, result in zip(answer["metadata"]["feature_names"], answer["results"], strict=True)}
            return {column: [value for _, value in zip(keys, values[column], strict=True)] for column in columns}
        except (ValueError, KeyError, TypeError) as error:
            raise StorageError(
                f"{self.address}{path} answered {told[:60]!r} ({type(error).__name__}); expected the JSON of a feature server. Correct the "
                "server's URL, or see what stands in front of it."
            ) from error

    def _ask(self, path: str, *, body: Mapping[str, Any] | None = None) -> bytes:
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self.token}"} if self.token else {})
        request = Request(f"{self.address}{path}", data=None if body is None else json.dumps(body).encode(), headers=headers)  # noqa: S310
        try:
            # The operator names the server.
            with urlopen(request, timeout=ANSWER_S, context=self.trust) as response:  # noqa: S310
                answer: bytes = response.read()
                return answer
        except HTTPError as error:
            remedy = " It wants a token: name its file of tokens by --tokens." if error.code == HTTPStatus.UNAUTHORIZED else ""
            raise StorageError(f"The feature server refused {self.address}{path}: {error}.{remedy}") from error
        except (OSError, HTTPException) as error:
            told = f"{type(error).__name__}: {error}"
            raise StorageError(
                f"The feature server does not answer {self.address}{path} ({told}). Start it, or correct its URL."
            ) from error
