# SPDX-License-Identifier: GPL-3.0-or-later
"""Wrong input of every kind: what is typed, and the line that must come.

'@/' in a word stands for the directory that make_world() fills.
"""
from __future__ import annotations

import os
from pathlib import Path
from typing import List, NamedTuple

from kiwi.cli import Cli
from trees import CONFIG, make_root

#: kiwi 11 reads its command line with typer
TYPER = hasattr(Cli, 'main')
HEX = '0123456789abcdef' * 4
BUILD = '--target-dir=@/new'


class Case(NamedTuple):
    """One wrong call: an expression for the error, the words, variables."""

    says: str
    words: str
    environment: str = ''


def make_world(world: Path) -> None:
    """Make good and bad roots, descriptions and targets."""
    make_root(world / 'root')
    make_root(world / 'bare')
    (world / 'bare/image/config.xml').unlink()
    config = CONFIG.format(schema='7.4', name='small')
    for name, data in {
        'broken': b'<image', 'nothing': b'', 'binary': b'\0\xff\xfe' * 9,
        'latin': '<image name="\xfc"/>'.encode('latin-1'),
        'doctype': b'<!DOCTYPE image [<!ENTITY a "b">]>\n<image name="&a;"/>',
        'noname': b'<image/>', 'huge': b'<image name="a">' + b' ' * (8 << 20),
        'spaces': config.replace('"small"', '"not a name"').encode(),
        'odd': config.replace('"small"', '"a\x0b[31m"').encode(),
        'cyrillic': config.replace('"small"', '"\u043e\u0431\u0440"').encode()
    }.items():
        (make_root(world / name) / 'image/config.xml').write_bytes(data)
    for name in ('fifo', 'link', 'directory'):
        (make_root(world / name) / 'image/config.xml').unlink()
    os.mkfifo(world / 'fifo/image/config.xml')
    (world / 'link/image/config.xml').symlink_to('/etc/passwd')
    (world / 'directory/image/config.xml').mkdir()
    (world / 'image-link').mkdir()
    (world / 'image-link/image').symlink_to('../root/image')
    (world / 'image-file').mkdir()
    (world / 'image-file/image').write_text('')
    (world / 'image-file/etc').mkdir()
    (world / 'empty').mkdir()
    (world / 'file').write_text('a file')
    (world / 'root-link').symlink_to('file')
    _make_targets(world, config)


def _make_targets(world: Path, config: str) -> None:
    (world / 'old/build/image-root').mkdir(parents=True)
    (world / 'half').mkdir()
    (world / 'half/build').write_text('')
    (world / 'loop').symlink_to('loop')
    for name, text in {
        'description': config.replace('</image>', '<packages/></image>'),
        'unknown-tag': config.replace('</image>', '<nosuch/></image>'),
        'truncated': config[:200], 'good': config
    }.items():
        (world / name).mkdir()
        (world / name / 'config.xml').write_text(text)
    (world / 'wrong.yaml').write_text('{')


