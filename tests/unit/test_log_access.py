"""The numbered log over a store: whose a write was, what a fresh process reads, and what a checkpoint may and may not do."""

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from feature_platform.adapters.feature_set_store.protocol_runner import ProtocolRunner
from feature_platform.core.layout import FeatureSetLayout
from feature_platform.core.objects import IfAbsent, IfMatch, ObjectInfo
from feature_platform.core.publishing.log_access import (
    CHECKPOINT_EVERY,
    SETTLE_ATTEMPTS,
    append,
    packed,
    read_history,
    read_whole_log,
    settle,
)
from feature_platform.core.publishing.publication import Author
from feature_platform.core.publishing.requests import HeadObject, Put
from feature_platform.core.versions.log import EMPTY, fold
from feature_platform.errors import ConflictError, StorageError, UnknownOutcomeError
from tests.faults.forged_checkpoints import FORGERIES
from tests.support.counting_store import CountingObjectStore

DAY = datetime(2026, 1, 15, tzinfo=UTC)
LAYOUT = FeatureSetLayout("s3://b/features", "fs")
CREATE = Put("s3://b/x", b"body", "mine", IfAbsent())
UPDATE = Put("s3://b/x", b"body", "mine", IfMatch("old"))
LOST, REFUSED = UnknownOutcomeError("timeout"), ConflictError("412")


def seen(*, write_id="theirs", etag="new"):
    return ObjectInfo("s3://b/x", etag, 4, DAY, write_id)


def play(protocol, *script):
    """Answer a protocol's requests from a script of (type of request, answer or error); its result."""
    answer, problem, steps = None, None, iter(script)
    while True:
        try:
            request = protocol.throw(problem) if problem else protocol.send(answer)
        except StopIteration as stop:
            assert next(steps, None) is None, "the protocol ended before the script"
            return stop.value
        expected, told = next(steps)
        assert type(request) is expected
        answer, problem = (None, told) if isinstance(told, Exception) else (told, None)


@pytest.mark.parametrize("put", [CREATE, UPDATE])
def test_a_write_that_succeeds_is_not_looked_at(put):
    assert play(settle(put), (Put, "etag")) is True


@pytest.mark.parametrize("trouble", [LOST, REFUSED], ids=["lost", "refused"])
@pytest.mark.parametrize("put", [CREATE, UPDATE])
def test_an_own_write_is_recognised_whatever_its_answer(put, trouble):
    assert play(settle(put), (Put, trouble), (HeadObject, seen(write_id="mine"))) is True


@pytest.mark.parametrize("trouble", [LOST, REFUSED], ids=["lost", "refused"])
@pytest.mark.parametrize("put", [CREATE, UPDATE])
def test_somebody_elses_object_means_that_the_write_lost(put, trouble):
    assert play(settle(put), (Put, trouble), (HeadObject, seen())) is False


def test_a_write_that_did_not_happen_is_sent_again():
    assert play(settle(CREATE), (Put, LOST), (HeadObject, None), (Put, "etag")) is True
    assert play(settle(UPDATE), (Put, LOST), (HeadObject, seen(etag="old")), (Put, "etag")) is True


def test_an_update_of_what_is_gone_is_lost():
    assert play(settle(UPDATE), (Put, REFUSED), (HeadObject, None)) is False


def test_a_write_whose_object_cannot_be_read_is_looked_at_again_and_then_unknown():
    down = StorageError("503")
    assert play(settle(CREATE), (Put, LOST), (HeadObject, down), (Put, REFUSED), (HeadObject, seen(write_id="mine"))) is True
    with pytest.raises(UnknownOutcomeError, match=r"It is unknown whether s3://b/x was written \(503\); run the same operation again"):
        play(settle(CREATE), *[(Put, LOST), (HeadObject, down)] * SETTLE_ATTEMPTS)


def test_a_write_that_never_was_sent_is_not_called_unknown():
    unread = StorageError("s3://b/source: S3 broke off 5 of 5 answers.")
    with pytest.raises(StorageError, match="broke off") as caught:
        play(settle(CREATE), *[(Put, unread), (HeadObject, None)] * SETTLE_ATTEMPTS)
    assert caught.value is unread


class Log:
    """A log in memory, and processes that read it: each ``fresh`` one remembers nothing."""

    def __init__(self):
        self.objects = CountingObjectStore()
        self.writer = self.fresh()
        self.ids = 0

    def fresh(self):
        return ProtocolRunner(self.objects)

    def new_id(self):
        self.ids += 1
        return f"id{self.ids}"

    def append(self, count=1, *, writer=None, has_chain=True):
        """Commit a version and promote it, in turns."""
        runner = writer or self.writer
        author = Author(actor="test", reason="", at=DAY, new_id=self.new_id)
        for _ in range(count):
            history = runner.run(read_history(LAYOUT))
            day = len(history.records) // 2
            op = "promote" if len(history.records) % 2 else "commit"
            record = author.record(history, op, f"v{day}", as_of=DAY + timedelta(days=day))
            record = record if has_chain else replace(record, chain="")
            assert runner.run(append(LAYOUT, record, after=history)) is not None

    def read(self, runner=None):
        """What a process reads, and what that asked of the store."""
        self.objects.calls.clear()
        history = (runner or self.fresh()).run(read_history(LAYOUT))
        return history, list(self.objects.calls)

    def whole(self):
        return self.fresh().run(read_whole_log(LAYOUT))

    def put(self, uri, body, write_id="forged"):
        self.objects.put(uri, body, write_id=write_id, sha256=None, condition=None)


@pytest.fixture
def log():
    return Log()


