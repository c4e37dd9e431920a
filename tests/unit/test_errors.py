"""The error tree is what its module draws, and every error has a kind of its own."""

import re

import pytest

from feature_platform import errors
from feature_platform.errors import FeaturePlatformError

DRAWN = re.compile(r"^    (?P<indent>[│├└─ ]*)(?P<name>\w+Error)\b", re.MULTILINE)


def drawn() -> dict[str, str | None]:
    """Error → the error it stands under in the picture."""
    above: list[tuple[int, str]] = []
    found: dict[str, str | None] = {}
    for match in DRAWN.finditer(errors.__doc__ or ""):
        depth, name = len(match["indent"]), match["name"]
        above = [(level, parent) for level, parent in above if level < depth]
        found[name] = above[-1][1] if above else None
        above.append((depth, name))
    return found


def public(kind: type[FeaturePlatformError]) -> dict[str, type[FeaturePlatformError]]:
    below = {name: found for child in kind.__subclasses__() if child.__module__ == errors.__name__ for name, found in public(child).items()}
    return below if kind.__name__.startswith("_") else {kind.__name__: kind, **below}


TREE = public(FeaturePlatformError)


def test_the_picture_shows_every_error_under_its_parent() -> None:
    parents = {name: next((base.__name__ for base in kind.__mro__[1:] if base.__name__ in TREE), None) for name, kind in TREE.items()}
    assert drawn() == parents


def test_every_error_has_a_kind_of_its_own() -> None:
    kinds = [vars(kind)["kind"] for kind in TREE.values()]
    assert sorted(kinds) == sorted(set(kinds))
    assert all(re.fullmatch(r"[a-z_]+", kind) for kind in kinds)


@pytest.mark.parametrize("name", sorted(set(TREE) - {"FeaturePlatformError"}))
def test_an_error_says_what_it_was_told(name: str) -> None:
    assert str(TREE[name]("s3://b/x is gone.")) == "s3://b/x is gone."
