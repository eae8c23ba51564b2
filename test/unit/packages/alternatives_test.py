# SPDX-License-Identifier: GPL-3.0-or-later
"""Groups of alternatives: read as update-alternatives wrote them, and merged."""
from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import List, Optional, Tuple

import pytest

from kiwi_stackbuild_plugin.packages.alternatives import merge_groups, read_group

NANO = b'''auto
/usr/bin/editor
editor.1
/usr/share/man/editor.1

/bin/nano
40
/usr/share/man/nano.1

'''
VIM = b'''auto
/usr/bin/editor
editor.da.1
/usr/share/man/da/editor.1

/usr/bin/vim
30
/usr/share/man/da/vim.1

'''
BOTH = b'''auto
/usr/bin/editor
editor.1
/usr/share/man/editor.1
editor.da.1
/usr/share/man/da/editor.1

/bin/nano
40
/usr/share/man/nano.1

/usr/bin/vim
30

/usr/share/man/da/vim.1

'''
NONE = NANO[:NANO.index(b'/bin/nano')] + b'\n'
MANUAL = NANO.replace(b'auto', b'manual')


@pytest.mark.parametrize(('changes', 'expected'), [
    ([(None, NANO), (None, VIM)], BOTH), ([(None, NANO), (None, None)], NANO),
    ([(None, None), (None, VIM)], VIM), ([(None, NANO), (NANO, NONE)], None),
    ([(None, NANO), (NANO, None)], None), ([(None, BOTH), (NANO, NANO)], BOTH),
    ([(None, MANUAL), (NANO, NANO)], MANUAL), ([(None, NANO), (NANO, MANUAL)], MANUAL),
    ([(None, None)], None),
])
def test_groups_are_merged(
    changes: List[Tuple[Optional[bytes], Optional[bytes]]], expected: Optional[bytes]
) -> None:
    merged = merge_groups(changes, b'x')
    assert (merged.content() if merged else None) == expected


def test_links_of_the_best_choice() -> None:
    assert read_group(BOTH).links(b'editor') == {
        b'/usr/bin/editor': (b'etc/alternatives/editor', b'/bin/nano'),
        b'/usr/share/man/editor.1': (b'etc/alternatives/editor.1', b'/usr/share/man/nano.1'),
        b'/usr/share/man/da/editor.1': (b'etc/alternatives/editor.da.1', b'')
    }
    assert read_group(MANUAL).links(b'editor') == {}


@pytest.mark.parametrize('data', [
    b'auto', b'auto\n/x\n', NANO.replace(b'40', b'much'), NANO.replace(b'/bin/nano', b'nano'),
    NANO.replace(b'editor.1\n/', b'a/b\n/'), NANO.replace(b'/usr/bin/editor', b'editor'),
    NANO[:NANO.index(b'40')], VIM.replace(b'editor.da.1\n', b'')
])
def test_no_group(data: bytes) -> None:
    with pytest.raises(ValueError, match=r'^etc/x: '):
        merge_groups([(None, data)], b'etc/x')


@pytest.mark.skipif(not shutil.which('update-alternatives'), reason='no update-alternatives')
def test_written_as_by_update_alternatives(tmp_path: Path) -> None:
    """Its own file is read and written the same, and it goes on with ours."""
    for name in ('admin', 'alt', 'bin'):
        (tmp_path / name).mkdir()
    for name in ('one', 'two', 'one.1'):
        (tmp_path / 'bin' / name).touch()
    tool = [
        'update-alternatives', '--quiet', '--log', str(tmp_path / 'log'),
        '--admindir', str(tmp_path / 'admin'), '--altdir', str(tmp_path / 'alt')
    ]
    top = str(tmp_path / 'bin')
    for name, priority, more in (
        ('one', '10', ['--slave', f'{top}/t.1', 't.1', f'{top}/one.1']), ('two', '5', [])
    ):
        subprocess.run(
            [*tool, '--install', f'{top}/t', 't', f'{top}/{name}', priority, *more], check=True
        )
    written = (tmp_path / 'admin/t').read_bytes()
    group = read_group(written)
    assert group.content() == written and len(group.choices) == 2
    listed = subprocess.run([*tool, '--list', 't'], check=True, capture_output=True, text=True)
    assert listed.stdout.split() == [f'{top}/one', f'{top}/two']
