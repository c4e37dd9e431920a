"""A prediction from features that are read online through the model's feature service; refused where they are not what it learned.

Training does not belong here. Try it: ``python -m examples.purchase_model.predict --user 1001``.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Final
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import mlflow
import typer

from examples.purchase_model.model import ALIAS, MODEL, inputs, service_name
from examples.purchase_model.needed_features import needed_in, require_same
from feature_platform.errors import ConflictError, FeaturePlatformError, StorageError
from feature_platform.wiring import Platform, open_platform

_ITEM: Final = re.compile(r'([^;,\s]+);state=(?:online;version=([^;,]+);sequence=\d+;schema="(\w+)"|loading;versions="([^"]*)")')
"""One feature set in the header ``feature-version``; states in which nobody says what rows are of do not match (docs/serving.md)."""

Online = Mapping[str, Mapping[str, str | None]]
"""Feature set → versions that its rows may be of (several during a load) → hash of the contract, where the answer says it."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """The probability of a purchase, from 0 to 1; the model's version, and what its features were read from."""

    probability: float
    model_version: str
    features_of: Online


class Predictor:
    """The version of the model that the alias names, asked through its feature service.

    Args:
        platform: Where contracts are read when the one online is another document than the learned one.
        server: URL of the feature server.
        token: What that server wants to see of its callers.
    """

    def __init__(self, platform: Platform, server: str, *, token: str | None = None) -> None:
        self._platform, self._server = platform, server
        self._headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {})
        found = mlflow.MlflowClient().get_model_version_by_alias(MODEL, ALIAS)
        self._version, self._needed = str(found.version), needed_in(found.tags)
        self._model: Any = mlflow.sklearn.load_model(f"models:/{MODEL}/{found.version}")

    def predict(self, user_id: int) -> Prediction:
        """The probability that a user buys tomorrow.

        Raises:
            OtherContractError: Features mean something else online than to the model.
            ConflictError: Nobody says which version is online; ask again.
            StorageError: The server does not answer, or refuses.
        """
        body = {"feature_service": service_name(self._version), "entities": {"user_id": [user_id]}}
        status, header, answer = self._ask("/get-online-features", body)
        # A feature that is gone is refused by the server; then what it serves says why.
        online = _in_header(header) if status == 200 else _in_document(self._ask("/feature-version")[2])
        for needed in self._needed:
            if needed.feature_set not in online:
                raise ConflictError(f"Nobody says which version of {needed.feature_set} is online ({status}: {answer}); ask again.")
            require_same(self._platform, needed, online[needed.feature_set])
        if status != 200:
            raise StorageError(f"The feature server refused {body['feature_service']} with {status}: {answer}")
        values = {name: found["values"] for name, found in zip(answer["metadata"]["feature_names"], answer["results"], strict=True)}
        return Prediction(float(self._model.predict_proba(inputs(values))[0, 1]), self._version, online)

    def _ask(self, path: str, body: object = None) -> tuple[int, str, Any]:
        """Status, header ``feature-version`` and document."""
        # The operator names the server.
        request = Request(f"{self._server}{path}", None if body is None else json.dumps(body).encode(), self._headers)  # noqa: S310
        try:
            with urlopen(request, timeout=10) as answer:  # noqa: S310
                return answer.status, answer.headers.get("feature-version", ""), json.load(answer)
        except HTTPError as error:
            return error.code, "", error.read().decode(errors="replace")
        except (URLError, OSError) as error:
            raise StorageError(f"The feature server does not answer {self._server}{path}: {error}.") from error


def _in_header(header: str) -> Online:
    found = _ITEM.findall(header)
    return {view: {version: known} if version else dict.fromkeys(versions.split()) for view, version, known, versions in found}


def _in_document(views: Any) -> Online:
    """The same of ``GET /feature-version``; nothing where the server refused that too."""
    served = views.items() if isinstance(views, dict) else ()
    listed = {view: said.get("versions", [said]) for view, said in served if said["state"] in {"online", "loading"}}
    return {view: {item["version"]: item["schema_hash"] for item in items} for view, items in listed.items()}


def main(
    user: Annotated[int, typer.Option(help="Of whom.")],
    server: Annotated[str, typer.Option(help="URL of `feature-platform serve`.")] = "http://127.0.0.1:6566",
    token: Annotated[str | None, typer.Option(envvar="FEATURE_SERVER_TOKEN", help="Where the server wants one.")] = None,
) -> None:
    """Print one prediction as JSON, or say why it is refused and exit with 1."""
    try:
        typer.echo(json.dumps(asdict(Predictor(open_platform(), server, token=token).predict(user))))
    except FeaturePlatformError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error


if __name__ == "__main__":
    typer.run(main)
