# SPDX-License-Identifier: GPL-3.0-or-later
"""Two hosts, as network namespaces with storages of their own, and a registry."""
from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import threading
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Iterator, List, Tuple

import pytest
from noting import make_noting_root, write_role
from registries import (
    Registry, add_bulk, is_installed, other_storage, skopeo_leavings
)
from storages import Storage, image_root

#: TLS, logins, manifest and config of a few calls
OVERHEAD = 60_000


def ip(*words: str) -> None:
    """Run ip(8)."""
    subprocess.run(['ip', *words], check=True, capture_output=True)


def may_make_namespaces() -> bool:
    """Tell whether network namespaces can be made here."""
    name = f'kiwi-try-{os.getpid()}'
    try:
        ip('netns', 'add', name)
    except (OSError, subprocess.CalledProcessError):
        return False
    ip('netns', 'del', name)
    return True


pytestmark = [
    pytest.mark.skipif(not is_installed(), reason='docker-registry is not installed'),
    pytest.mark.skipif(not may_make_namespaces(), reason='no network namespaces here')
]


#: containers/image remembers there, for root, which registry has which layer
CACHE = Path('/var/lib/containers/cache')
_BIND = f'mkdir -p "$0" {CACHE} && mount --bind "$0" {CACHE} && exec "$@"'


