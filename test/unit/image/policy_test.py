# SPDX-License-Identifier: GPL-3.0-or-later
"""Which part of policy.json holds for an image of a registry."""
from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict

import pytest

from kiwi_stackbuild_plugin.image.policy import accepts_anything, scopes

ANY, SIGNED = [{'type': 'insecureAcceptAnything'}], [{'type': 'signedBy'}]


def test_scopes_from_the_most_specific() -> None:
    assert list(scopes('h.example.com:5000/a/b:v1')) == [
        'h.example.com:5000/a/b:v1', 'h.example.com:5000/a/b', 'h.example.com:5000/a',
        'h.example.com:5000', '*.example.com', '*.com', ''
    ]


@pytest.mark.parametrize(('docker', 'default', 'accepted'), [
    ({}, ANY, True), ({}, SIGNED, False), ({'h.x': SIGNED}, ANY, False),
    ({'h.x': ANY}, SIGNED, True), ({'h.x/team': SIGNED, 'h.x': ANY}, ANY, False),
    ({'h.x/team/n:v1': ANY, 'h.x': SIGNED}, SIGNED, True), ({'*.x': SIGNED}, ANY, False),
    ({'': SIGNED}, ANY, False), ({'h.y': SIGNED, 'h.x/te': SIGNED}, ANY, True),
    ({'h.x': ANY + SIGNED}, ANY, False), ({'h.x': [{'type': 'reject'}]}, ANY, False),
])
def test_rules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, docker: Dict[str, Any], default: Any,
    accepted: bool
) -> None:
    write(tmp_path, monkeypatch, json.dumps({'default': default, 'transports': {'docker': docker}}))
    assert accepts_anything('h.x/team/n:v1') is accepted


@pytest.mark.parametrize('text', ['', '[]', '{"default": 1}', '{"transports": 5}', '{}'])
def test_policy_that_is_none_accepts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    write(tmp_path, monkeypatch, text)
    assert not accepts_anything('h.x/team/n:v1')


def write(home: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Make text the policy of this user."""
    (home / '.config/containers').mkdir(parents=True)
    (home / '.config/containers/policy.json').write_text(text)
    monkeypatch.setenv('HOME', str(home))
