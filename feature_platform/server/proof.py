"""Two readings of a view's marker, before and after the rows of an answer → the version that the answer was served from.

Pure; reading does not belong here. A load writes ``loading`` before it touches the first entity and ``online`` after the last
(``core.online.marker``). So rows that were read between two equal ``online`` markers are all of that version; any other pair says which
versions a row may be of. Rows are written whole, so each is of exactly one of them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Literal

from feature_platform.core.online.marker import Marker, OnlineVersion, decode_marker
from feature_platform.errors import InvalidDataError

HEADER = b"feature-version"

State = Literal["online", "loading", "changed", "unknown"]


@dataclass(frozen=True)  # with a dictionary, where the header's item is kept
class Proof:
    """What one view's rows were served from.

    ``online``: every row is of ``versions[0]``. ``loading``: each row is of one of ``versions``. ``changed``: whole loads happened between
    the readings, so each row is of a version published from the first of ``versions`` to the last. ``unknown``: there is no readable
    marker, because something else loaded the rows or the store was flushed.
    """

    view: str
    state: State
    versions: tuple[OnlineVersion, ...] = ()

    @cached_property
    def item(self) -> bytes:
        """The proof as one item of the header ``feature-version``, an RFC 9651 list.

        ``sequence`` is the number of the log record that made the version the head, ``schema`` is the contract's hash; a state that allows
        several versions lists them.
        """
        parts = [self.view, f"state={self.state}"]
        if self.is_exact:
            version = self.versions[0]
            parts += [f"version={version.version}", f"sequence={version.sequence}", f'schema="{version.schema_hash}"']
        elif self.versions:
            parts.append('versions="' + " ".join(version.version for version in self.versions) + '"')
        return ";".join(parts).encode()

    @property
    def is_exact(self) -> bool:
        return self.state == "online"


@lru_cache(maxsize=256)
def proof_of(view: str, before: bytes | None, after: bytes | None) -> Proof:
    """The proof of rows that were read between two readings of a marker."""
    if before is None or after is None:
        return Proof(view, "unknown")
    try:
        first, last = decode_marker(before), decode_marker(after)
    except InvalidDataError:
        return Proof(view, "unknown")
    if first.state == last.state == "online":
        return Proof(view, "online", (last.target,)) if before == after else Proof(view, "changed", (first.target, last.target))
    return Proof(view, "loading", _distinct(first, last))


def _distinct(first: Marker, last: Marker) -> tuple[OnlineVersion, ...]:
    known = {version.version: version for version in (*first.leftovers, *last.leftovers)}
    return tuple(sorted(known.values(), key=lambda version: version.sequence))


def header(proofs: Iterable[Proof]) -> tuple[bytes, bytes]:
    """The response header that names what every view of an answer was served from."""
    return HEADER, b", ".join([proof.item for proof in proofs])


def described(proof: Proof, *, since: str = "") -> dict[str, Any]:
    """The proof as a JSON object."""
    document: dict[str, Any] = {"state": proof.state, "versions": [_version(version) for version in proof.versions]}
    if proof.is_exact:
        document = {"state": proof.state, **_version(proof.versions[0]), "since": since}
    return document


def _version(version: OnlineVersion) -> dict[str, Any]:
    return {
        "version": version.version,
        "sequence": version.sequence,
        "schema_hash": version.schema_hash,
        "content_hash": version.content_hash,
        "rows": version.row_count,
    }
