# SPDX-License-Identifier: GPL-3.0-or-later
"""
usage: kiwi-ng system stash -h | --help
       kiwi-ng system stash --root=<directory>
           [--container-name=<name>]
           [--tag=<name>]
           [--base=<image> | --no-base]
           [--label=<key=value>...]
           [--export=<transport:reference>...]
           [--authfile=<file>]
           [--cert-dir=<directory>]
           [--tls-verify=<true|false>]
           [--sbom]
           [--sign-by=<key>]
           [--sign-passphrase-file=<file>]
           [--strict]
           [--verify]
           [--ignore-times]
           [--clamp-mtime]
           [--reproducible]
           [--dry-run]
           [--format=<json|table>]
       kiwi-ng system stash --container-name=<name> --export=<transport:reference>...
           [--tag=<name>]
           [--authfile=<file>]
           [--cert-dir=<directory>]
           [--tls-verify=<true|false>]
           [--sbom]
           [--sign-by=<key>]
           [--sign-passphrase-file=<file>]
       kiwi-ng system stash --prune
           [--keep-last=<number>]
           [--keep-weekly=<number>]
           [--container-name=<name>]
           [--dry-run]
       kiwi-ng system stash --list
       kiwi-ng system stash help

commands:
    stash
        store a root tree as a container image, the stash. Only the
        difference to the image the tree came from, its base, is
        stored, as one layer. Without a root tree: copy the stash of
        the given name to other places, or remove old stashes
    stash help
        show manual page for stash command

options:
    --authfile=<file>
        file of logins for registries. By default that of podman
    --base=<image>
        image to store the difference to: a stash name, an image ID,
        a registry reference or a transport:reference. By default
        the image the root tree came from, else the stash of the same
        name and tag, else the newest stash of that name
    --cert-dir=<directory>
        directory with the CA certificate (*.crt) of a registry, and
        with a client certificate where it wants one
    --clamp-mtime
        store modification times later than SOURCE_DATE_EPOCH as that
        moment
    --container-name=<name>
        name of the stash. By default the name in the image
        description of the root tree, in lower case. With --prune the
        only name whose stashes are looked at, by default all are
    --dry-run
        show what would be stored, packages before files, and store
        nothing. With --prune show what would be removed
    --export=<transport:reference>
        copy the finished stash there as well: docker://host/name:tag
        (by default the tag of the stash), oci-archive:file.tar or
        oci:directory:tag. This option can be specified multiple
        times
    --format=<json|table>
        form of what --dry-run shows, by default a table
    --ignore-times
        store nothing of an entry that differs from the base by its
        modification time alone: in the image it has that of the
        base. How many there are is said. The times of installation
        in rpm's data base are such times as well
    --keep-last=<number>
        with --prune: keep so many of the newest stashes of each name
    --keep-weekly=<number>
        with --prune: keep the newest stash of each of so many weeks,
        the last ones in which there is one
    --label=<key=value>
        label to set on the stash. This option can be specified
        multiple times
    --list
        list the stashes, same as: 'kiwi-ng system stash_list'
    --no-base
        store the whole tree as one layer
    --prune
        remove the stashes that neither --keep-last nor --keep-weekly
        keeps, and those whose name went to a newer one. What a
        container uses, or what is mounted, stays
    --reproducible
        leave out what differs by chance from one prepare of a
        description to the next: logs, caches, random seeds, backup
        files. What it was is said. Two such trees are the same image
        if --clamp-mtime is given as well
    --root=<directory>
        the root tree to store, usually the result of a former
        system prepare or build call
    --sbom
        write down which packages are in the stash (SPDX 2.3) and
        where it came from (in-toto, SLSA provenance), below
        /var/lib/kiwi-stackbuild. With --export both go with the
        copy, as artifacts that refer to it
    --sign-by=<key>
        sign what --export copies to registries: the fingerprint of a
        GPG key, or a file with a private key of sigstore (cosign) or
        with parameters for one (containers-sigstore-signing-params)
    --sign-passphrase-file=<file>
        file with the passphrase of that key
    --strict
        refuse a tree with entries that no layer can hold. By default
        they are named and left out
    --tag=<name>
        tag of the stash. By default set to: latest
    --tls-verify=<true|false>
        ask registries for TLS with a valid certificate. By default
        as the tools are configured, which is true
    --verify
        mount what was stored and compare it with the tree, content
        included. If they differ, nothing is stored
"""
from typing import TYPE_CHECKING, Any, Mapping, Optional, Tuple

