# SPDX-License-Identifier: GPL-3.0-or-later
"""OCI layouts: each file is what its digest says, each layer in the form stored."""
from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, Optional

import pytest

from kiwi_stackbuild_plugin.image.layout import (
    REFERENCE, layers_of, make_layout, replace_layers, write_layout
)
from kiwi_stackbuild_plugin.layer.blob import TAR_TYPE, Layer

LAYER = Layer('p', 'sha256:l', 'sha256:d', 5, 6, 1, 0, 0)
BASE = {'mediaType': TAR_TYPE, 'digest': 'b', 'size': 2}


def read(layout: Path, digest: str) -> Dict[str, Any]:
    """Read a document of a layout."""
    found: Dict[str, Any] = json.loads((layout / 'blobs/sha256' / digest[7:]).read_bytes())
    return found


def manifest_of(layout: Path) -> Dict[str, Any]:
    """Read the manifest as another tool finds it."""
    index = json.loads((layout / 'index.json').read_bytes())
    entry, = index['manifests']
    assert index['schemaVersion'] == 2
    assert entry['annotations'] == {'org.opencontainers.image.ref.name': REFERENCE}
    return read(layout, entry['digest'])


def test_layout_holds_what_its_digests_say(tmp_path: Path) -> None:
    blobs = make_layout(str(tmp_path / 'layout'))
    image_id = write_layout(str(tmp_path / 'layout'), {'a': 'ü'}, [BASE], LAYER, {'k': 'v'})
    for name in os.listdir(blobs):
        data = (Path(blobs) / name).read_bytes()
        assert hashlib.sha256(data).hexdigest() == name
    assert (Path(blobs) / image_id).read_bytes() == '{"a":"ü"}'.encode()
    manifest = manifest_of(tmp_path / 'layout')
    assert [item['digest'] for item in manifest['layers']] == ['b', 'sha256:l']
    assert manifest['annotations'] == {'k': 'v'}
    assert manifest['config']['digest'] == f'sha256:{image_id}'


@pytest.mark.parametrize(('layer', 'unpacked', 'digest', 'size'), [
    (LAYER, False, 'sha256:l', 5), (LAYER, True, 'sha256:d', 6), (None, False, None, 0),
    (None, True, None, 0), (replace(LAYER, media_type=TAR_TYPE), False, 'sha256:l', 5)
])
def test_layer_is_named_as_the_storage_has_it(
    tmp_path: Path, layer: Optional[Layer], unpacked: bool, digest: Any, size: int
) -> None:
    layout = tmp_path / 'layout'
    make_layout(str(layout))
    write_layout(str(layout), {}, [BASE], layer, {}, unpacked)
    base, *new = manifest_of(layout)['layers']
    assert base == BASE
    assert [(found['digest'], found['size']) for found in new] == [(digest, size)] * bool(layer)
    if layer is not None:
        assert (new[0]['mediaType'] == TAR_TYPE) == (unpacked or layer.media_type == TAR_TYPE)


def test_bytes_of_a_config_stay(tmp_path: Path) -> None:
    """A copied image keeps its ID, however its maker writes JSON."""
    data = b'{ "b": 1,\n"a": "\\u00fc" }\n'
    make_layout(str(tmp_path / 'layout'))
    image_id = write_layout(str(tmp_path / 'layout'), data, [], None, {})
    assert image_id == hashlib.sha256(data).hexdigest()
    config = manifest_of(tmp_path / 'layout')['config']
    assert (config['digest'], config['size']) == (f'sha256:{image_id}', len(data))
    assert (tmp_path / 'layout/blobs/sha256' / image_id).read_bytes() == data


def test_layout_is_one_by_the_specification(tmp_path: Path) -> None:
    blobs = make_layout(str(tmp_path / 'a/layout'))
    assert os.listdir(blobs) == []
    assert Path(blobs) == tmp_path / 'a/layout/blobs/sha256'
    assert json.loads((tmp_path / 'a/layout/oci-layout').read_bytes()) == {
        'imageLayoutVersion': '1.0.0'
    }
    with pytest.raises(FileExistsError):
        make_layout(str(tmp_path / 'a/layout'))


def test_other_blobs_for_layers_in_the_bytes_of_skopeo(tmp_path: Path) -> None:
    """Go sorts no keys, and escapes what HTML takes for its own."""
    blobs = Path(make_layout(str(tmp_path)))
    text = '{"layers":[%s],"annotations":{"z":"M \\u003cm@x\\u003e \\u0026 ü\\u2028","a":""}}'
    packed = '{"mediaType":"gzip","digest":"sha256:2","size":9}'
    kept = '{"mediaType":"gzip","digest":"sha256:3","size":4}'
    old = text % ('{"mediaType":"tar","digest":"sha256:1","size":0},' + kept)
    digest = hashlib.sha256(old.encode()).hexdigest()
    (blobs / digest).write_text(old)
    index = '{"schemaVersion":2,"manifests":[{"mediaType":"m","digest":"sha256:%s","size":%d%s}]}'
    name = ',"annotations":{"org.opencontainers.image.ref.name":"a\\u003cb"}'
    (tmp_path / 'index.json').write_text(index % (digest, len(old.encode()), name))
    replace_layers(str(tmp_path), {'sha256:1': json.loads(packed)})
    new = (text % f'{packed},{kept}').encode()
    digest = hashlib.sha256(new).hexdigest()
    assert {path.name: path.read_bytes() for path in blobs.iterdir()} == {digest: new}
    assert (tmp_path / 'index.json').read_text() == index % (digest, len(new), name)
    assert layers_of(str(tmp_path)) == [json.loads(packed), json.loads(kept)]
