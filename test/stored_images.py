# SPDX-License-Identifier: GPL-3.0-or-later
"""A storage of a few files, and a podman and a skopeo in PATH that know no other.

What is in it is what a registry, whichever is asked, offers too.
"""
from __future__ import annotations

import json
import os
import shutil
import stat
import sys
from pathlib import Path
from types import MappingProxyType
from typing import Any, Dict, List, Mapping, Sequence

import pytest

from kiwi_stackbuild_plugin.image import labels
from kiwi_stackbuild_plugin.image.image import ImageInfo, info_from_inspect

#: diff ID of the one layer of an image
LAYER = f'sha256:{"a" * 64}'
_TYPE = 'application/vnd.oci.image.layer.v1.tar+gzip'
_NONE: Mapping[str, str] = MappingProxyType({})
#: the start of both: S is the storage; a call is noted, then it is done
_HEAD = '''#!{python} -SE
import hashlib, json, os, sys
S = {where!r}
args = [word for word in sys.argv[1:] if not word.startswith('--tmpdir=')]
with open(S + '/log', 'a') as log:
    log.write(' '.join([os.path.basename(sys.argv[0]), *args]) + '\\n')
for word in args:
    if os.path.exists(S + '/fail-' + word.replace('/', '_')):
        sys.exit('Error: told to fail')
with open(S + '/images') as stream:
    images = json.load(stream)

def keep():
    with open(S + '/images', 'w') as out:
        json.dump(images, out)

def find(name):
    for one in images:
        if name.replace('sha256:', '') in (one['Id'], *one['RepoTags']):
            return one
    return None

def unknown(name):
    sys.exit('Error: ' + name + ': image not known')

'''
_PODMAN = '''
if args[:2] == ['image', 'inspect']:
    found = [find(name) for name in args[3:]]
    print(json.dumps([one for one in found if one]))
    if None in found:
        unknown(args[3])
elif args[:2] == ['image', 'mount']:
    # that of its newest layer, unless it has one of its own
    places = [S + '/trees/' + name for name in (args[2], find(args[2])['RootFS']['Layers'][-1])]
    print(next(path for path in places if os.path.isdir(path)))
elif args[0] == 'images':
    wanted = [word[6:] for word in args if word.startswith('label=')]
    for one in images:
        if all(label in one['Labels'] for label in wanted):
            for name in one['RepoTags'] or ['<none>:<none>']:
                print('sha256:' + one['Id'], name.rpartition(':')[0])
elif args[0] == 'tag':
    for one in images:
        one['RepoTags'] = [name for name in one['RepoTags'] if name != args[2]]
    find(args[1])['RepoTags'].append(args[2])
    keep()
elif args[0] == 'search':
    if os.path.exists(S + '/no-catalog'):
        sys.exit('Error: no catalog')
    for one in images:
        for name in one['RepoTags']:
            print(name.rpartition(':')[0])
elif args[0] == 'info':
    os.makedirs(S + '/overlay-images', exist_ok=True)
    print('overlay', S)
'''
_SKOPEO = '''
def blob(layout, digest):
    with open(layout + '/blobs/sha256/' + digest[7:]) as stream:
        return json.load(stream)

def registry(name):
    one = find(name)
    if one is None:
        sys.exit('Error: ' + name + ': manifest unknown')
    return one['Id']

place = args[-1].partition('@')[2]
if 'inspect' in args:
    kind = 'config' if '--config' in args else 'manifest'
    if args[-1].startswith('docker://'):
        place = registry(args[-1][9:])
    path = args[-1].partition(':')[2] if 'archive:' in args[-1] else S + '/' + kind + place
    with open(path) as stream:
        print(stream.read(), end='')
elif 'list-tags' in args:
    names = [name.rpartition(':') for one in images for name in one['RepoTags']]
    tags = [tag for name, _, tag in names if name == args[-1][9:]]
    print(json.dumps({'Tags': tags})) if tags else registry(args[-1][9:])
elif 'copy' in args and place:
    layout = args[-2].split(':')[1]
    with open(layout + '/index.json') as stream:
        digest = json.load(stream)['manifests'][0]['digest']
    manifest = blob(layout, digest)
    config = blob(layout, manifest['config']['digest'])
    for kind, document in (('config', config), ('manifest', manifest)):
        with open(S + '/' + kind + place, 'w') as out:
            json.dump(document, out)
    images.append({
        'Id': place, 'RepoTags': [], 'Digest': digest, 'Created': config.get('created'),
        'Labels': config.get('config', {}).get('Labels', {}),
        'RootFS': {'Layers': config['rootfs']['diff_ids']},
        'Architecture': config.get('architecture'), 'History': config.get('history')
    })
    keep()
    for word in args:
        if word.startswith('--digestfile='):
            with open(word[13:], 'w') as out:
                out.write(digest)
elif 'delete' in args:
    images.remove(find(place))
    keep()
elif 'copy' in args and args[-1].startswith('oci:'):
    layout, place = args[-1].split(':')[1], args[-2].partition('@')[2]
    added = []
    for kind in ('config', 'manifest'):
        with open(S + '/' + kind + place) as stream:
            data = stream.read()
        if added:
            data = json.dumps({**json.loads(data), 'config': added[0]})
        digest = hashlib.sha256(data.encode()).hexdigest()
        with open(layout + '/blobs/sha256/' + digest, 'w') as out:
            out.write(data)
        added.append({'digest': 'sha256:' + digest, 'size': len(data)})
    with open(layout + '/index.json', 'w') as out:
        json.dump({'manifests': added[1:]}, out)
elif 'copy' in args:
    with open(args[-1].split(':')[1], 'w') as out:
        out.write(' '.join(args[-2:]))
'''


