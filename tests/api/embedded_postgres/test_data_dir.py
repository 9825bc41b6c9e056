"""The data directory: its permissions, and secrets that are made once."""

from __future__ import annotations

import multiprocessing
import os
import stat
from pathlib import Path

import pytest

from api.embedded_postgres.data_dir import DataDir
from api.settings import SetupError


@pytest.fixture
def data_dir(tmp_path: Path) -> DataDir:
    return DataDir.open(tmp_path / "deep" / "down")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_data_directory_is_not_readable_by_other_users(data_dir: DataDir) -> None:
    passing_through = 0o011 if os.geteuid() == 0 else 0
    assert mode(data_dir.path) == 0o700 | passing_through


def test_existing_folder_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o750)
    DataDir.open(tmp_path)
    assert mode(tmp_path) == 0o750


def test_file_instead_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SetupError, match="cannot be made"):
        DataDir.open(tmp_path / "file")


def test_token_is_made_once_and_readable_only_by_its_user(data_dir: DataDir) -> None:
    token = data_dir.admin_token()
    assert len(token) >= 43
    assert data_dir.admin_token() == token
    assert mode(data_dir.admin_token_file) == 0o600


def test_master_key_is_made_once_and_is_32_bytes(data_dir: DataDir) -> None:
    key = data_dir.master_key()
    assert len(key) == 32
    assert DataDir.open(data_dir.path).master_key() == key
    assert mode(data_dir.master_key_file) == 0o600


def test_making_secrets_leaves_no_other_file(data_dir: DataDir) -> None:
    data_dir.admin_token()
    data_dir.master_key()
    assert {file.name for file in data_dir.path.iterdir()} == {"admin.token", "master.key"}


def test_token_chosen_by_the_user_is_used_unchanged(data_dir: DataDir) -> None:
    data_dir.admin_token_file.touch(mode=0o600)
    data_dir.admin_token_file.write_text("a token of my own\n")
    assert data_dir.admin_token() == "a token of my own"


def test_short_token_of_the_user_is_refused_with_the_length_it_needs(data_dir: DataDir) -> None:
    data_dir.admin_token_file.touch(mode=0o600)
    data_dir.admin_token_file.write_text("sesame\n")
    with pytest.raises(SetupError, match=r"admin\.token needs at least 16 characters") as refusal:
        data_dir.admin_token()
    assert "sesame" not in str(refusal.value)


def test_secret_that_others_can_read_is_refused_with_advice(data_dir: DataDir) -> None:
    data_dir.master_key()
    data_dir.master_key_file.chmod(0o640)
    with pytest.raises(SetupError, match=r"can be read by others.*chmod 600 .*master\.key"):
        data_dir.master_key()


@pytest.mark.parametrize("content", ["", "c2hvcnQ=", "not base64 at all!"])
def test_damaged_master_key_is_refused_and_kept(data_dir: DataDir, content: str) -> None:
    data_dir.master_key()
    data_dir.master_key_file.write_text(content)
    with pytest.raises(SetupError, match=r"master\.key"):
        data_dir.master_key()
    assert data_dir.master_key_file.read_text() == content


def test_processes_that_start_together_use_the_same_secrets(data_dir: DataDir) -> None:
    context = multiprocessing.get_context("spawn")
    with context.Pool(4) as pool:
        asked = [pool.apply_async(data_dir.master_key) for _ in range(8)]
        assert {key.get(30) for key in asked} == {data_dir.master_key()}
