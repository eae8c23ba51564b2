# SPDX-License-Identifier: GPL-3.0-or-later
"""podman and skopeo as small programs on PATH, over a storage that is one file.

They do what the storage of a machine would do with the few calls that the
plugin makes: find, list, name, mount, copy and delete images. What is elsewhere
(registries, archives) is a table of texts. A call can be told to fail.
"""
from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, Dict, List, Sequence

import pytest

from kiwi_stackbuild_plugin.host import locks

PROGRAM = '''#!{python} -IS
import hashlib, json, os, sys
home, tool, words = {home!r}, {tool!r}, sys.argv[1:]
with open(home + '/calls', 'a') as calls:
    calls.write(json.dumps([tool, *words, os.environ.get('SSL_CERT_DIR', '')]) + '\\n')
with open(home + '/state') as text:
    state = json.load(text)
images, line = state['images'], ' '.join([tool, *words])


def end(said='', error='', code=0):
    with open(home + '/state.new', 'w') as out:
        json.dump(state, out)
    if state != json.load(open(home + '/state')):
        os.rename(home + '/state.new', home + '/state')
    sys.stdout.write(said)
    sys.stderr.write(error)
    # as subprocess has it, below zero: killed by that signal
    if code < 0:
        os.kill(os.getpid(), -code)
    sys.exit(code)


def known(name):
    name = name.rpartition('@')[2] if name.startswith('containers-storage:') else name
    name = name[7:] if name.startswith('sha256:') else name
    return next((one for one in images if name in (one['Id'], *(one['RepoTags'] or ()))
                 or one['Id'].startswith(name) and len(name) == 12), None)


def need(name):
    return known(name) or end('', 'Error: ' + name + ': image not known\\n', 125)


for given in state['failing']:
    if given['call'] in line and given['times']:
        given['times'] -= 1
        end('', given['error'], given['code'])
'''
PODMAN = '''
if words[:2] == ['image', 'inspect']:
    found = [known(name) for name in words[3:]]
    lost = [name for name, one in zip(words[3:], found) if not one]
    end(json.dumps([one for one in found if one]),
        lost and 'Error: ' + lost[0] + ': image not known\\n' or '', lost and 125 or 0)
if words[0] == 'images':
    wanted = [word[6:] for word in words if word.startswith('label=')]
    end(''.join('sha256:%s %s\\n' % (one['Id'], name.rpartition(':')[0])
                for one in images + state['ghosts']
                for name in one['RepoTags'] or ['<none>:<none>']
                if all(label in (one.get('Labels') or {}) for label in wanted)))
if words[:2] == ['image', 'mount'] and words[2] == '--format':
    end(json.dumps([{'id': one} for one, count in state['mounts'].items() if count] or None))
if words[:2] == ['image', 'mount']:
    one = need(words[2])
    state['mounts'][one['Id']] = state['mounts'].get(one['Id'], 0) + 1
    end(one.get('tree', '/nonexistent') + '\\n')
if words[:2] == ['image', 'unmount']:
    # one that is not mounted is no error
    one = need(words[-1])['Id']
    state['mounts'][one] = max(state['mounts'].get(one, 0) - 1, 0)
    end()
if words[0] == 'tag':
    for one in images:
        one['RepoTags'] = [name for name in one['RepoTags'] or () if name != words[2]]
    need(words[1])['RepoTags'].append(words[2])
    end()
if words[0] == 'untag':
    need(words[1])['RepoTags'].remove(words[2])
    end()
if words[0] == 'ps':
    end(''.join(one + '\\n' for one in state['containers']))
if words[:3] == ['--log-level=debug', 'image', 'exists']:
    end('', state['log'], 1)
if words[0] == 'info':
    end('overlay ' + state['graph_root'] + '\\n')
if words[0] == 'pull':
    end('Trying to pull\\n' + state['remote'][words[-1]]['id'] + '\\n')
if words[0] == 'search':
    end(state['remote'][words[-1]]['search'])
end('', 'not known to the fake: ' + line, 99)
'''
SKOPEO = '''
words = [word for word in words if not word.startswith('--tmpdir')]
plain = [word for word in words if not word.startswith('-')]


def shown(place, what):
    if place.startswith('containers-storage:'):
        return need(place)[what]
    there = state['remote'].get(place)
    return there[what] if there else end('', 'manifest unknown\\n', 1)


if plain[0] == 'inspect':
    end(shown(plain[1], 'config' if '--config' in words else 'manifest'))
if plain[0] == 'list-tags':
    end(shown(plain[1], 'tags'))
if plain[0] == 'delete':
    images.remove(need(plain[1]))
    end()
if plain[0] == 'copy' and plain[2].startswith('containers-storage:'):
    source, image_id = plain[1], plain[2].rpartition('@')[2]
    if source.startswith('oci:'):
        place = source.split(':')[1]
        read = lambda name: open(place + '/blobs/sha256/' + name).read()
        entry = json.load(open(place + '/index.json'))['manifests'][0]
        manifest = read(entry['digest'][7:])
        config = read(json.loads(manifest)['config']['digest'][7:])
    else:
        manifest, config = shown(source, 'manifest'), shown(source, 'config')
    hash_of = lambda text: hashlib.sha256(text.encode()).hexdigest()
    if hash_of(config) != image_id:
        end('', 'the config is not of ' + image_id, 1)
    images.append({'Id': image_id, 'RepoTags': [], 'config': config, 'manifest': manifest,
                   'RootFS': {'Layers': json.loads(config)['rootfs']['diff_ids']}})
    for word in words:
        if word.startswith('--digestfile='):
            with open(word[13:], 'w') as out:
                out.write('sha256:' + hash_of(manifest) + '\\n')
    end()
if plain[0] == 'copy':
    need(plain[1])
    state['pushed'].append(plain[2])
    kind, _, rest = plain[2].partition(':')
    if kind.endswith('archive'):
        with open(rest.partition(':')[0], 'w') as out:
            out.write(plain[1])
    end()
end('', 'not known to the fake: ' + line, 99)
'''


