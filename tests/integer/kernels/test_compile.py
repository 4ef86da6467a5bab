import pytest

from hwprof.integer.kernels import compile as compiling


def test_without_a_compiler_the_reason_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(compiling.CompilerMissingError, match="no C\\+\\+ compiler was found"):
        compiling.build(tmp_path / "kernels")


def test_a_compiler_that_fails_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", "false")
    with pytest.raises(compiling.CompilerMissingError, match="'false' cannot compile the kernels"):
        compiling.build(tmp_path / "kernels")
    assert not list((tmp_path / "kernels").glob("*.so"))