class Host:
    """A network namespace that reaches the registry's address and nothing else.

    What root's tools remember of registries is its own as well.
    """

    def __init__(self, number: int, address: str, storage: Storage) -> None:
        self.name = f'kiwi-{os.getpid()}-{number}'
        self.link = f'kw{os.getpid() % 100000}-{number}'
        self.storage = storage
        net = address.rpartition('.')[0]
        ip('netns', 'add', self.name)
        ip('link', 'add', self.link, 'type', 'veth', 'peer', 'name', 'eth0',
           'netns', self.name)
        ip('addr', 'add', address, 'peer', f'{net}.{number + 1}', 'dev', self.link)
        ip('link', 'set', self.link, 'up')
        for words in (
            ('addr', 'add', f'{net}.{number + 1}', 'peer', address, 'dev', 'eth0'),
            ('link', 'set', 'eth0', 'up'), ('link', 'set', 'lo', 'up')
        ):
            ip('-netns', self.name, *words)

    def kiwi(self, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """Run kiwi-ng on this host."""
        return self.storage.kiwi(*words, wrapper=(
            'nsenter', f'--net=/run/netns/{self.name}', 'unshare', '--mount',
            'sh', '-c', _BIND, str(self.storage.where / 'cache')
        ), **more)

    def forget(self) -> None:
        """Forget which registry has which layer."""
        shutil.rmtree(self.storage.where / 'cache')

    def connect(self, up: bool) -> None:
        """Plug the cable in, or pull it out."""
        ip('link', 'set', self.link, 'up' if up else 'down')

    def close(self) -> None:
        """Remove the namespace; the link goes with it."""
        ip('netns', 'del', self.name)


@contextmanager
def two_hosts(where: Path, address: str) -> Iterator[List[Host]]:
    """Give two hosts for a block."""
    with ExitStack() as stack:
        hosts = []
        for number in (1, 2):
            storage = stack.enter_context(other_storage(where, f'host{number}'))
            host = Host(number, address, storage)
            stack.callback(host.close)
            hosts.append(host)
        yield hosts


@contextmanager
def hosts_and_registry(where: Path) -> Iterator[Tuple[Host, Host, Registry]]:
    """Give two hosts for a block, and a registry that both reach."""
    # addresses for benchmarks (RFC 2544): nobody's network
    address = f'198.{18 + os.getpid() % 2}.{os.getpid() // 2 % 250}.1'
    with two_hosts(where, address) as (first, second), ExitStack() as stack:
        registry = Registry(where / 'registry', address)
        stack.callback(registry.close)
        yield first, second, registry


def test_stashes_go_back_and_forth(
    root: Path, tmp_path: Path, fast: List[str]
) -> None:
    with hosts_and_registry(tmp_path) as (first, second, registry):
        base = f'{registry.host}/team/base'
        web = f'{registry.host}/team/web'
        add_bulk(root, 3_000_000)
        first.kiwi('stash', '--root', str(root), f'--export=docker://{base}', *registry.options)
        build_and_change(second, base, registry, tmp_path, fast)

        registry.proxy.reset()
        first.kiwi(
            'stackbuild', f'--stash={web}', *registry.options, '--target-dir',
            str(tmp_path / 'first'), options=fast
        )
        assert registry.proxy.down < OVERHEAD, 'more than the delta was pulled'
        assert (image_root(tmp_path / 'first') / 'etc/role').read_text() == 'web'
        assert first.storage.stash(web)['id'] == second.storage.stash('web')['id']

        registry_restarts(second, web, registry)
        cable_is_pulled(first, root, registry)


MATRIX = '''
registry: {host}/team
target-dir: out
defaults: {{root-only: true, stash-as: "${{role}}", authfile: {login}, cert-dir: {certs}}}
axes: {{role: [web, db]}}
include: [{{description: "${{role}}"}}]
cells:
- {{name: both, stash: [web, db], stash-as: both}}
'''
#: which cell is built where, in this order
PLACES = {'web': 0, 'db': 1, 'both': 0}


def test_two_hosts_build_one_matrix(tmp_path: Path) -> None:
    """Each by the commands of its cells, without any of the other's files."""
    with hosts_and_registry(tmp_path) as (first, second, registry):
        base = f'{registry.host}/team/small'
        first.kiwi(
            'stash', f'--root={make_noting_root(tmp_path / "root")}',
            f'--export=docker://{base}', *registry.options
        )
        for role in ('web', 'db'):
            write_role(tmp_path / role, role, base)
        (tmp_path / 'm.yaml').write_text(MATRIX.format(
            host=registry.host, login=registry.authfile, certs=registry.cert_dir
        ))
        told = first.kiwi('stackbuild', f'--matrix={tmp_path}/m.yaml', '--print=json').stdout
        cells = {cell['name']: cell for cell in json.loads(told)['include']}
        assert cells['both']['needs'] == ['web', 'db']
        for name, place in PLACES.items():
            words = shlex.split(cells[name]['command'])[2:]
            (first, second)[place].kiwi(*words, cwd=tmp_path)
        root = image_root(tmp_path / 'out/both')
        assert [(root / f'etc/{role}').read_text() for role in ('web', 'db')] \
            == ['web\n', 'db\n']
        assert registry.has('team/both') and not second.storage.stashes('both')
        # each has what it was to build, and what that stands on
        assert first.storage.stash(f'{registry.host}/team/db')['id'] \
            == second.storage.stash('db')['id']


def registry_restarts(host: Host, web: str, registry: Registry) -> None:
    """An export that failed is repeated; then only what is missing travels."""
    registry.stop()
    failed = host.kiwi(
        'stash', '--container-name=web', f'--export=docker://{web}:again',
        *registry.options, check=False
    )
    assert failed.returncode == 1 and 'web:latest is stored' in failed.stderr
    registry.start()
    host.kiwi(
        'stash', '--container-name=web', f'--export=docker://{web}:again',
        *registry.options
    )
    assert registry.has('team/web', 'again')
    host.forget()
    registry.proxy.reset()
    host.kiwi(
        'stash', '--container-name=web', f'--export=docker://{web}:still',
        *registry.options
    )
    assert registry.proxy.up < OVERHEAD, 'a layer that was there travelled'


def build_and_change(
    host: Host, base: str, registry: Registry, where: Path, fast: List[str]
) -> None:
    """Build an image from the base, change its root, export that as web."""
    target = where / 'second'
    host.kiwi(
        'stackbuild', f'--stash={base}', *registry.options,
        '--target-dir', str(target), options=fast
    )
    assert list(target.glob('small*.tar.xz'))
    (image_root(target) / 'etc/role').write_text('web')
    registry.proxy.reset()
    host.kiwi(
        'stash', '--root', str(image_root(target)), '--container-name=web',
        f'--export=docker://{base.replace("base", "web")}', *registry.options
    )
    assert registry.proxy.up < OVERHEAD, 'more than the delta was pushed'
    assert [layer['size'] > 3_000_000 for layer in registry.manifest('team/web')['layers']] \
        == [True, False]


def cable_is_pulled(host: Host, root: Path, registry: Registry) -> None:
    """Pull the cable in the middle of a layer and export again."""
    add_bulk(root, 6_000_000)
    export = [f'--export=docker://{registry.host}/team/cut', *registry.options]
    registry.proxy.reset()
    registry.proxy.pace = 0.05
    done = threading.Event()

    def pull_cable() -> None:
        while registry.proxy.up < 1_000_000 and not done.is_set():
            time.sleep(0.01)
        host.connect(False)

    thread = threading.Thread(target=pull_cable)
    thread.start()
    before = skopeo_leavings()
    failed = host.kiwi(
        'stash', '--root', str(root), '--container-name=cut', *export, check=False,
        env={'KIWI_STASH_TIMEOUT': '15'}
    )
    done.set()
    thread.join()
    assert failed.returncode == 1
    assert 'cut:latest is stored' in failed.stderr
    assert skopeo_leavings() == before and host.storage.left_overs() == []
    host.connect(True)
    registry.proxy.reset()
    host.kiwi('stash', '--container-name=cut', *export)
    assert registry.has('team/cut')
