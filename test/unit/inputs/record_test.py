# SPDX-License-Identifier: GPL-3.0-or-later
"""The record beside a root: it comes back, and nothing else is taken for one."""
from __future__ import annotations

import os
from pathlib import Path

import pytest

from kiwi_stackbuild_plugin.inputs import record
from kiwi_stackbuild_plugin.inputs.record import (
    NAME, Record, find_results, forget_record, read_record, write_record
)

RECORD = Record({'type': 'oci'}, {'image.tar': (3, 5)})


def test_record_comes_back_until_it_is_forgotten(tmp_path: Path) -> None:
    where = str(tmp_path)
    assert read_record(where) is None
    forget_record(where)
    write_record(where, RECORD)
    assert read_record(where) == RECORD
    assert os.listdir(where) == [NAME]
    forget_record(where)
    assert read_record(where) is None


@pytest.mark.parametrize('text', [
    '', '[]', '{}', '{"built":{}}', '{"built":{},"results":[]}', 'é',
    '{"built":{"schema":1,"inputs":{},"key":""},"results":{"a":1}}',
])
def test_what_is_no_record(tmp_path: Path, text: str) -> None:
    (tmp_path / NAME).write_text(text)
    assert read_record(str(tmp_path)) is None


def test_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / 'a').mkdir()
    write_record(str(tmp_path / 'a'), RECORD)
    (tmp_path / NAME).symlink_to(tmp_path / 'a' / NAME)
    (tmp_path / f'{NAME}.new').symlink_to(tmp_path / 'victim')
    assert read_record(str(tmp_path)) is None
    write_record(str(tmp_path), RECORD)
    assert not (tmp_path / 'victim').exists()
    assert read_record(str(tmp_path)) == RECORD


def test_record_that_cannot_be_written_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_record(str(tmp_path / 'nowhere'), RECORD)
    assert 'is not written' in caplog.text


def test_what_a_record_vouches_for_is_on_the_disk_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = []
    monkeypatch.setattr(
        record, 'sync_filesystem', lambda path: there.append(os.listdir(path))
    )
    write_record(str(tmp_path), RECORD)
    assert there == [[f'{NAME}.new']] and os.listdir(tmp_path) == [NAME]


def test_results_are_files_only(tmp_path: Path) -> None:
    (tmp_path / 'build').mkdir()
    (tmp_path / 'link').symlink_to('image')
    (tmp_path / 'image').write_text('abc')
    os.utime(tmp_path / 'image', ns=(1, 7))
    assert find_results(str(tmp_path)) == {'image': (3, 7)}
    assert find_results(str(tmp_path / 'nowhere')) == {}
