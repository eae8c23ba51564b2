# SPDX-License-Identifier: GPL-3.0-or-later
"""References as users type them: taken apart, or refused with the rule broken."""
from __future__ import annotations

import pytest

from kiwi_stackbuild_plugin.host.errors import KiwiStashArgumentInvalid
from kiwi_stackbuild_plugin.image.reference import (
    TRANSPORTS, check_docker, check_stash_name, name_problem, parse_reference, refuse_login,
    tag_problem
)

DIGEST = 'sha256:' + 'a' * 64


@pytest.mark.parametrize('text, kind, host, name, tag, digest', [
    ('debian', 'name', '', 'debian', '', ''),
    ('debian:v2', 'name', '', 'debian', 'v2', ''),
    ('a/b-c_d.e:V_1.x-2', 'name', '', 'a/b-c_d.e', 'V_1.x-2', ''),
    ('localhost/debian', 'name', 'localhost', 'debian', '', ''),
    ('host:5000/a/b:t', 'name', 'host:5000', 'a/b', 't', ''),
    ('registry.example.com/a', 'name', 'registry.example.com', 'a', '', ''),
    ('[::1]:5000/a', 'name', '[::1]:5000', 'a', '', ''),
    (f'host.org/a@{DIGEST}', 'name', 'host.org', 'a', '', DIGEST),
    ('a' * 64, 'id', '', '', '', ''), ('0123456789ab', 'id', '', '', '', ''),
    (DIGEST, 'id', '', '', '', ''), ('oci:dir:tag', 'transport', '', '', '', ''),
    ('docker://x', 'transport', '', '', '', '')
])
def test_references(
    text: str, kind: str, host: str, name: str, tag: str, digest: str
) -> None:
    found = parse_reference(text)
    assert (found.kind, found.host, found.name, found.tag, found.digest) == (
        kind, host, name, tag, digest
    )


@pytest.mark.parametrize('text, tagged', [
    ('a', 'a:latest'), ('h.de/a:1', 'h.de/a:1'), (f'h.de/a@{DIGEST}', f'h.de/a@{DIGEST}')
])
def test_full_names(text: str, tagged: str) -> None:
    assert parse_reference(text).tagged == tagged


@pytest.mark.parametrize('text', [
    '', 'A', 'a:', ':a', 'a b', 'a//b', '/a', 'a/', '-a', 'a:-b', 'a@sha256:1', 'oci:',
    'docker://', 'a:b:c', 'a\n', 'ä', '../a', 'a' * 256, 'a:' + 'b' * 129, 'a..b', 'a@'
])
def test_no_references(text: str) -> None:
    with pytest.raises(KiwiStashArgumentInvalid):
        parse_reference(text)


def test_broken_rules_are_named() -> None:
    assert 'empty' in str(name_problem(''))
    assert '300 characters' in str(name_problem('a' * 300))
    assert 'upper case' in str(name_problem('aB'))
    assert "'!'" in str(name_problem('a!'))
    assert 'begin and end' in str(name_problem('a-'))
    assert name_problem('a__b/c--d') is None
    assert '129 characters' in str(tag_problem('a' * 129))
    assert tag_problem('_a') is None
    check_stash_name('a', 'b', 'here')
    with pytest.raises(KiwiStashArgumentInvalid, match=r"^here 'B' cannot name a stash"):
        check_stash_name('B', 'b', 'here')
    with pytest.raises(KiwiStashArgumentInvalid, match=r"--tag '\.' is not valid"):
        check_stash_name('a', '.', 'here')


@pytest.mark.parametrize('text', [
    'me:pw@h/x', 'me@h/x', 'docker://me:pw@h:5000/x:1', 'https://me:pw@h/x',
    'docker://me:a/pw@h/x', 'me:1/pw@h:5000/x', 'https://me:/pw/@h/x'
])
def test_login_in_a_reference(text: str) -> None:
    with pytest.raises(KiwiStashArgumentInvalid, match='do not belong') as raised:
        refuse_login(text, '--stash')
    assert 'pw' not in str(raised.value)


