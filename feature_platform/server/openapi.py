"""The server's OpenAPI document, for authors of clients and for tools that test servers. Answering does not belong here (``app``)."""

from typing import Any

from feature_platform.server.options import Limits


def openapi_document(limits: Limits) -> dict[str, Any]:
    """What may be asked and answered, within the limits of this server."""
    unavailable = {"description": "Too many requests, or the online store did not answer in time; see Retry-After"}
    get = {"200": {"description": "The answer"}, "401": {"description": "No known bearer token"}, "503": unavailable}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Feature server", "version": "1", "description": "Feast's online reads, with proof of what was served."},
        "components": {"securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}}},
        "security": [{"bearer": []}, {}],
        "paths": {
            "/get-online-features": {"post": _features(limits, unavailable)},
            "/feature-version": {"get": {"summary": "Which version every view is served from", "responses": get}},
            "/health": {"get": {"summary": "The process runs", "responses": {"200": {"description": "It does"}}}},
            "/ready": {
                "get": {
                    "summary": "Everything is served as it should be",
                    "responses": {"200": {"description": "It is"}, "503": {"description": "It is not, and why"}},
                }
            },
            "/metrics": {"get": {"summary": "Numbers for Prometheus", "responses": get}},
            "/catalog": {"get": {"summary": "Every feature set as an HTML page", "responses": get}},
        },
    }


def _features(limits: Limits, unavailable: dict[str, str]) -> dict[str, Any]:
    text = {"type": "string"}
    schema = {
        "type": "object",
        "required": ["entities"],
        "properties": {
            "entities": {
                "type": "object",
                "description": "Join key → values, one for each row",
                "additionalProperties": {"type": "array", "maxItems": limits.entities},
            },
            "feature_service": {"type": ["string", "null"]},
            "features": {"type": "array", "items": text, "description": "view:feature", "maxItems": limits.features},
            "full_feature_names": {"type": "boolean", "default": False},
            "include_feature_view_version_metadata": {"type": "boolean", "default": False},
            "pinned_versions": {"type": ["object", "null"], "additionalProperties": text, "description": "View, or *, → version"},
        },
    }
    answers = {
        "200": "Values by column; the header feature-version says of which version",
        "400": "The body cannot be read",
        "401": "No known bearer token",
        "404": "Unknown view or feature service",
        "409": "A pinned version is not what is online",
        "413": "The body is too large",
        "422": "The body is not a valid request",
        "500": "Feast refuses the request; the body says why",
    }
    return {
        "summary": "Online values of entities",
        "parameters": [{"name": "feature-pin", "in": "header", "required": False, "schema": text}],
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "responses": {**{status: {"description": said} for status, said in answers.items()}, "503": unavailable},
    }
