import pytest
import torch

from hwprof.backends.torch import memory

HOST = torch.device("cpu")


def test_the_buffer_exceeds_the_last_cache(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("hwprof.backends.host_resources.last_cache_bytes", lambda: 1000)
    made = []
    empty = torch.empty
    monkeypatch.setattr(torch, "empty", lambda *size, **kind: made.append(empty(*size, **kind)) or made[-1])
    evict = memory.evictor(HOST)
    assert made == []
    evict()
    evict()
    assert [buffer.numel() for buffer in made] == [2000]


def test_a_host_that_does_not_state_its_cache_is_given_a_large_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("hwprof.backends.host_resources.last_cache_bytes", lambda: None)
    assert memory.cache_bytes(HOST) == 32 * 2**20
