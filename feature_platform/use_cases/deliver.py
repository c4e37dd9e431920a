"""Upload raw files of your own to a source's raw data: for a first day, a trial or a small source. Judging rows does not belong here."""

import hashlib
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final, Literal

from feature_platform.core.contract.source import SourceContract
from feature_platform.core.events.raw import SUFFIXES, format_of
from feature_platform.core.layout import raw_partition
from feature_platform.core.objects import IfAbsent
from feature_platform.errors import ConfigurationError, ConflictError
from feature_platform.ports.platform import Platform

_PART_BYTES: Final = 1 << 22
_DAY_DIRECTORY: Final = re.compile(r"dt=(\d{4}-\d{2}-\d{2})")


@dataclass(frozen=True, slots=True)
class Delivered:
    """One raw file and where it is now."""

    partition: str
    uri: str
    size_bytes: int
    outcome: Literal["written", "already there"]


def found_below(path: Path, *, day: str | None) -> Mapping[str, Sequence[Path]]:
    """Day → data files, sorted: of the ``dt=YYYY-MM-DD`` directories of a directory, or of one day where it is given.

    Raises:
        ConfigurationError: There is no data file, a directory names no day, or a day has no data; all such faults together.
    """
    places = {day: path} if day else _day_directories(path)
    found = {key: _data_files(place) for key, place in places.items()}
    faults = [f"{key}: expected a day as YYYY-MM-DD" for key in found if not _is_day(key)]
    faults += [f"{places[key]}: expected at least one {SUFFIXES} file, found none" for key, files in found.items() if not files]
    if not found:
        faults.append(f"{path}: expected directories dt=YYYY-MM-DD, found none; name the day of these files by --day")
    if faults:
        raise ConfigurationError("Nothing was uploaded:", faults)
    return found


def deliver(platform: Platform, source: SourceContract, partition: str, files: Sequence[Path]) -> list[Delivered]:
    """Write files to one day of a source; an object that exists already is never overwritten.

    Raises:
        ConflictError: An object of that name holds something else; the files before it were written.
    """
    return [_delivered(platform, raw_partition(platform.raw.uri, source.source, partition) + file.name, file, partition) for file in files]


def _delivered(platform: Platform, uri: str, file: Path, partition: str) -> Delivered:
    with file.open("rb") as opened:
        sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
    try:
        platform.objects.put(uri, file, write_id=uuid.uuid4().hex, sha256=sha256, condition=IfAbsent())
    except ConflictError:
        if _stored_sha256(platform, uri) == sha256:
            return Delivered(partition, uri, file.stat().st_size, "already there")
        raise ConflictError(
            f"{uri} exists and holds something else than {file}; deliver a correction under another file name, or remove the object first."
        ) from None
    return Delivered(partition, uri, file.stat().st_size, "written")


def _stored_sha256(platform: Platform, uri: str) -> str | None:
    """The digest of an object that may be larger than memory: as its writer recorded it, or of its bytes where upstream wrote it."""
    info = platform.objects.head(uri)
    if info is None:
        return None
    if info.sha256:
        return info.sha256
    hashed = hashlib.sha256()
    with platform.objects.open(uri, etag=info.etag) as opened:
        while part := opened.read(_PART_BYTES):
            hashed.update(part)
    return hashed.hexdigest()


def _day_directories(path: Path) -> dict[str, Path]:
    if not path.is_dir():
        return {}
    named = [(found[1], place) for place in sorted(path.iterdir()) if place.is_dir() and (found := _DAY_DIRECTORY.fullmatch(place.name))]
    return dict(named)


def _data_files(place: Path) -> list[Path]:
    files = [place] if place.is_file() else sorted(place.iterdir())
    return [file for file in files if file.is_file() and format_of(file.name) is not None]


def _is_day(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False
