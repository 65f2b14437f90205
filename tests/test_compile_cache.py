"""Where commands keep compiled programs, and where they do not."""

import os
import stat
import subprocess
import sys
import warnings

import jax
import jaxlib
import pytest

from coala_jax import _compile_cache
from coala_jax._compile_cache import SETTINGS, VARIABLE, keep_compiled_programs

FOLDER = "jax_compilation_cache_dir"


@pytest.fixture(autouse=True)
def jax_as_it_was(monkeypatch):
    """Jax without a folder, on a platform that names none; both as before afterwards."""
    before = {name: getattr(jax.config, name) for name in (FOLDER, *SETTINGS)}
    jax.config.update(FOLDER, None)
    for name in (FOLDER, *SETTINGS):
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.delenv(VARIABLE)
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def kept_in() -> str | None:
    return getattr(jax.config, FOLDER)


def refused() -> list[str]:
    lines: list[str] = []
    keep_compiled_programs(lines.append)
    return lines


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="other folders there")
@pytest.mark.parametrize("variable", ["XDG_CACHE_HOME", "HOME"])
def test_programs_lie_in_the_cache_folder_of_the_user_alone(variable, tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.setattr(jaxlib, "__version__", "0.10.2")
    assert refused() == []
    folder = tmp_path / ("" if variable == "XDG_CACHE_HOME" else ".cache") / "coala-jax" / "xla"
    assert kept_in() == str(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {name: getattr(jax.config, name) for name in SETTINGS} == SETTINGS


def test_the_variable_names_another_folder(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "a" / "b"))
    assert refused() == []
    assert kept_in() == str(tmp_path / "a" / "b")


@pytest.mark.parametrize("word", ["off", "OFF", "0", "no", "false"])
def test_the_variable_says_no(word, monkeypatch):
    monkeypatch.setenv(VARIABLE, word)
    assert refused() == []
    assert kept_in() is None


def test_what_jax_was_told_stays(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "ours"))
    jax.config.update(FOLDER, str(tmp_path / "theirs"))
    assert refused() == []
    assert kept_in() == str(tmp_path / "theirs")
    assert list(tmp_path.iterdir()) == []


def test_settings_of_the_environment_stay(tmp_path, monkeypatch):
    name = "jax_persistent_cache_min_compile_time_secs"
    jax.config.update(name, 5.0)
    monkeypatch.setenv(name.upper(), "5")
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert refused() == []
    assert getattr(jax.config, name) == 5.0


@pytest.mark.parametrize("version", ["0.8.2", "0.9.2", "0.10.1"])
def test_a_jaxlib_that_logs_what_it_reads_is_given_a_folder_only_where_one_is_named(
    version, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(jaxlib, "__version__", version)
    assert refused() == []
    assert kept_in() is None
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    keep_compiled_programs(print)
    assert kept_in() == str(tmp_path)


def test_a_folder_that_cannot_be_used_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    for folder, reason in [(tmp_path / "file" / "xla", "exists"), ("on", "neither off nor an")]:
        monkeypatch.setenv(VARIABLE, str(folder))
        (line,) = refused()
        assert reason in line and f"{VARIABLE}=off" in line
    assert kept_in() is None


@pytest.mark.skipif(sys.platform == "win32", reason="modes say nothing there")
def test_a_folder_where_others_may_write_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    tmp_path.chmod(0o777)
    (line,) = refused()
    assert "others may write there" in line
    tmp_path.chmod(0o755)
    assert refused() == []


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="gives a folder away")
def test_a_folder_of_another_user_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    os.chown(tmp_path, 12345, -1)
    (line,) = refused()
    assert "belongs to another user" in line
    assert kept_in() is None


@pytest.mark.parametrize("bound", [{"MOST_FILES": 2}, {"MOST_BYTES": 20}])
def test_what_was_not_used_for_longest_goes_beyond_the_bounds(bound, tmp_path, monkeypatch):
    for name, value in bound.items():
        monkeypatch.setattr(_compile_cache, name, value)
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    for read, written, name in [(4, 1, "read"), (2, 2, "old"), (3, 3, "recent"), (1, 1, "oldest")]:
        (tmp_path / name).write_bytes(bytes(10))
        os.utime(tmp_path / name, (read, written))
    assert refused() == []
    assert sorted(file.name for file in tmp_path.iterdir()) == ["read", "recent"]


def test_entries_that_jax_cannot_read_or_write_are_no_news(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert refused() == []
        warnings.warn("Error reading persistent compilation cache entry for 'f'", stacklevel=1)
        with pytest.raises(UserWarning, match="another"):
            warnings.warn("another warning", stacklevel=1)


def test_importing_sets_nothing(tmp_path):
    code = f"import coala_jax, coala_jax.cli._main, jax; print(jax.config.{FOLDER})"
    environment = {**os.environ, VARIABLE: str(tmp_path / "xla")}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout == "None\n"
    assert list(tmp_path.iterdir()) == []
