# SPDX-License-Identifier: GPL-3.0-or-later
"""Packaging of the plugin: two packages, one distribution for kiwi 9.24 to 11."""
import gzip
import os
import re
import sys
import tarfile

from setuptools import find_packages, setup
from setuptools.command.sdist import sdist
# setuptools' own copy
from distutils.command.install_data import install_data  # isort: skip

HERE = os.path.dirname(os.path.abspath(__file__))


def read(name: str) -> str:
    """Return the text of a file of this directory."""
    with open(os.path.join(HERE, name), encoding='utf-8') as source:
        return source.read()


def read_version() -> str:
    """Return the version without importing the package (kiwi may be absent)."""
    found = re.search(
        r"^__version__ = '([^']+)'$",
        read('kiwi_stackbuild_plugin/version.py'), re.MULTILINE
    )
    if not found:
        raise SystemExit('kiwi_stackbuild_plugin/version.py: no __version__')
    return found[1]


class InstallData(install_data):
    """Install the manual pages, which are made from the documentation."""

    def run(self) -> None:
        """Make the pages, then install them with the other files."""
        sys.path.insert(0, os.path.join(HERE, 'doc/source'))
        try:
            from manual_pages import write_pages
        except ImportError as issue:
            # a build without the requirements in pyproject.toml
            self.warn(f'no manual pages: {issue}')
        else:
            build = self.get_finalized_command('build').build_base
            pages = write_pages(os.path.join(build, 'man'))
            self.data_files = [('share/man/man8', pages)]
        super().run()


class ReproducibleSdist(sdist):
    """With SOURCE_DATE_EPOCH set, the same sources give the same archive."""

    def make_archive(self, base_name: str, *args: object, **more: object) -> str:
        """Make the archive, then write it again without what differs."""
        name: str = super().make_archive(base_name, *args, **more)
        epoch = os.environ.get('SOURCE_DATE_EPOCH')
        if epoch and name.endswith('.tar.gz'):
            rewrite_archive(name, int(epoch))
        return name


def rewrite_archive(name: str, epoch: int) -> None:
    """Give all members one time and no owner, in the order of their names."""
    with tarfile.open(name) as source, gzip.GzipFile(
        f'{name}.new', 'wb', mtime=epoch
    ) as packed, tarfile.open(
        mode='w', fileobj=packed, format=tarfile.PAX_FORMAT
    ) as target:
        for member in sorted(source.getmembers(), key=lambda member: member.name):
            member.mtime = epoch
            member.uid = member.gid = 0
            member.uname = member.gname = ''
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            member.pax_headers = {}
            target.addfile(member, source.extractfile(member) if member.isfile() else None)
    os.replace(f'{name}.new', name)


setup(
    name='kiwi_stackbuild_plugin',
    version=read_version(),
    description='KIWI NG plugin: root trees stored as OCI images, '
                'one layer per change',
    long_description=read('README.rst'),
    long_description_content_type='text/x-rst',
    license='GPL-3.0-or-later',
    license_files=['LICENSE'],
    python_requires='>=3.9',
    packages=find_packages(
        HERE, include=['kiwi_stackbuild_plugin*', 'kiwi_stackbuild_typer_plugin']
    ),
    package_data={
        'kiwi_stackbuild_plugin': ['py.typed'],
        'kiwi_stackbuild_plugin.description': ['*.rng', '*.rnc'],
        'kiwi_stackbuild_plugin.packages': ['*.txt'],
        'kiwi_stackbuild_typer_plugin': ['py.typed']
    },
    data_files=[('share/man/man8', [])],
    cmdclass={'install_data': InstallData, 'sdist': ReproducibleSdist},
    # what kiwi brings itself (docopt or typer, lxml, ...) is kiwi's business;
    # zstandard 0.20 is python3-zstandard of Debian 12
    install_requires=['kiwi>=9.24', 'zstandard>=0.20'],
    entry_points={
        'kiwi.tasks': [
            'system_stash = kiwi_stackbuild_plugin.tasks.system_stash',
            'system_stackbuild = '
            'kiwi_stackbuild_plugin.tasks.system_stackbuild',
            # the only one that kiwi >= 11.1 loads; there it runs all three
            'system_stash_list = '
            'kiwi_stackbuild_typer_plugin.system_stash_list'
        ]
    },
    classifiers=[
        'Development Status :: 5 - Production/Stable',
        'Environment :: Console',
        'Intended Audience :: System Administrators',
        'Operating System :: POSIX :: Linux',
        'Programming Language :: Python :: 3',
        'Topic :: System :: Operating System'
    ]
)
