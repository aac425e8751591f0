"""What a member of the workers' group remembers of its partitions, and what it may commit."""

from ledgent.producers.kafka.backlog import MOST_METADATA, MOST_REMEMBERED, Backlog, Backlogs, Commit
from ledgent.schemas.requests import CancelRun


def request(number: int) -> CancelRun:
    return CancelRun(request_id=f"request-{number}", run_id=f"run-{number}")


def read(backlogs: Backlogs, numbers: range, partition: int = 0) -> None:
    for number in numbers:
        backlogs.put(partition, number, request(number), None, 0.0)


def assigned(commit: Commit = (0, "")) -> Backlogs:
    backlogs = Backlogs()
    backlogs.begin(0, commit)
    return backlogs


def unfinished(backlogs: Backlogs) -> list[int]:
    return list(backlogs.of[0].items)


def finish(backlogs: Backlogs, *numbers: int) -> None:
    backlogs.finish([f"request-{number}" for number in numbers])


def test_the_commit_stays_before_the_first_unfinished_request() -> None:
    backlogs = assigned()
    read(backlogs, range(5))
    assert backlogs.commits() == {}
    finish(backlogs, 1, 2)
    assert backlogs.of[0].commit == (0, "1-2")
    finish(backlogs, 0)
    assert backlogs.of[0].commit == (3, "")
    finish(backlogs, 3, 4)
    assert backlogs.commits() == {0: (5, "")}


def test_what_was_committed_is_not_committed_again() -> None:
    backlogs = assigned()
    read(backlogs, range(3))
    finish(backlogs, 0)
    commits = backlogs.commits()
    backlogs.committed(commits)
    assert backlogs.commits() == {}
    finish(backlogs, 2)
    assert backlogs.commits() == {0: (1, "1-1")}


def test_who_gets_the_partition_next_skips_what_was_finished_behind_an_unfinished_request() -> None:
    backlogs = assigned()
    read(backlogs, range(10, 20))
    finish(backlogs, 10, 12, 13, 17, 19)
    commit = backlogs.of[0].commit
    assert commit == (11, "1-2 6-6 8-8")
    following = assigned(commit)
    read(following, range(11, 22))
    assert unfinished(following) == [11, 14, 15, 16, 18, 20, 21]


def test_what_was_finished_farther_on_than_has_been_read_again_is_kept() -> None:
    following = assigned((11, "1-2 6-6 8-8"))
    read(following, range(11, 14))
    finish(following, 11)
    assert following.of[0].commit == (14, "")
    read(following, range(14, 17))
    assert following.of[0].commit == (14, "3-3 5-5")


def test_metadata_that_somebody_else_wrote_means_nothing() -> None:
    for metadata in ("by hand", "1-2-3", "-", "1", "2026-11-21T00:00"):
        backlogs = assigned((0, metadata))
        read(backlogs, range(3))
        assert unfinished(backlogs) == [0, 1, 2]


def test_metadata_is_never_longer_than_a_broker_takes() -> None:
    backlogs = assigned()
    read(backlogs, range(1, 9000))
    finish(backlogs, *range(2, 9000, 2))
    first, metadata = backlogs.of[0].commit
    assert first == 1
    assert MOST_METADATA - 20 < len(metadata) <= MOST_METADATA
    assert Backlog(first, metadata).was_finished(2)


def test_a_request_that_was_sent_twice_is_there_once() -> None:
    backlogs = assigned()
    backlogs.put(0, 0, request(0), None, 0.0)
    backlogs.put(0, 1, request(0), None, 0.0)
    assert unfinished(backlogs) == [0]
    finish(backlogs, 0)
    backlogs.put(0, 2, request(0), None, 0.0)
    assert backlogs.of[0].commit == (3, "")


def test_only_so_many_finished_requests_are_remembered() -> None:
    backlogs = assigned()
    finish(backlogs, *range(MOST_REMEMBERED + 1))
    read(backlogs, range(2))
    assert unfinished(backlogs) == [0]


def test_the_runs_of_a_lost_partition_that_were_given_out_are_named_once() -> None:
    backlogs = assigned()
    backlogs.begin(1, (0, ""))
    read(backlogs, range(3))
    read(backlogs, range(3, 5), partition=1)
    for partition, offset in ((0, 0), (0, 2), (1, 3)):
        backlogs.of[partition].items[offset].given = True
    finish(backlogs, 2)
    backlogs.lose({0, 7})
    assert backlogs.any_lost
    assert backlogs.lost() == {"run-0"}
    assert not backlogs.any_lost
    assert backlogs.lost() == frozenset()
    assert list(backlogs.of) == [1]


def test_what_is_finished_while_its_partition_is_away_stays_finished() -> None:
    backlogs = assigned()
    read(backlogs, range(2))
    backlogs.lose({0})
    finish(backlogs, 0)
    backlogs.begin(0, (0, ""))
    read(backlogs, range(2))
    assert unfinished(backlogs) == [1]
