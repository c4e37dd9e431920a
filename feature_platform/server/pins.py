"""Requests that pin a version are answered from it, or refused with the version that is online.

Pure. How a request names its pins belongs to ``requests``.
"""

from collections.abc import Mapping, Sequence

from feature_platform.server.plans import Refusal
from feature_platform.server.proof import Proof, described
from feature_platform.server.requests import EVERY_VIEW


def require_pinned(proofs: Sequence[Proof], pins: Mapping[str, str]) -> None:
    """Refuse an answer that is not wholly of the versions that were asked for.

    Args:
        proofs: What each view's rows were served from.
        pins: View (or every view) → version.

    Raises:
        Refusal: 409 with what is online; or 422, where a pinned view is not in the request.
    """
    strangers = sorted(pins.keys() - {proof.view for proof in proofs} - {EVERY_VIEW})
    if strangers:
        raise Refusal(422, {"detail": f"Pinned, but not in the request: {', '.join(strangers)}."})
    others = []
    for proof in proofs:
        version = pins.get(proof.view) or pins.get(EVERY_VIEW)
        if version and not (proof.is_exact and proof.versions[0].version == version):
            others.append((proof, version))
    if others:
        texts = [f"{proof.view}: {version} was asked for, {_said(proof)}" for proof, version in others]
        raise Refusal(409, {"detail": "; ".join(texts), "online": {proof.view: described(proof) for proof, _ in others}})


def _said(proof: Proof) -> str:
    if proof.is_exact:
        return f"{proof.versions[0].version} is online"
    if proof.versions:
        return f"it is {proof.state}: " + ", ".join(version.version for version in proof.versions)
    return "no marker says what is online"