STASH: List[Case] = [
    Case("root tree '@/none': No such file", '--root=@/none'),
    Case('--root: the directory name is empty', '--root='),
    Case("root tree '@/file': Not a directory", '--root=@/file'),
    Case("root tree '@/root-link': Not a directory", '--root=@/root-link'),
    Case("root tree '@/loop': Too many levels", '--root=@/loop'),
    Case("root tree '/' is the root of this machine", '--root=/'),
    Case("'@/empty' is not a root tree: none of image", '--root=@/empty'),
    Case('has no image/config.xml to take a name from.*hint: .*--container-name',
         '--root=@/bare'),
    Case('image/config.xml: cannot be read as XML', '--root=@/broken'),
    Case('image/config.xml: cannot be read as XML', '--root=@/nothing'),
    Case('image/config.xml: cannot be read as XML', '--root=@/binary'),
    Case('image/config.xml: cannot be read as XML', '--root=@/latin'),
    Case('image/config.xml: cannot be read as XML', '--root=@/odd'),
    Case('image/config.xml: has a document type', '--root=@/doctype'),
    Case("'image/config.xml' is no regular file", '--root=@/fifo'),
    Case("'image/config.xml' is no regular file", '--root=@/directory'),
    Case("'image/config.xml' is not read: a link", '--root=@/link'),
    Case("'image/config.xml' has 8388624 bytes", '--root=@/huge'),
    Case('image is a link or file', '--root=@/image-link'),
    Case('image is a link or file', '--root=@/image-file'),
    Case("description's name '' cannot name a stash: the name is empty.*--container-name",
         '--root=@/noname'),
    Case("description's name 'not a name' .*characters other than", '--root=@/spaces'),
    Case("description's name .*characters other than", '--root=@/cyrillic'),
] + [
    Case(f"--container-name '{shown or name}' cannot name a stash: .*{why}",
         f'--root=@/root|--container-name={name}')
    for name, shown, why in (
        ('', '', 'the name is empty'), ('Small', '', 'the name has upper case'),
        ('a b', '', "characters other than .*' '"), ('a:b', '', "characters other .*':'"),
        ('-a', '', 'each part of the name must begin'), ('a..b', '', 'each part'),
        ('a/', '', 'each part'), ('../a', r'\.\./a', 'each part'), ('/a', '', 'each part'),
        ('a' * 246, '', 'the name has 246 characters, at most 245'),
        ('\u00e9', '', 'characters other than'), ('a\x1b[31m', r'a\\x1b\[31m', 'characters'),
        ('a\udcff', r'a\\(udc|x)ff', 'characters other than'),
        ('localhost:5000/a', '', 'characters other than')
    )
] + [
    Case(f"--tag '.*' is not valid: {why}", f'--root=@/root|--tag={tag}')
    for tag, why in (
        ('', 'the tag is empty'), ('.a', 'a tag has only'), ('a/b', 'a tag has only'),
        ('a b', 'a tag has only'), ('a:b', 'a tag has only'), ('\u00e9', 'a tag has'),
        ('a' * 129, 'the tag has 129 characters')
    )
] + [
    Case(f'--base .*{why}', f'--root=@/root|--base={base}') for base, why in (
        ('nosuch', "'nosuch': no such stash or image.*hint: stored are: bare"),
        ('small:v9', "'small:v9': no such stash or image.*hint: did you mean small"),
        ('', 'the name is empty'), ('Small', 'the name has upper case'),
        ('small:', 'the tag is empty'), ('small@sha256:12', "'sha256:12' is not a digest"),
        ('oci:', 'nothing behind the transport'), (HEX, f"'{HEX}': no such"),
        ('/etc/passwd', 'is not an image reference'), ('-', 'is not an image reference'),
        ('--all', 'is not an image reference'), ('ftp://host/a', 'is not an image reference')
    )
] + [
    Case(f'{why}', f'--root=@/root|--base={base}') for base, why in (
        ('oci-archive:@/none', 'oci-archive:@/none: cannot be read: .*no such file'),
        ('oci-archive:@/file', 'oci-archive:@/file: cannot be read: '),
        ('oci:@/empty:a', 'oci:@/empty:a: cannot be read: '),
        ('docker://small', 'docker:// needs a registry host'),
        ('containers-storage:nosuch', 'containers-storage:nosuch: no such image')
    )
] + [
    Case(f'--label .*{why}', f'--root=@/root|--label={label}') for label, why in (
        ('a', "'a' is not of the form key=value"), ('', "'' is not of the form"),
        ('=b', "'=b' is not of the form"), ('a b=c', 'is not of the form'),
        ('a\tb=c', 'is not of the form'),
        ('io.osinside.kiwi.stash.schema=9', 'is written by the plugin itself'),
        ('io.osinside.kiwi.meta=x', 'is written by the plugin itself')
    )
] + [
    Case(f'--export .*{why}', f'--root=@/root|--export={export}') for export, why in (
        ('', 'names no transport'), ('nowhere', 'names no transport'),
        ('ftp://host/a', 'names no transport'), ('docker://', 'nothing behind the transport'),
        ('oci-archive:', 'nothing behind the transport'),
        ('docker://Host/UPPER', 'upper case'), ('docker://a', 'docker:// needs a registry host'),
        ('oci-archive:@/none/a.tar', "directory '@/none' is not there"),
        ('oci:@/file/a:b', "directory '@/file' is not there"),
        ('oci-archive:@/empty', "'@/empty' is a directory")
    )
] + [
    Case("KIWI_STASH_MAX_LAYERS '0'", '--root=@/root', 'KIWI_STASH_MAX_LAYERS=0'),
    Case("KIWI_STASH_MAX_LAYERS 'x'", '--root=@/root', 'KIWI_STASH_MAX_LAYERS=x'),
    Case("KIWI_STASH_TIMEOUT 'x'", '--root=@/root', 'KIWI_STASH_TIMEOUT=x'),
    Case("KIWI_STASH_TIMEOUT '-1'", '--root=@/root', 'KIWI_STASH_TIMEOUT=-1'),
    Case("SOURCE_DATE_EPOCH 'x'", '--root=@/root', 'SOURCE_DATE_EPOCH=x'),
    Case("SOURCE_DATE_EPOCH '9{20}'", '--root=@/root', 'SOURCE_DATE_EPOCH=' + '9' * 20),
    Case("SOURCE_DATE_EPOCH '\u00b2'", '--root=@/root', 'SOURCE_DATE_EPOCH=\u00b2'),
    Case('podman cannot read its storage: toml', '--root=@/root',
         'CONTAINERS_STORAGE_CONF=@/wrong.yaml'),
    Case('podman and skopeo: not found in PATH.*install', '--root=@/root', 'PATH=@/empty'),
]