class StoredImages:
    """The storage; what is in it is told as podman would."""

    def __init__(self, where: Path) -> None:
        self.where = where
        (where / 'bin').mkdir(parents=True)
        (where / 'trees').mkdir()
        (where / 'images').write_text('[]')
        (where / 'log').touch()
        for name, text in (('podman', _PODMAN), ('skopeo', _SKOPEO)):
            tool = where / 'bin' / name
            tool.write_text(_HEAD.format(python=sys.executable, where=str(where)) + text)
            tool.chmod(stat.S_IRWXU)

    def add(
        self, image_id: str, *names: str, layers: Sequence[str] = (LAYER,),
        told: Mapping[str, str] = _NONE, **more: Any
    ) -> ImageInfo:
        """Add an image; one of this plugin's stashes with own_labels()."""
        document = {
            'Id': image_id, 'RepoTags': list(names), 'RootFS': {'Layers': list(layers)},
            'Labels': dict(told), **more
        }
        self._write([*self._read(), document])
        (self.where / f'config{image_id}').write_text(json.dumps({
            'rootfs': {'diff_ids': list(layers)}, 'config': {'Labels': dict(told)}
        }))
        (self.where / f'manifest{image_id}').write_text(json.dumps({'layers': [
            {'mediaType': _TYPE, 'digest': f'sha256:{number:064}', 'size': number + 1}
            for number, _ in enumerate(layers)
        ]}))
        return info_from_inspect(document)

    def tree(self, name: str) -> Path:
        """Return where an image is mounted, or those with this newest layer."""
        return self.where / 'trees' / name

    def calls(self, *words: str) -> List[str]:
        """Return the calls with all these words, in their order."""
        return [
            line for line in (self.where / 'log').read_text().splitlines()
            if set(words) <= set(line.split())
        ]

    def fail(self, word: str) -> None:
        """Let each call with this word fail."""
        (self.where / f'fail-{word}').touch()

    def infos(self) -> List[ImageInfo]:
        """Return all images."""
        return list(map(info_from_inspect, self._read()))

    def _read(self) -> List[Dict[str, Any]]:
        found: List[Dict[str, Any]] = json.loads((self.where / 'images').read_text())
        return found

    def _write(self, documents: List[Dict[str, Any]]) -> None:
        (self.where / 'images').write_text(json.dumps(documents))


def make_stored_images(where: Path, monkeypatch: pytest.MonkeyPatch) -> StoredImages:
    """Make an empty storage, the only one that tools find."""
    images = StoredImages(where)
    for tool in ('podman', 'skopeo'):
        assert shutil.which(tool, path=str(where / 'bin'))
    monkeypatch.setenv('PATH', f'{where / "bin"}:{os.environ["PATH"]}')
    # no other run shares locks and notes with us
    monkeypatch.setenv('CONTAINERS_STORAGE_CONF', f'{where}/storage.conf')
    monkeypatch.setenv('KIWI_STASH_CACHE', f'{where}/indexes')
    monkeypatch.setenv('KIWI_STASH_STATE', f'{where}/state')
    return images


def own_labels(top: str = LAYER, **more: str) -> Dict[str, str]:
    """Return the labels of a stash of this plugin with such a newest layer."""
    return {
        labels.META: 'KIWI', labels.SCHEMA: labels.SCHEMA_VERSION, labels.TOP_LAYER: top,
        **{getattr(labels, key): value for key, value in more.items()}
    }