from kiwi.privileges import Privileges
from kiwi.tasks.base import CliTask

from kiwi_stackbuild_plugin.tasks.output import guard_output, print_text
from kiwi_stackbuild_plugin.tasks.stashes import check_form, print_stashes

if TYPE_CHECKING:
    from kiwi_stackbuild_plugin.storage.access import Access, Signing


class SystemStashTask(CliTask):  # type: ignore[misc]
    """The command "system stash" of kiwi up to 10.3."""

    def process(self) -> None:
        """Store a root tree as a stash, or list the stashes."""
        stash_command(self.command_args)


def stash_command(args: Mapping[str, Any]) -> None:
    """Run "system stash" with the arguments of docopt or typer."""
    guard_output()
    if args.get('help'):
        from kiwi_stackbuild_plugin.tasks.manual_page import show_manual
        show_manual('kiwi::system::stash', __doc__)
        return
    if args.get('--list'):
        print_stashes()
        return
    Privileges.check_for_root_permissions()
    if args.get('--prune'):
        _prune(args)
        return
    from kiwi_stackbuild_plugin.storage.access import make_access, make_signing
    access = make_access(
        args['--authfile'], args['--tls-verify'], args['--cert-dir']
    )
    signing = make_signing(args['--sign-by'], args['--sign-passphrase-file'])
    tag = 'latest' if args['--tag'] is None else args['--tag']
    # docopt tells a repeated option twice where two usages have it
    exports = tuple(dict.fromkeys(args['--export'] or ()))
    if args['--root'] is None:
        from kiwi_stackbuild_plugin.stash.export import ExportRequest, export
        export(ExportRequest(
            args['--container-name'], tag, exports, access, signing, bool(args['--sbom'])
        ))
    else:
        _stash(args, tag, exports, access, signing)


def _stash(
    args: Mapping[str, Any], tag: str, exports: Tuple[str, ...], access: 'Access',
    signing: 'Signing'
) -> None:
    from kiwi_stackbuild_plugin.storage.directories import ask_ahead
    ask_ahead()
    from kiwi_stackbuild_plugin.stash.stash import StashRequest, stash
    text = stash(StashRequest(
        root=args['--root'],
        container_name=args['--container-name'],
        tag=tag,
        base=args['--base'],
        no_base=bool(args['--no-base']),
        labels=tuple(args['--label'] or ()),
        exports=exports,
        dry_run=bool(args['--dry-run']),
        form=_dry_run_form(args),
        strict=bool(args['--strict']),
        verify=bool(args['--verify']),
        ignore_times=bool(args['--ignore-times']),
        clamp_mtime=bool(args['--clamp-mtime']),
        reproducible=bool(args['--reproducible']),
        access=access,
        signing=signing,
        sbom=bool(args['--sbom'])
    ))
    if text:
        print_text(text)


def _prune(args: Mapping[str, Any]) -> None:
    from kiwi_stackbuild_plugin.stash.prune import PruneRequest, prune
    print_text(prune(PruneRequest(
        args['--keep-last'], args['--keep-weekly'], args['--container-name'],
        bool(args['--dry-run'])
    )))


def _dry_run_form(args: Mapping[str, Any]) -> Optional[str]:
    form = check_form(args['--format'])
    if form is not None and not args['--dry-run']:
        from kiwi_stackbuild_plugin.host.errors import KiwiStashArgumentInvalid
        raise KiwiStashArgumentInvalid(
            '--format says how --dry-run shows what it finds', 'add --dry-run'
        )
    return form
