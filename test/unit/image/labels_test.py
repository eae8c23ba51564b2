# SPDX-License-Identifier: GPL-3.0-or-later
"""Labels of strangers: typed values, or named and passed over."""
from __future__ import annotations

import ast
import json
import logging
import os
from pathlib import Path
from typing import Any, Dict, List, Optional

import pytest

from kiwi_stackbuild_plugin.image import labels
from kiwi_stackbuild_plugin.image.image import ImageInfo
from kiwi_stackbuild_plugin.image.labels import StashLabels, read_labels
from kiwi_stackbuild_plugin.layer.extras import Extra
from kiwi_stackbuild_plugin.layer.restore import restore_root
from kiwi_stackbuild_plugin.stash.stash_list import describe, format_json, format_table
from kiwi_stackbuild_plugin.storage.find import warn_of_labels

PLUGIN = Path(labels.__file__).parents[1]
LAYER = f'sha256:{"a" * 64}'
CONFIG = json.dumps({'rootfs': {'diff_ids': [LAYER]}})
#: label, what it may say, and the field with the value of that
GOOD = [
    (labels.PROFILES, 'one,Two Words', 'profiles', ('one', 'Two Words')),
    (labels.PROFILES, '', 'profiles', ()),
    (labels.TYPE, 'oem', 'build_type', 'oem'), (labels.TYPE, '', 'build_type', ''),
    (labels.PACKAGE_MANAGER, 'dnf5', 'package_manager', 'dnf5'),
    (labels.ROOT_MODE, '1777', 'root_mode', 0o1777),
    (labels.ROOT_OWNER, '4294967294:0', 'root_owner', (2**32 - 2, 0)),
    (labels.MTIME, 'ns', 'exact_times', True),
    (labels.LAYER_SIZE, '0', 'layer_size', 0),
    (labels.TOP_LAYER, LAYER, 'top_layer', LAYER),
    (labels.BASE_DIGEST, LAYER, 'base_digest', LAYER),
    (labels.IMPORTED_ROOT, CONFIG, 'imported_root', CONFIG)
]
NONSENSE = [
    'x y', '-1', '--type=oem', '\0', 'a\nb', '\x1b[2J', '٣', '\uff19', '9' * 30, '0x1', '1e3',
    '1.0',
    '9999999999:0', '0:4294967295', '-1:0', '0:', '٣:٣', '08', '10000', 'sha256:', 'null', '{}',
    '[' * 100_000, '\udcff', '\ud800', 'x' * 1_000_000, '{"rootfs": {"diff_ids": []}}',
    '{"rootfs": {"diff_ids": [1]}}', '{"rootfs": {"diff_ids": ["sha256:x"]}}',
    '{"rootfs": null}', ' 1', '1 ', '1_0', '+1'
]
#: what some labels may say that is nonsense for the others
MAY = {
    labels.PROFILES: {
        'x y', '٣', '\uff19', '9' * 30, '0x1', '1e3', '1.0', '9999999999:0', '0:4294967295', '0:',
        '٣:٣', '08', '10000', 'sha256:', 'null', '{}', '[' * 100_000, ' 1', '1 ', '1_0', '+1',
        *(text for text in NONSENSE if text.startswith('{'))
    },
    labels.TYPE: {'9' * 30, '0x1', '1e3', '1.0', '08', '10000', 'null', '1_0'},
    labels.LAYER_SIZE: {'08', '10000'},
    labels.ROOT_MODE: set()
}
MAY[labels.PACKAGE_MANAGER] = MAY[labels.TYPE]


@pytest.mark.parametrize(('key', 'text', 'name', 'value'), GOOD)
def test_what_a_stash_says(key: str, text: str, name: str, value: Any) -> None:
    told = read_labels({key: text})
    assert getattr(told, name) == value
    assert told.wrong == ()


@pytest.mark.parametrize('text', NONSENSE, ids=lambda text: ascii(text[:20]))
@pytest.mark.parametrize(('key', 'name'), {key: name for key, _, name, _ in GOOD}.items())
def test_nonsense_is_named_and_passed_over(key: str, name: str, text: str) -> None:
    if text in MAY.get(key, ()):
        return
    told = read_labels({key: text})
    assert getattr(told, name) == getattr(StashLabels(), name)
    assert len(told.wrong) == 1
    assert told.wrong[0].startswith(f'{key}=') and len(told.wrong[0]) < 100


def test_inherited_nonsense_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """An image that this plugin did not write may have our labels, too."""
    with caplog.at_level(logging.WARNING, 'kiwi'):
        warn_of_labels(ImageInfo('f' * 64, labels={
            labels.ROOT_OWNER: '9999999999:0', labels.TOP_LAYER: LAYER, labels.EXTRAS: '{"a": 1}'
        }, layers=(LAYER,)))
    assert [record.getMessage().partition('passed over: ')[2] for record in caplog.records] == [
        f'{labels.ROOT_OWNER}=9999999999:0', f'{labels.EXTRAS}={{"a": 1}}'
    ]


@pytest.mark.parametrize('text', [
    'a\nERROR: b', '\x1b[2J', 'a\tb', '\u202etxt', '\u200b', '\udcff\udc80', '\ud800', '\0', 'ä€'
])
def test_list_of_strangers(text: str) -> None:
    """In JSON text is text, in a table it is one cell."""
    found: Dict[str, str] = {
        labels.META: text, labels.SCHEMA: text, labels.AUTHORS: text, labels.BASE_NAME: text,
        labels.TYPE: text, labels.PROFILES: text
    }
    row = describe(ImageInfo('f' * 64, labels=found, author=text), 'name', 'tag', [])
    document = format_json([row])
    told = json.loads(document)['stashes'][0]
    # any parser takes it: no half of a pair is in it
    json.dumps(told, ensure_ascii=False).encode('utf-8')
    if text.isprintable() or not any('\ud800' <= char <= '\udfff' for char in text):
        assert told['author'] == text
    else:
        assert told['author'] in (r'\xff\x80', r'\ud800')
    table = format_table([row])
    assert len(table.splitlines()) == 2 and table.replace('\n', '').isprintable()


@pytest.mark.parametrize('extra', [
    Extra(xattrs=(('nonsense', b'1'),)), Extra(xattrs=(('user.' + 'x' * 300, b'1'),)),
    Extra(xattrs=(('user.x', bytes(1 << 17)),)), Extra(mtime=-2**79)
])
def test_root_directory_takes_what_it_can(
    tmp_path: Path, extra: Extra, caplog: pytest.LogCaptureFixture
) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        restore_root(fd, 0o700, os.getuid(), os.getgid(), extra)
    finally:
        os.close(fd)
    assert tmp_path.stat().st_mode & 0o777 == 0o700
    assert ('not all of it restored' in caplog.text) is bool(extra.xattrs)


def reads_of_labels(path: Path) -> List[Optional[int]]:
    """Return lines that look into ImageInfo.labels."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        of = node.value if isinstance(node, ast.Subscript) else (
            node.func.value if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute) else None
        )
        if isinstance(of, ast.Attribute) and of.attr == 'labels':
            found.append(getattr(node, 'lineno', None))
    return found


@pytest.mark.parametrize('path', sorted(PLUGIN.rglob('*.py')), ids=lambda path: path.name)
def test_labels_are_read_through_one_door(path: Path) -> None:
    # whether a base has the very labels that the new image would have
    allowed = 1 if path.name == 'new_image.py' else 0
    assert len(reads_of_labels(path)) == allowed
