# SPDX-License-Identifier: GPL-3.0-or-later
"""Which paths a command writes that kiwi runs outside of the root.

A word that is not known to be read only counts as written. What runs in a
chroot resolves links in there, so it writes nothing outside.
"""
from __future__ import annotations

import os
import re
import shlex
import shutil
from dataclasses import dataclass
from functools import lru_cache
from typing import AbstractSet, Callable, Dict, Iterator, List, Sequence, Set

from kiwi_stackbuild_plugin.host.command import run_command

#: they read what they are told
_READERS = frozenset((
    'blkid', 'cat', 'cd', 'cmp', 'df', 'diff', 'du', 'echo', 'file', 'find', 'findmnt', 'grep',
    'head', 'jing', 'ls', 'lsblk', 'lsof', 'md5sum', 'mountpoint', 'sha256sum',
    'stat', 'strings', 'tail', 'test', 'wc', 'which', 'xmlcatalog', 'zcat', '[',
))
_DNF = (
    'etc/dnf', 'etc/yum.repos.d', 'usr/lib/sysimage/dnf', 'usr/lib/sysimage/libdnf5',
    'var/cache/dnf', 'var/cache/libdnf5', 'var/lib/dnf', 'var/log'
)
#: what package managers change in a root from outside, where no argument names it
MANAGED = {
    'apk': ('etc/apk', 'lib/apk', 'var/cache/apk'),
    'apt-get': (
        'etc/apt', 'var/cache/apt', 'var/lib/apt', 'var/lib/dpkg', 'var/log/apt'
    ),
    **dict.fromkeys(('dnf', 'dnf-3', 'dnf4', 'dnf5', 'microdnf'), _DNF),
    'pacman': ('etc/pacman.d', 'var/cache/pacman', 'var/lib/pacman', 'var/log'),
    'rpm': (),
    'zypper': ('etc/zypp', 'var/cache/zypp', 'var/lib/zypp', 'var/log'),
}
_RPM_BASED = frozenset(('dnf', 'dnf-3', 'dnf4', 'dnf5', 'microdnf', 'rpm', 'zypper'))
#: links that lead out of each Debian; no package has anything below them
_USUAL = {'var/run': '/run', 'var/lock': '/run/lock'}

_SHELLS = ('bash', 'sh')
_SEPARATORS = frozenset('|&;()<>\n')


@dataclass(frozen=True)
class Write:
    """A path that a command writes.

    :param follow: if its last name is a link, what that leads to is written
    :param bound_to: what is mounted there, or empty
    """

    path: str
    follow: bool = True
    bound_to: str = ''


def find_writes(
    words: Sequence[str], directory: str, root: str = ''
) -> Iterator[Write]:
    """Give what a command writes.

    :param directory: where it runs
    :param root: the root of package managers that read it in a file
    """
    words = _without_prefix(words)
    if not words:
        return
    program = os.path.basename(words[0])
    if program == 'chroot' or program in _READERS:
        return
    if program in _SHELLS and '-c' in words[:-1]:
        yield from _in_shell(words[words.index('-c') + 1], directory, root)
        return
    known = _KNOWN.get(program, _any_path)
    for write in known([program, *words[1:]], directory):
        yield Write(
            os.path.join(directory, write.path), write.follow, write.bound_to
        )
    yield from _managed(program, words, root)


def _without_prefix(words: Sequence[str]) -> Sequence[str]:
    """Leave out what runs a command: env, screen, assignments."""
    at = 0
    while at < len(words):
        name = os.path.basename(words[at])
        if name in ('env', 'screen'):
            at += 1
            while at < len(words) and words[at].startswith('-'):
                at += 1
        elif re.match(r'[A-Za-z_]\w*=', words[at]) or name in ('source', '.'):
            at += 1 if '=' in words[at] else 2
        else:
            break
    return words[at:]


