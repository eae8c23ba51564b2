# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors of registries: the reason in one line, no secrets in it, and a hint."""
from __future__ import annotations

import pytest
from in_time import within

from kiwi_stackbuild_plugin.storage.messages import explain, without_secrets

FATAL = 'time="2026-01-01T00:00:00Z" level=fatal msg="{}"\n'


@pytest.mark.parametrize(('said', 'reason', 'hint'), [
    ('Error parsing image name \\"docker://h/x:1\\": pinging: dial tcp: connection refused',
     'pinging: dial tcp: connection refused', 'is the registry up'),
    ('Get \\"https://h/v2/\\": x509: certificate signed by unknown authority',
     'Get "https://h/v2/": x509: certificate signed by unknown authority', '--cert-dir'),
    ('unauthorized: authentication required', 'unauthorized: authentication required',
     'podman login'),
    ('manifest unknown: manifest unknown', 'manifest unknown: manifest unknown',
     'stash_list --remote'),
    ('something new', 'something new', '')
])
def test_reason_and_hint(said: str, reason: str, hint: str) -> None:
    told = explain('warning: first\n' + FATAL.format(said))
    assert told[0] == reason
    assert hint in told[1] and bool(hint) == bool(told[1])


@pytest.mark.parametrize(('text', 'shown'), [
    ('Get "https://me:pw@h/v2/": EOF', 'Get "https://***@h/v2/": EOF'),
    ('Get "https://store/x?Signature=abc&Key=d": EOF', 'Get "https://store/x?***": EOF'),
    ('header Basic bWU6cHc= refused', 'header Basic *** refused'),
    ('docker://h/x:1 is plain', 'docker://h/x:1 is plain')
])
def test_secrets_are_blotted_out(text: str, shown: str) -> None:
    assert without_secrets(text) == shown


@pytest.mark.parametrize('text', [
    'Get "https://me:pw-1@h/v2/": EOF', 'parse docker://me:pw-1@h:5000/x',
    'at http://me:pw-1@one/ and https://you:pw-1@two/', 'https://pw-1@h/x',
    'Get "https://s3/b?X-Amz-Signature=pw-1": i/o timeout', 'see https://h/?a=b&pw-1 there',
    '://?b://a?pw-1', 'http://a://me:pw-1@h://b',
    'https://h/x?a?pw-1', 'Authorization: Bearer pw-1', 'authorization: bearer pw-1.a.b==',
    'BASIC pw-1', 'https://me:pw-1@h/x?token=pw-1'
])
def test_no_secret_is_left(text: str) -> None:
    assert 'pw-1' not in without_secrets(text)
    reason, hint = explain(FATAL.format(text.replace('"', '\\"')))
    assert 'pw-1' not in reason + hint and '***' in reason


@pytest.mark.parametrize('text', [
    'http://', '://@sha256:', '://a?', 'signature', 'access ', 'level=a msg="'
])
def test_text_of_any_length(text: str) -> None:
    with within(5):
        explain(text * 20_000)


@pytest.mark.parametrize('text', [
    'basic', 'me@example.com wrote it', 'what? nobody knows', 'oci:/a@b/c:t', 'https://h:5000/v2/'
])
def test_what_is_no_secret_stays(text: str) -> None:
    assert without_secrets(text) == text


@pytest.mark.parametrize(('said', 'hint'), [
    ('dial tcp: lookup h: no such host', 'is the registry up'),
    ('dial tcp 10.0.0.1:443: i/o timeout', 'is the registry up'),
    ('http: server gave HTTP response to HTTPS client', '--tls-verify=false'),
    ('requested access to the resource is denied', 'podman login'),
    ('StatusCode: 403, Forbidden: forbidden', '--authfile'),
    ('no image found in image index for architecture arm64', '--target-arch'),
    ('choosing image from manifest list docker://h/x', '--target-arch'),
    ('repository name not found', 'stash_list --remote'),
    ('manifest does not match provided manifest digest sha256:0', 'do not use it'),
    ('read: connection reset by peer', 'repeat the command'),
    ('reading blob: EOF', 'repeat the command'),
    ('EOF of another kind', '')
])
def test_hints(said: str, hint: str) -> None:
    told = explain(said)
    assert told[0] == said
    assert hint in told[1] and bool(hint) == bool(told[1])


@pytest.mark.parametrize(('stderr', 'reason'), [
    ('', 'no message'), ('\n \n', 'no message'),
    ('first\nError: Error: twice\n', 'Error: twice'),
    ('Error: initializing source\n\n', 'initializing source'),
    ('error: in small letters', 'error: in small letters')
])
def test_the_last_line_is_the_reason(stderr: str, reason: str) -> None:
    assert explain(stderr) == (reason, '')