@pytest.mark.parametrize('text', [
    f'x@{DIGEST}', f'docker://h/x@{DIGEST}', 'oci:/a@b/c:t', 'oci-archive:a@b/c.tar',
    'dir:a@b/c'
])
def test_no_login_in_a_reference(text: str) -> None:
    assert parse_reference(text).text == text


@pytest.mark.parametrize(('text', 'target'), [
    ('docker://h.x/n', 'h.x/n:v2'), ('docker://h.x/n:v1', 'h.x/n:v1'),
    (f'docker://h.x/n@{DIGEST}', f'h.x/n@{DIGEST}')
])
def test_tag_of_a_destination(text: str, target: str) -> None:
    assert check_docker(text, '--export', 'v2') == target


@pytest.mark.parametrize('transport', TRANSPORTS)
def test_transports_pass_what_is_behind_them(transport: str) -> None:
    """It is skopeo's to judge, whatever it looks like."""
    found = parse_reference(f'{transport}/A b//..:x:y')
    assert (found.kind, found.text) == ('transport', f'{transport}/A b//..:x:y')
    with pytest.raises(KiwiStashArgumentInvalid, match=r'--base .*nothing behind the transport'):
        parse_reference(transport, '--base')


@pytest.mark.parametrize(('text', 'host', 'name'), [
    # a first part is a host only with a dot or a port, or as localhost
    ('library/debian', '', 'library/debian'), ('localhosts/a', '', 'localhosts/a'),
    ('a.b/c', 'a.b', 'c'), ('localhost:5000/c', 'localhost:5000', 'c'), ('H:1/c', 'H:1', 'c'),
    ('10.0.0.1/c', '10.0.0.1', 'c'), ('[::1]/c', '[::1]', 'c'), ('localhost', '', 'localhost'),
    # as long as an ID, but not of its digits
    ('g' * 64, '', 'g' * 64), ('a' * 11, '', 'a' * 11), ('a' * 13, '', 'a' * 13)
])
def test_what_is_a_host(text: str, host: str, name: str) -> None:
    found = parse_reference(text)
    assert (found.kind, found.host, found.name) == ('name', host, name)


@pytest.mark.parametrize('text', [
    'host:123456/a', 'HOST/a', '[x]/a', 'a.b//c', 'a.b/', f'a@{DIGEST}a', f'a@{DIGEST.upper()}',
    f'a@sha512:{"a" * 128}', f'@{DIGEST}', 'http://h.x/a', 'a\0', 'a:\n', 'docker:/a', '\uff41'
])
def test_what_is_neither_host_nor_digest_is_named(text: str) -> None:
    with pytest.raises(KiwiStashArgumentInvalid) as raised:
        parse_reference(text, '--base')
    assert raised.value.summary.startswith('--base ') and raised.value.hint
    assert raised.value.summary.isprintable()


@pytest.mark.parametrize(('text', 'says'), [
    ('docker://n', "--export 'docker://n': docker:// needs a registry host"),
    ('docker://h.x/n:a b', "--export 'docker://h.x/n:a b': a tag has only"),
    ('docker://h.x/N', "--export 'docker://h.x/N': the name has upper case letters"),
    ('docker://h.x/n@y', "--export 'docker://h.x/n@y': 'y' is not a digest")
])
def test_destinations_that_are_none(text: str, says: str) -> None:
    with pytest.raises(KiwiStashArgumentInvalid) as raised:
        check_docker(text, '--export')
    assert raised.value.summary.startswith(says)


@pytest.mark.parametrize(('length', 'fits'), [(1, True), (245, True), (246, False)])
def test_names_that_podman_can_hold(length: int, fits: bool) -> None:
    """It counts localhost/ as well, up to 255."""
    assert (name_problem('a' * length) is None) == fits
    assert (tag_problem('a' * length) is None) == (length < 129)