def _in_shell(text: str, directory: str, root: str) -> Iterator[Write]:
    piped = re.fullmatch(r'(.*\S)\s*\|\s*tar -C (\S+) -x\s*', text, re.DOTALL)
    if piped:
        lister = f'{piped[1]} | tar -t --quoting-style=escape'
        yield from _unpacked(['bash', '-c', lister], piped[2])
        return
    command: List[str] = []
    redirection = ''
    for token in [*_tokens(text), ';']:
        if token and set(token) <= _SEPARATORS:
            if '<' in token or '>' in token:
                redirection = token
                continue
            yield from find_writes(command, directory, root)
            if command[:1] == ['cd'] and len(command) > 1:
                directory = os.path.join(directory, command[1])
            command = []
        elif redirection:
            if '>' in redirection:
                yield Write(os.path.join(directory, token))
            redirection = ''
        else:
            command.append(token)


def _tokens(text: str) -> List[str]:
    lexer = shlex.shlex(text, posix=True, punctuation_chars='|&;()<>\n')
    lexer.whitespace_split = True
    lexer.whitespace = ' \t\r'
    lexer.commenters = ''
    try:
        return list(lexer)
    except ValueError:
        # an open quote: the shell itself will complain
        return text.split()


def _managed(program: str, words: Sequence[str], root: str) -> Iterator[Write]:
    """Give what a package manager writes in the root that it is given."""
    if program not in MANAGED:
        return
    names = list(MANAGED[program])
    if program in _RPM_BASED:
        names += rpm_database()
    for word, following in zip(words, [*words[1:], '']):
        option, equals, value = word.partition('=')
        if option in ('--root', '--installroot', '--sysroot', '-R', '-r', '-p'):
            root = value if equals else following
    for name in names if root else ():
        yield Write(os.path.join(root, name))


@lru_cache
def rpm_database() -> Sequence[str]:
    """Return where the rpm of this machine has its database in any root."""
    if not shutil.which('rpm'):
        return ()
    path = run_command(['rpm', '-E', '%_dbpath'], check=False).stdout.strip()
    return (path.lstrip('/'),) if path.startswith('/') else ()


def _any_path(words: Sequence[str], directory: str) -> Iterator[Write]:
    for word in words[1:]:
        at = word.find('/')
        if at < 0 or (at and word[at - 1] not in '=:,'):
            if at > 0 or os.path.islink(os.path.join(directory, word)):
                yield Write(word)
            continue
        yield Write(word[at:])
        for part in re.split('[:,]', word[at:]):
            path = part.rpartition('=')[2]
            if path.startswith('/'):
                yield Write(path)


def _positional(words: Sequence[str]) -> List[str]:
    return [word for word in words[1:] if not word.startswith('-') or word == '-']


def _named(words: Sequence[str], directory: str) -> Iterator[Write]:
    """Give names that are removed or made: a link itself, not what is behind."""
    del directory
    for path in _positional(words):
        yield Write(path, follow=path.endswith('/'))


def _made(words: Sequence[str], directory: str) -> Iterator[Write]:
    """Give directories that are made; those that are there stay as they are."""
    for write in _named(words, directory):
        if not os.path.isdir(os.path.join(directory, write.path)):
            yield write


def _placed(words: Sequence[str], directory: str) -> Iterator[Write]:
    """Give where cp, mv, ln or rsync put something.

    cp writes into a file behind a link, the others replace the link. A link to
    a directory gets things put into the directory.
    """
    program, (*sources, target) = words[0], _positional(words) or ['']
    through = program in ('cp', 'install')
    if program == 'mv':
        for source in sources:
            yield Write(source, follow=False)
    itself = program == 'ln' and _has(words, 'T', '--no-target-directory', 'n')
    if itself or not os.path.isdir(os.path.join(directory, target)):
        yield Write(target, follow=through)
        return
    yield Write(target)
    for source in sources:
        place, name = target, os.path.basename(source.rstrip('/'))
        if program != 'rsync' or not source.endswith('/'):
            place = os.path.join(target, name)
            yield Write(place, follow=through)
        if through or _has(words, 'K', '--keep-dirlinks'):
            yield from _over(os.path.join(directory, source), place)