@pytest.mark.parametrize("records", [1, 3, 4, 5, 10, 63, 64, 101])
def test_a_fresh_process_reads_all_there_is_by_a_dozen_requests_at_most(log, records):
    log.append(records)
    history, calls = log.read()
    assert history == log.whole()
    assert len(history.records) == records
    assert len(calls) <= 3 + CHECKPOINT_EVERY <= 12


def test_a_process_that_has_read_the_log_lists_what_follows_and_reads_that_alone(log):
    log.append(9)
    reader = log.fresh()
    log.read(reader)
    assert log.read(reader)[1] == [("scan", LAYOUT.log)]
    log.append(2)
    history, calls = log.read(reader)
    assert history == log.whole()
    assert calls == [("scan", LAYOUT.log), ("get", LAYOUT.log_record(10)), ("get", LAYOUT.log_record(11))]


@pytest.mark.parametrize("forgery", FORGERIES, ids=lambda forgery: forgery.__name__)
@pytest.mark.parametrize("seed", range(20))
def test_a_false_checkpoint_never_changes_an_answer(log, forgery, seed):
    log.append(11)
    truth = log.whole()
    log.put(LAYOUT.log_checkpoint, forgery(list(truth.records), random.Random(seed)))
    assert log.read()[0] == truth
    log.append(writer=log.fresh())
    assert log.read()[0] == log.whole() == fold([*truth.records, log.whole().records[-1]])


@pytest.mark.parametrize(
    "body", [b"", b"no zlib", packed([]), b"x\x9c\x03\x00\x00\x00\x00\x01"], ids=["empty", "words", "no records", "nothing"]
)
def test_a_checkpoint_that_is_none_costs_reads_alone(log, body):
    log.append(6)
    log.put(LAYOUT.log_checkpoint, body)
    history, calls = log.read()
    assert history == log.whole()
    assert len(calls) == 8


def test_a_checkpoint_that_would_fill_memory_is_not_unpacked(log, monkeypatch):
    log.append(8)
    monkeypatch.setattr("feature_platform.core.publishing.log_access.LARGEST_CHECKPOINT", 1_000)
    history, calls = log.read()
    assert history == log.whole()
    assert len([call for call in calls if call[0] == "get"]) == 9


def test_a_log_of_an_earlier_release_is_read_whole_until_a_record_of_this_one_says_what_it_follows(log):
    log.append(8, has_chain=False)
    history, calls = log.read()
    assert history == log.whole()
    assert len([call for call in calls if call[0] == "get"]) == 9  # its checkpoint proves nothing
    log.append(4)
    history, calls = log.read()
    assert history == log.whole()
    assert len(calls) == 3


def frozen(protocol, *, before, meanwhile):
    """The protocol, stopped once before it asks for something of the checkpoint; ``meanwhile`` happens then."""
    request, stops = next(protocol), 1
    while True:
        if stops and isinstance(request, before) and request.uri == LAYOUT.log_checkpoint:
            stops = 0
            meanwhile()
        try:
            answer = yield request
        except (ConflictError, StorageError) as error:
            step = partial(protocol.throw, error)
        else:
            step = partial(protocol.send, answer)
        try:
            request = step()
        except StopIteration as stop:
            assert not stops
            return stop.value


@pytest.mark.parametrize("before", [HeadObject, Put])
def test_a_checkpoint_is_never_replaced_by_an_older_one(log, before):
    log.append(3)
    author = Author(actor="test", reason="", at=DAY, new_id=log.new_id)
    history = log.whole()
    record = author.record(history, "promote", "v1", as_of=DAY)
    protocol = append(LAYOUT, record, after=history)
    newest = []

    def meanwhile():
        log.append(9)
        newest.append(log.objects.head(LAYOUT.log_checkpoint))

    after = log.fresh().run(frozen(protocol, before=before, meanwhile=meanwhile))
    assert after.next_sequence == 5
    assert log.objects.head(LAYOUT.log_checkpoint) == newest[0]
    assert newest[0].write_id.startswith("12:")


def test_a_checkpoint_that_cannot_be_written_is_left_to_the_next(log, monkeypatch):
    put = log.objects.put

    def refuse(uri, body, **options):
        if uri == LAYOUT.log_checkpoint:
            raise StorageError("503")
        return put(uri, body, **options)

    monkeypatch.setattr(log.objects, "put", refuse)
    log.append(6)
    assert log.objects.get(LAYOUT.log_checkpoint) is None
    monkeypatch.setattr(log.objects, "put", put)
    log.append(2)
    assert len(log.read()[1]) == 3


def test_a_record_that_was_altered_is_found_by_the_next_one(log):
    log.append(3)
    altered = replace(log.whole().records[1], reason="nobody said so", body=b"")
    log.put(LAYOUT.log_record(2), altered.to_json())
    with pytest.raises(StorageError, match=r"Log record 3 was written after other records than the 2 before it: one of them was altered"):
        log.read()


def test_a_record_that_is_lost_behind_a_checkpoint_changes_no_answer_and_is_found_by_an_audit(log):
    log.append(9)
    truth = log.whole()
    log.objects.delete(LAYOUT.log_record(5))
    assert log.read()[0] == truth
    with pytest.raises(StorageError, match="The log skips from record 4 to 6; expected 5"):
        log.whole()


def test_a_log_that_was_removed_and_begun_anew_is_not_remembered(log):
    log.append(6)
    for info in list(log.objects.scan(LAYOUT.log)):
        log.objects.delete(info.uri)
    assert log.read(log.writer)[0] == EMPTY
    log.append(2, writer=log.fresh())
    assert log.read(log.writer)[0] == log.whole()