STACKBUILD: List[Case] = [
    Case(f'--stash .*{why}', f'--stash={stash}|{BUILD}') for stash, why in (
        ('nosuch', "'nosuch': no such stash or image.*stored are"),
        ('smal', 'did you mean small:latest'), ('', 'the name is empty'),
        ('Small', 'upper case'), ('a@b', "'b' is not a digest"), (HEX[:12], 'no such'),
        ('small|--stash=nosuch', "'nosuch': no such")
    )
] + [
    Case('--stash: none is given.*hint: an extension can name one', BUILD),
    Case('bare:latest: no image description.*hint: give a full one with', f'--stash=bare|{BUILD}'),
    Case("--description '@/none': no such directory",
         f'--stash=small|{BUILD}|--description=@/none'),
    Case("--description '': no such directory", f'--stash=small|{BUILD}|--description='),
    Case("--description '@/file': no such directory",
         f'--stash=small|{BUILD}|--description=@/file'),
    Case('@/empty', f'--stash=small|{BUILD}|--description=@/empty'),
    Case('truncated|XML|xml', f'--stash=small|{BUILD}|--description=@/truncated'),
    Case('--target-dir: the directory name is empty', '--stash=small|--target-dir='),
    Case("--target-dir '@/file': .*is not a directory", '--stash=small|--target-dir=@/file'),
    Case("--target-dir '@/loop': .*is not a directory", '--stash=small|--target-dir=@/loop'),
    Case("--target-dir '@/file/a': .*is not a directory",
         '--stash=small|--target-dir=@/file/a'),
    Case("'@/half/build' is not a directory", '--stash=small|--target-dir=@/half'),
    Case("'@/old/build/image-root' is there from an earlier run.*hint: remove",
         '--stash=small|--target-dir=@/old'),
    Case("--target-dir '/proc/a': '/proc/a' cannot be made", '--stash=small|--target-dir=/proc/a'),
    Case("--from-registry '': not a registry", f'--stash=small|{BUILD}|--from-registry='),
    Case("--from-registry 'a b': not a reg", f'--stash=small|{BUILD}|--from-registry=a b'),
    Case("--from-registry 'ftp://h': not", f'--stash=small|{BUILD}|--from-registry=ftp://h'),
    Case('stackbuild sets --target-dir itself', f'--stash=small|{BUILD}|--|--target-dir=/x'),
    Case('stackbuild sets --root itself', f'--stash=small|{BUILD}|--|--root=/x'),
    Case('does not accept --nosuch', f'--stash=small|{BUILD}|--|--nosuch'),
    Case('--help cannot be passed on', f'--stash=small|{BUILD}|--|--help'),
    Case('does not accept --signing-key', f'--stash=small|{BUILD}|--|--signing-key'),
    # docopt takes it for an argument for kiwi
    *([] if TYPER else [
        Case("'a' is no argument of stackbuild", f'--stash=small|{BUILD}|a')
    ]),
    Case('podman and skopeo: not found', f'--stash=small|{BUILD}', 'PATH=@/empty'),
    Case("KIWI_STASH_TIMEOUT ''", f'--stash=small|{BUILD}', 'KIWI_STASH_TIMEOUT='),
]

STASH_LIST: List[Case] = [
    Case("--format 'xml' is not known.*hint: it is json or table", '--format=xml'),
    Case("--format '' is not known", '--format='),
    Case('podman and skopeo: not found', '', 'PATH=@/empty'),
    Case('podman cannot read its storage: toml', '', 'CONTAINERS_STORAGE_CONF=@/wrong.yaml'),
]

#: what docopt or typer refuse themselves, with the usage text
USAGE = (
    'stash', 'stash|--root', 'stash|--root=@/root|--nosuch', 'stash|--root=@/root|--tag',
    'stash|--root=@/root|--base=small|--no-base', 'stash|--root=@/root|word',
    'stash|--list|--root=@/root', 'stash|--container-name=a|--export=oci:d:t|--clamp-mtime',
    'stash|--prune|--keep-last=1|--ignore-times', 'stackbuild',
    'stackbuild|--stash=small', f'stackbuild|--stash|{BUILD}',
    f'stackbuild|--stash=small|{BUILD}|--nosuch', 'stash_list|a|b', 'stash_list|--nosuch',
    *([f'stackbuild|--stash=small|{BUILD}|a'] if TYPER else []),
)