def _has(words: Sequence[str], letter: str, long: str, also: str = '') -> bool:
    return any(
        word == long or (re.match(r'-\w+$', word) and {letter, also} & set(word))
        for word in words[1:]
    )


def _over(source: str, target: str) -> Iterator[Write]:
    """Give all of a tree that is laid over another, if it is one."""
    for path, names, files in os.walk(source):
        for name in [*names, *files]:
            place = os.path.relpath(os.path.join(path, name), source)
            yield Write(os.path.join(target, place))


def _dd(words: Sequence[str], directory: str) -> Iterator[Write]:
    del directory
    for word in words[1:]:
        if word.startswith('of='):
            yield Write(word[len('of='):])


def _tar(words: Sequence[str], directory: str) -> Iterator[Write]:
    """Give what tar unpacks, or the archive that it writes."""
    target, archive = directory, ''
    for word, following in zip(words[1:], [*words[2:], '']):
        if word == '-C':
            target = os.path.join(directory, following)
        elif word.startswith('--file='):
            archive = word[len('--file='):]
        elif re.match(r'-\w*f$', word):
            archive = following
    if not _has(words, 'x', '--extract'):
        yield Write(archive)
        return
    yield from _unpacked(
        ['tar', '-t', '--quoting-style=escape', '-f', os.path.join(directory, archive)],
        target
    )


def _unpacked(lister: Sequence[str], target: str) -> Iterator[Write]:
    """Give the directories in which tar makes the members of an archive.

    Where a member itself is a directory, tar replaces a link by it.
    """
    yield Write(target)
    listed = run_command(lister, check=False, env={'LC_ALL': 'C'})
    if listed.returncode:
        yield from _all_links(target)
        return
    made: Set[str] = set()
    checked: Set[str] = set()
    for line in filter(None, listed.stdout.split('\n')):
        # odd characters and other than ASCII as in C
        raw = line.encode('latin-1', 'ignore').decode('unicode_escape')
        name = os.fsdecode(raw.encode('latin-1', 'ignore'))
        path = os.path.normpath(name).lstrip('/')
        parent = os.path.dirname(path)
        if parent not in checked and not _below_any(parent, made):
            yield Write(os.path.join(target, parent))
        checked.add(parent)
        if name.endswith('/') and os.path.islink(os.path.join(target, path)):
            made.add(path)


def _below_any(path: str, places: AbstractSet[str]) -> bool:
    return any(
        path == place or path.startswith(f'{place}/') for place in places
    )


def _all_links(root: str) -> Iterator[Write]:
    """Give all links to directories of a tree: anything may be written there."""
    for path, names, _ in os.walk(root):
        for name in names:
            full = os.path.join(path, name)
            if os.path.islink(full) and os.readlink(full) != _USUAL.get(
                os.path.relpath(full, root)
            ):
                yield Write(full)


def _debootstrap(words: Sequence[str], directory: str) -> Iterator[Write]:
    for word in _positional(words):
        if '/' in word and ':' not in word:
            yield from _all_links(os.path.join(directory, word))


def _mount(words: Sequence[str], directory: str) -> Iterator[Write]:
    del directory
    named = [
        word for before, word in zip(words, words[1:])
        if not word.startswith('-') and before not in ('-o', '-t')
    ]
    source, point = ['', '', *named][-2:]
    yield Write(point, bound_to=source if '--bind' in words else '')


def _umount(words: Sequence[str], directory: str) -> Iterator[Write]:
    del directory
    for point in _positional(words):
        yield Write(point, bound_to=point)


_KNOWN: Dict[str, Callable[[Sequence[str], str], Iterator[Write]]] = {
    **dict.fromkeys(('cp', 'install', 'ln', 'mv', 'rsync'), _placed),
    **dict.fromkeys(('rm', 'rmdir', 'unlink'), _named), 'mkdir': _made,
    'dd': _dd, 'debootstrap': _debootstrap, 'mount': _mount, 'tar': _tar, 'umount': _umount,
}
