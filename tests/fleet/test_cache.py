import base64
import os
from pathlib import Path

import pytest

from hwprof.errors import InputError
from hwprof.fleet.cache import Cache, digest_of

ONE, OTHER = b"one", b"the other"


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    made = Cache(tmp_path / "cache")
    made.open()
    return made


def text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def test_a_content_that_was_added_is_read_by_its_digest(cache: Cache):
    cache.add({digest_of(ONE): text(ONE)})
    assert cache.missing([digest_of(ONE), digest_of(OTHER)]) == [digest_of(OTHER)]
    assert cache.read(digest_of(ONE)) == ONE


def test_a_content_of_another_digest_is_refused(cache: Cache):
    with pytest.raises(InputError, match="arrived as another one"):
        cache.add({digest_of(ONE): text(OTHER)})
    assert [*cache.folder.iterdir()] == []


def test_a_damaged_content_is_missing(cache: Cache):
    cache.add({digest_of(ONE): text(ONE)})
    (cache.folder / digest_of(ONE)).write_bytes(b"on")
    assert cache.missing([digest_of(ONE)]) == [digest_of(ONE)]


@pytest.mark.parametrize("name", ["../outbox/ab.json", "", "A" * 64, "a" * 63])
def test_a_name_that_is_not_a_digest_is_refused(cache: Cache, name: str):
    with pytest.raises(InputError, match="is not the digest of a content"):
        cache.missing([name])


def test_the_longest_unused_contents_go_first_and_those_in_use_stay(cache: Cache):
    contents = [bytes([n]) * 10 for n in range(4)]
    for age, content in enumerate(reversed(contents)):
        cache.add({digest_of(content): text(content)})
        os.utime(cache.folder / digest_of(content), (1000 + age, 1000 + age))
    cache.missing([digest_of(contents[2])])  # used now
    small = Cache(cache.folder, most_bytes=20)
    small.open()
    small.trim({digest_of(contents[3])})
    assert {path.read_bytes() for path in cache.folder.iterdir()} == {contents[2], contents[3]}


def test_what_was_not_completed_is_removed_when_the_agent_starts(cache: Cache):
    cache.add({digest_of(ONE): text(ONE)})
    (cache.folder / f".{digest_of(OTHER)}.1").write_bytes(b"the o")
    cache.open()
    assert [path.name for path in cache.folder.iterdir()] == [digest_of(ONE)]
