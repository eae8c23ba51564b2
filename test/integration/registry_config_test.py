# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration of podman and skopeo holds: names, certificates, policy."""
from __future__ import annotations

import json
from pathlib import Path

import pytest
from registries import Registry, is_installed, other_storage
from storages import Storage

pytestmark = pytest.mark.skipif(
    not is_installed(), reason='docker-registry is not installed'
)

_REGISTRIES = '''short-name-mode = "enforcing"
[[registry]]
prefix = "registry.invalid"
location = "{host}"
[aliases]
"nickname" = "{host}/team/small"
'''


def test_configuration_of_the_tools_is_honoured(
    storage: Storage, root: Path, registry: Registry, tmp_path: Path
) -> None:
    home = tmp_path / 'home'
    certs = home / '.config/containers/certs.d' / registry.host
    certs.parent.mkdir(parents=True)
    certs.symlink_to(registry.cert_dir)
    names = tmp_path / 'registries.conf'
    names.write_text(_REGISTRIES.format(host=registry.host))
    environment = {
        'HOME': str(home), 'REGISTRY_AUTH_FILE': str(registry.authfile),
        'CONTAINERS_REGISTRIES_CONF': str(names)
    }
    storage.kiwi(
        'stash', '--root', str(root), f'--export=docker://{registry.host}/team/small',
        env=environment
    )
    wanted = storage.stash('small')['id']
    build = ['stackbuild', '--dry-run', f'--target-dir={tmp_path}/out']
    for number, words in enumerate((
        ['--stash=registry.invalid/team/small'],
        ['--stash=small', '--from-registry=registry.invalid/team'],
        ['--stash=nickname', '--pull=missing']
    )):
        with other_storage(tmp_path, str(number)) as other:
            other.kiwi(*build, *words, env=environment)
            assert [stash['id'] for stash in other.stashes()] == [wanted]
    with other_storage(tmp_path, 'careful') as other:
        failed = other.kiwi(*build, '--stash=nickname', env=environment, check=False)
        assert failed.returncode == 1
        assert "'nickname': no such stash or image" in failed.stderr
        policy = home / '.config/containers/policy.json'
        policy.write_text(json.dumps({'default': [{'type': 'reject'}]}))
        failed = other.kiwi(
            *build, f'--stash={registry.host}/team/small', env=environment, check=False
        )
        assert failed.returncode == 1 and 'rejected by policy' in failed.stderr
        assert not other.stashes()
