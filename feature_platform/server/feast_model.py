"""Feast's request model, for bodies that the strict decoder does not take: it coerces and refuses what Feast's server does.

FastAPI makes the body of a 422, as it does for Feast's server; it is imported at the first unusual body. A test holds this model equal to
Feast's own. Plain bodies do not belong here (``requests``).
"""

from collections.abc import Sequence
from functools import cache
from typing import Annotated, Any, Final

import msgspec
from pydantic import BaseModel, Field

from feature_platform.server.plans import Refusal, RequestShape
from feature_platform.server.requests import OnlineRequest

_JUDGED: Final = "judged"


class GetOnlineFeaturesRequest(BaseModel):
    """The body of ``POST /get-online-features``."""

    entities: dict[str, list[Any]]
    feature_service: str | None = None
    features: list[str] = []
    full_feature_names: bool = False
    include_feature_view_version_metadata: bool = False


class _PinnedRequest(GetOnlineFeaturesRequest):
    """The same with our own field, so that no pin is lost with a body that only this model takes."""

    pinned_versions: dict[str, Annotated[str, Field(min_length=1)]] | None = None


async def judged_request(body: bytes, headers: Sequence[tuple[bytes, bytes]]) -> OnlineRequest:
    """The request that Feast's server makes of a body.

    Raises:
        Refusal: Feast's server would refuse the body, or ``pinned_versions`` names no versions; status and document are FastAPI's.
    """
    judged: list[_PinnedRequest] = []
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    try:
        await _app()({**_SCOPE, "headers": list(headers), _JUDGED: judged}, receive, send)
    except ValueError as error:
        # A fault that FastAPI cannot write as JSON, such as bytes that are no text. Feast's server fails with 500; but the client is wrong.
        raise Refusal(400, {"detail": "There was an error parsing the body"}) from error
    if not judged:
        body = b"".join(message.get("body", b"") for message in sent[1:])
        raise Refusal(sent[0]["status"], msgspec.Raw(body))
    request = judged[0]
    shape = RequestShape(
        request.feature_service or None,
        tuple(request.features),
        request.full_feature_names,
        request.include_feature_view_version_metadata,
    )
    return OnlineRequest(shape, request.entities, request.pinned_versions or {})


_SCOPE: Final[dict[str, Any]] = {
    "type": "http",
    "asgi": {"version": "3.0"},
    "http_version": "1.1",
    "method": "POST",
    "path": "/",
    "raw_path": b"/",
    "root_path": "",
    "scheme": "http",
    "query_string": b"",
}


@cache
def _app() -> Any:
    from fastapi import FastAPI, Request, Response

    app = FastAPI(openapi_url=None)

    @app.post("/")
    async def judge(request: Request, body: _PinnedRequest) -> Response:
        request.scope[_JUDGED].append(body)
        return Response()

    return app