class FakeStorage:
    """A storage of a test, and podman and skopeo that work on it."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.home = home
        (home / 'bin').mkdir(parents=True)
        (home / 'calls').touch()
        (home / 'graph/overlay-images').mkdir(parents=True)
        self._write({
            'images': [], 'remote': {}, 'failing': [], 'mounts': {}, 'pushed': [],
            'containers': [], 'graph_root': str(home / 'graph'),
            # listed, and gone when they are asked for
            'ghosts': [],
            # what podman says of itself as it opens its storage
            'log': ''
        })
        for tool, text in (('podman', PODMAN), ('skopeo', SKOPEO)):
            program = home / 'bin' / tool
            head = PROGRAM.format(python=sys.executable, home=str(home), tool=tool)
            program.write_text(head + text)
            program.chmod(0o755)
        monkeypatch.setenv('PATH', f'{home}/bin:{os.environ["PATH"]}')
        monkeypatch.setenv('CONTAINERS_STORAGE_CONF', str(home / 'storage.conf'))
        monkeypatch.delenv('CONTAINERS_REGISTRIES_CONF', raising=False)
        # locks of other runs on this machine are not ours to meet
        monkeypatch.setattr(locks, '_LOCK_DIRS', (str(home / 'locks'),))

    @property
    def state(self) -> Dict[str, Any]:
        """What the programs know."""
        found: Dict[str, Any] = json.loads((self.home / 'state').read_text())
        return found

    def _write(self, state: Dict[str, Any]) -> None:
        (self.home / 'state').write_text(json.dumps(state))

    def change(self, **values: Any) -> None:
        """Replace parts of the state."""
        self._write({**self.state, **values})

    def add(self, image_id: str, *names: str, **more: Any) -> str:
        """Store an image; more are fields of what podman tells of it."""
        document = {'Id': image_id, 'RepoTags': list(names), **more}
        self.change(images=[*self.state['images'], document])
        return image_id

    def offer(self, place: str, **texts: str) -> None:
        """Put something elsewhere: config, manifest, tags, id, search."""
        self.change(remote={**self.state['remote'], place: texts})

    def fail(self, call: str, error: str, code: int = 125, times: int = 99) -> None:
        """Have calls that contain words fail."""
        given = {'call': call, 'error': error, 'code': code, 'times': times}
        self.change(failing=[*self.state['failing'], given])

    def names(self) -> Dict[str, List[str]]:
        """Return the stored images with their names."""
        return {one['Id']: one['RepoTags'] for one in self.state['images']}

    def calls(self, *words: str) -> List[List[str]]:
        """Return the calls that had all of some words, as words and SSL_CERT_DIR."""
        lines = (self.home / 'calls').read_text().splitlines()
        return [call for call in map(json.loads, lines) if set(words) <= set(call)]


def config_of(layers: Sequence[str], **more: Any) -> str:
    """Return the config of an image of some diff IDs."""
    return json.dumps({'rootfs': {'type': 'layers', 'diff_ids': list(layers)}, **more})


def manifest_of(*layers: str, sizes: Sequence[int] = ()) -> str:
    """Return a manifest of layers, each 'type:digit'."""
    told = [layer.rpartition(':') for layer in layers]
    return json.dumps({'schemaVersion': 2, 'layers': [{
        'mediaType': f'application/vnd.oci.image.layer.v1.{kind}',
        'digest': f'sha256:{digit * 64}', 'size': size
    } for (kind, _, digit), size in zip(told, [*sizes, *range(100, 100 + len(told))])]})
