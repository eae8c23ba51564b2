# SPDX-License-Identifier: GPL-3.0-or-later
"""A matrix file, YAML or JSON, as plain values that know their line.

Nothing in it is made into an object: a scalar is its text, so that a tag 1.10 or
an axis value "no" stays what was written.
"""
from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from typing import Dict, List, Union

import yaml

from kiwi_stackbuild_plugin.host.errors import KiwiStashArgumentInvalid

#: bytes of a file; values in it, what aliases stand for counted each time
_SIZE_LIMIT = 4 << 20
_COUNT_LIMIT = 50_000
_DEPTH_LIMIT = 20
_MERGE = 'tag:yaml.org,2002:merge'
_NULL = 'tag:yaml.org,2002:null'

Content = Union[str, List['Value'], Dict[str, 'Value']]


@dataclass(frozen=True)
class Value:
    """A value in a file, with its line and the keys that lead to it."""

    content: Content
    line: int
    key: str
    file: str

    def wrong(self, why: str, hint: str = '') -> KiwiStashArgumentInvalid:
        """Return the error that names file, line and key."""
        where = f': {self.key}' if self.key else ''
        return KiwiStashArgumentInvalid(f'{self.file}:{self.line}{where}: {why}', hint)

    def mapping(self) -> Dict[str, Value]:
        """Return keys and values.

        :raises KiwiStashArgumentInvalid: if it is none
        """
        if not isinstance(self.content, dict):
            raise self.wrong('keys and values are wanted here')
        return self.content

    def items(self) -> List[Value]:
        """Return the values of a list; a single one is a list of itself."""
        return self.content if isinstance(self.content, list) else [self]

    def text(self) -> str:
        """Return a scalar.

        :raises KiwiStashArgumentInvalid: if it is none
        """
        if not isinstance(self.content, str):
            raise self.wrong('one value is wanted here')
        return self.content

    def flag(self) -> bool:
        """Return a truth value.

        :raises KiwiStashArgumentInvalid: if it is none
        """
        text = self.text().lower()
        if text not in ('true', 'false', 'yes', 'no'):
            raise self.wrong(f'{self.text()!r} is neither true nor false')
        return text in ('true', 'yes')


def read_matrix_file(path: str) -> Value:
    """Read a file whose top is keys and values.

    :raises KiwiStashArgumentInvalid: in one line with file, line and key
    """
    try:
        with open(path, 'rb') as source:
            data = source.read(_SIZE_LIMIT + 1)
    except OSError as issue:
        raise KiwiStashArgumentInvalid(
            f'--matrix {path!r}: cannot be read: {issue.strerror}'
        ) from issue
    if len(data) > _SIZE_LIMIT:
        raise KiwiStashArgumentInvalid(f'--matrix {path!r}: more than {_SIZE_LIMIT} bytes')
    try:
        text = data.decode('utf-8-sig')
    except UnicodeDecodeError as issue:
        line = data[:issue.start].count(b'\n') + 1
        raise KiwiStashArgumentInvalid(f'{path}:{line}: not UTF-8') from issue
    top = _Converter(path).convert(_compose(path, text), '', 0)
    top.mapping()
    return top


def _compose(path: str, text: str) -> yaml.Node:
    """Return the nodes of a document; JSON is YAML, but for tabs between its words."""
    if os.path.splitext(path)[1] == '.json':
        try:
            json.loads(text)
        except (ValueError, RecursionError) as issue:
            line = getattr(issue, 'lineno', 1)
            raise KiwiStashArgumentInvalid(
                f'{path}:{line}: cannot be read as JSON: {getattr(issue, "msg", issue)}'
            ) from issue
        text = text.replace('\t', ' ')
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as issue:
        mark = getattr(issue, 'problem_mark', None)
        why = getattr(issue, 'problem', None) or str(issue)
        raise KiwiStashArgumentInvalid(
            f'{path}:{mark.line + 1 if mark else 1}: cannot be read as YAML: {why}'
        ) from issue
    if node is None:
        raise KiwiStashArgumentInvalid(f'{path}:1: nothing is in it')
    return node


class _Converter:
    """Makes values of the nodes of one file."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.count = 0

    def convert(self, node: yaml.Node, key: str, depth: int) -> Value:
        """Return a node as value."""
        here = Value('', node.start_mark.line + 1, key, self.file)
        self.count += 1
        if self.count > _COUNT_LIMIT or depth > _DEPTH_LIMIT:
            raise here.wrong('too many values, or too deep in one another')
        if isinstance(node, yaml.MappingNode):
            content: Content = self._mapping(node, here, depth)
        elif isinstance(node, yaml.SequenceNode):
            content = [
                self.convert(child, f'{key}[{number}]', depth + 1)
                for number, child in enumerate(node.value)
            ]
        else:
            content = self._scalar(node, here)
        return Value(content, here.line, key, self.file)

    def _scalar(self, node: yaml.Node, here: Value) -> str:
        if node.tag == _NULL:
            raise here.wrong('there is no value')
        # two halves of a character beyond 16 bits, as JSON escapes it
        text = str(node.value).encode('utf-16', 'surrogatepass').decode('utf-16', 'replace')
        if not text.isprintable():
            raise here.wrong('a line feed or another control character is in the value')
        return text

    def _mapping(self, node: yaml.MappingNode, here: Value, depth: int) -> Dict[str, Value]:
        found: Dict[str, Value] = {}
        merged: Dict[str, Value] = {}
        for name, child in node.value:
            at = Value('', name.start_mark.line + 1, here.key, self.file)
            if name.tag == _MERGE:
                value = self.convert(child, here.key, depth + 1)
                for one in value.items():
                    merged = {**one.mapping(), **merged}
                continue
            if not isinstance(name, yaml.ScalarNode):
                raise at.wrong('a key is no text')
            key = str(name.value)
            full = f'{here.key}.{key}' if here.key else key
            if key in found:
                raise Value('', at.line, full, self.file).wrong('is given twice')
            found[key] = self.convert(child, full, depth + 1)
        return {**merged, **found}


def substitute(value: Value, variables: Dict[str, str]) -> str:
    """Put values of axes in place of ${axis}; $$ is a dollar sign.

    :raises KiwiStashArgumentInvalid: for an axis that is not there
    """
    def replaced(found: re.Match[str]) -> str:
        if found[0] == '$$':
            return '$'
        name = found[1] or ''
        if name not in variables:
            known = ', '.join(sorted(variables)) or 'none'
            raise value.wrong(f'{found[0]}: no such axis', f'there are: {known}')
        return variables[name]

    return re.sub(r'\$\$|\$\{([^}]*)\}', replaced, value.text())


