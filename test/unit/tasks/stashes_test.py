# SPDX-License-Identifier: GPL-3.0-or-later
"""What is printed of the stashes: the choices made between arguments and output.

The words of the command lines are in tasks_test.py and its neighbours.
"""
from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional

import pytest
from kiwi.exceptions import KiwiPrivilegesError

from kiwi_stackbuild_plugin.host.errors import KiwiStashArgumentInvalid
from kiwi_stackbuild_plugin.stash import diff
from kiwi_stackbuild_plugin.tasks.stashes import check_form, print_stashes

ARGS: Dict[str, Any] = {
    '--remote': None, '--authfile': None, '--tls-verify': None, '--cert-dir': None, '--diff': None
}


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Tools that have no image, and note what they are asked."""
    for name, said in (('podman', '[]'), ('skopeo', '{"Tags": []}')):
        tool = tmp_path / name
        tool.write_text(f"#!/bin/sh\necho {name} \"$@\" >> {tmp_path}/log\necho '{said}'\n")
        tool.chmod(0o755)
    (tmp_path / 'log').touch()
    monkeypatch.setenv('PATH', f'{tmp_path}:{os.environ["PATH"]}')
    return tmp_path / 'log'


@pytest.mark.parametrize('form', ['xml', '', 'JSON', 'json ', 'table\n', 'a\x1b'])
def test_other_forms_are_refused_before_anything_is_asked(log: Path, form: str) -> None:
    with pytest.raises(KiwiStashArgumentInvalid, match=r'^--format .* is not known') as raised:
        print_stashes(form=form, args={**ARGS, '--diff': 'a', '--authfile': '/nowhere'})
    assert raised.value.hint == 'it is json or table' and str(raised.value).count('\n') == 1
    assert log.read_text() == ''


@pytest.mark.parametrize('form', [None, 'json', 'table'])
def test_forms(form: Optional[str]) -> None:
    assert check_form(form) == form


@pytest.mark.parametrize(('form', 'terminal', 'is_json'), [
    (None, False, True), (None, True, False), ('json', True, True), ('table', False, False)
])
def test_people_get_a_table_and_programs_json(
    log: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    form: Optional[str], terminal: bool, is_json: bool
) -> None:
    monkeypatch.setattr(sys.stdout, 'isatty', lambda: terminal)
    print_stashes(form=form)
    said = capsys.readouterr().out
    assert (said == json.dumps({'stashes': []}, indent=4) + '\n') == is_json
    assert said.endswith('\n') and 'podman' in log.read_text() and 'skopeo' not in log.read_text()


@pytest.mark.parametrize(('more', 'says'), [
    ({'--tls-verify': 'x'}, '--tls-verify'), ({'--authfile': '/nowhere'}, '--authfile'),
    ({'--cert-dir': '/nowhere'}, '--cert-dir')
])
@pytest.mark.parametrize('what', [{'--remote': 'h.x:5000'}, {'--diff': 'a'}])
def test_wrong_options_are_told_before_a_registry_is_asked(
    log: Path, what: Dict[str, str], more: Dict[str, str], says: str
) -> None:
    with pytest.raises(KiwiStashArgumentInvalid, match=f'^{says} '):
        print_stashes('name', args={**ARGS, **what, **more})
    assert log.read_text() == ''


def test_registry_is_asked_as_the_options_say(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    print_stashes('name', 'json', {
        **ARGS, '--remote': 'h.x:5000', '--tls-verify': 'false', '--cert-dir': str(tmp_path)
    })
    asked, = log.read_text().splitlines()
    assert f'--cert-dir={tmp_path}' in asked and '--tls-verify=false' in asked
    assert 'h.x:5000/name' in asked and asked.startswith('skopeo ')
    assert json.loads(capsys.readouterr().out) == {'stashes': []}


@pytest.mark.parametrize('before', ['a', '', 'a\nb'])
def test_difference_needs_two_images(log: Path, before: str) -> None:
    with pytest.raises(KiwiStashArgumentInvalid, match='with which image') as raised:
        print_stashes(args={**ARGS, '--diff': before})
    assert '--diff=' in raised.value.hint and str(raised.value).count('\n') == 1
    assert log.read_text() == ''


def test_difference_is_for_root(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, 'geteuid', lambda: 1000)
    with pytest.raises(KiwiPrivilegesError):
        print_stashes('b', args={**ARGS, '--diff': 'a'})
    assert log.read_text() == ''


@pytest.mark.parametrize(('form', 'shown'), [
    ('json', 'json of found\n'), ('table', 'table of found\\x1b\n')
])
def test_difference_is_shown_in_the_form_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], form: str, shown: str
) -> None:
    asked: List[Any] = []

    def compare(*words: Any) -> str:
        asked.append(words)
        return 'found'

    monkeypatch.setattr(diff, 'compare_images', compare)
    monkeypatch.setattr(diff, 'difference_document', 'json of {}'.format)
    monkeypatch.setattr(diff, 'format_difference', 'table of {}\x1b'.format)
    print_stashes('b', form, {**ARGS, '--diff': 'a', '--remote': 'h.x', '--tls-verify': 'true'})
    (before, after, lookup), = asked
    assert (before, after, lookup.registry, lookup.access.tls_verify) == ('a', 'b', 'h.x', True)
    assert capsys.readouterr().out == shown
