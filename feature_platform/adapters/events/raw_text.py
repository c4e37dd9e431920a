"""A raw text object opened as the records of its format.

How a format is read does not belong here (``adapters.events.csv_records``, ``adapters.events.json_records``).
"""

from typing import BinaryIO

from feature_platform.adapters.events.csv_records import CsvRecords
from feature_platform.adapters.events.json_records import JsonRecords
from feature_platform.adapters.events.text_blocks import TextBlocks
from feature_platform.core.contract.source import SourceContract
from feature_platform.core.events.raw import RawObject, ReadLimits


def open_records(file: BinaryIO, *, item: RawObject, source: SourceContract, limits: ReadLimits) -> CsvRecords | JsonRecords:
    """The records of one raw text object, to be read or counted once.

    Raises:
        InvalidDataError: The file as a whole cannot be read: truncated, not UTF-8 text, a wrong header, beyond a limit.
    """
    blocks = TextBlocks(file, item=item, limits=limits)
    if item.format == "csv":
        return CsvRecords(blocks, item=item, names=[column.name for column in source.columns], limits=limits)
    return JsonRecords(blocks, item=item, columns=source.columns)
