# SPDX-License-Identifier: GPL-3.0-or-later
"""
usage: kiwi-ng system stackbuild -h | --help
       kiwi-ng system stackbuild --target-dir=<directory>
           [--stash=<image>...]
           [--description=<directory>]
           [--from-registry=<URI>]
           [--pull=<missing|always|never|newer>]
           [--max-age=<age>]
           [--authfile=<file>]
           [--cert-dir=<directory>]
           [--tls-verify=<true|false>]
           [--container-tool=<stash|umoci|buildah>]
           [--keep-scripts]
           [--merge-packages]
           [--overlay]
           [--root-only]
           [--stash-as=<name[:tag]>]
           [--export=<transport:reference>...]
           [--if-changed]
           [--dry-run]
           [-- <kiwi_args>...]
       kiwi-ng system stackbuild --matrix=<file>
           [--target-dir=<directory>]
           [--only=<cell>...]
           [--jobs=<number>]
           [--print=<json|make|gitlab|github>]
           [--if-changed]
       kiwi-ng system stackbuild --mount=<directory>
       kiwi-ng system stackbuild --unmount=<directory>
       kiwi-ng system stackbuild help

commands:
    stackbuild
        build an image from one or more stashes. Without a description
        the image is built from the stash as it is, with the
        description it carries (kiwi-ng system create). With a
        description that one is built on top of the stash
        (kiwi-ng system build)
    stackbuild help
        show manual page for stackbuild command

options:
    --authfile=<file>
        file of logins for registries. By default that of podman
    --cert-dir=<directory>
        directory with the CA certificate (*.crt) of a registry, and
        with a client certificate where it wants one
    --container-tool=<stash|umoci|buildah>
        what makes a container (types oci and docker). stash: one layer
        on the stash, nothing is packed again, the default where it is
        one. umoci, buildah: kiwi's own way, with a single layer of all
    --description=<directory>
        the image description to build, or one that extends the
        description of the stash
    --dry-run
        show what comes from which stash and which description is
        built, for one that extends that of the stash the result,
        what it changes, and what is done to the root. Stashes are fetched, nothing is built
    --export=<transport:reference>
        with --stash-as, copy the finished stash there as well:
        docker://host/name:tag (by default the tag of the stash),
        oci-archive:file.tar or oci:directory:tag. This option can be
        specified multiple times
    --from-registry=<URI>
        registry to pull the stashes from that are given by a plain
        name
    --if-changed
        build only if something that goes into the result changed, or
        the result of the last run is gone, and say what; replace that
        result. Where nothing changed the exit status is 0 at once
    --jobs=<number>
        with --matrix: run so many cells at a time. By default one for
        each processor
    --keep-scripts
        with a description that extends that of the stash, run the
        scripts of the stash such as config.sh too, before those of
        the description. By default they are not run again, but for
        those that work on the image being made (images.sh, disk.sh,
        pre_disk_sync.sh) and that the description does not replace
    --matrix=<file>
        build all cells of a matrix, a file in YAML or JSON. Each is a
        stackbuild of its own, with a log beside its target directory
    --max-age=<age>
        refuse stashes that were made longer ago than so many
        minutes (30m), hours (12h), days (7d) or weeks (2w). A stored
        one that is too old is asked for again at its registry
    --merge-packages
        with several stashes, make a package data base that knows the
        packages of all of them (dpkg, rpm). Refused where they
        contradict one another: two versions of one package, a file of
        two packages, two package managers. By default the data base
        is that of the later stash, and what it does not know is named
    --mount=<directory>
        mount the root tree that --overlay made in this target
        directory, to look at it, and print where it is
    --only=<cell>
        with --matrix: only this cell and those that it needs. This
        option can be specified multiple times
    --overlay
        copy nothing: the root tree is an overlay mount on the layers
        of the stash, which are held in the storage for it. It is
        mounted as long as the run needs it, its changes are beside it
        in image-root.overlay. Where that cannot be, the tree is
        copied, and a line says why
    --print=<json|make|gitlab|github>
        with --matrix: build nothing, print the cells for a CI matrix,
        as a Makefile, a child pipeline or a workflow
    --pull=<missing|always|never|newer>
        when to ask a registry. missing: for what is not stored, the
        default. always: each time, the default with --from-registry.
        newer: each time, but the stored one will do if the registry
        does not answer. never: take only what is stored. What is
        stored already is never fetched again
    --root-only
        make the root tree and no image: with a description KIWI's
        prepare part, which takes the arguments of kiwi-ng system
        prepare. Without one the root tree is the stashes as they are
    --stash=<image>
        the stash to build from: a stash name, an image ID, a registry
        reference or a transport:reference. This option can be
        specified multiple times, later stashes go on top. It can be
        left out if the description names the stash it extends
    --stash-as=<name[:tag]>
        stash the finished root tree in the same run, as a change of
        the stash it was built from. The tag is latest unless given
    --target-dir=<directory>
        the target directory to store the system image file(s). Each
        cell of a matrix has a directory of its name in it
    --tls-verify=<true|false>
        ask registries for TLS with a valid certificate. By default
        as the tools are configured, which is true
    --unmount=<directory>
        unmount it again, with all that is mounted in it
    <kiwi_args>
        arguments for kiwi-ng system build, or for kiwi-ng system
        create where no description is given. With --root-only for
        kiwi-ng system prepare
"""
import re
from typing import TYPE_CHECKING, Any, Mapping, Tuple

from kiwi.privileges import Privileges
from kiwi.tasks.base import CliTask

from kiwi_stackbuild_plugin.tasks.output import guard_output, print_text

if TYPE_CHECKING:
    from kiwi_stackbuild_plugin.stackbuild.plan import StackbuildRequest


class SystemStackbuildTask(CliTask):  # type: ignore[misc]
    """The command "system stackbuild" of kiwi up to 10.3."""

    def process(self) -> None:
        """Build an image from stashes."""
        stackbuild_command(self.command_args, self.global_args)


def stackbuild_command(
    args: Mapping[str, Any], global_args: Mapping[str, Any]
) -> None:
    """Run "system stackbuild" with the arguments of docopt or typer.

    :param global_args: kiwi's global options, for the nested kiwi call
    """
    guard_output()
    if args.get('help'):
        from kiwi_stackbuild_plugin.tasks.manual_page import show_manual
        show_manual('kiwi::system::stackbuild', __doc__)
        return
    Privileges.check_for_root_permissions()
    if args.get('--matrix') is not None:
        _matrix(args, global_args)
        return
    if args.get('--mount') is not None or args.get('--unmount') is not None:
        _look(args)
        return
    words = tuple(args['<kiwi_args>'] or ())
    if words and args.get('--') is False:
        # docopt takes both parts of "[-- <kiwi_args>...]" for optional
        from kiwi_stackbuild_plugin.host.errors import KiwiStashArgumentInvalid
        raise KiwiStashArgumentInvalid(
            f'{words[0]!r} is no argument of stackbuild',
            'arguments for kiwi go behind "--"'
        )
    from kiwi_stackbuild_plugin.storage.directories import ask_ahead
    ask_ahead()
    from kiwi_stackbuild_plugin.runs.one_run import run_stackbuild
    text = run_stackbuild(_request(args, words, global_args))
    if text:
        print_text(text)


def _look(args: Mapping[str, Any]) -> None:
    from kiwi_stackbuild_plugin.overlay.look import hide_root, show_root
    if args.get('--mount') is not None:
        print_text(show_root(args['--mount']))
    else:
        hide_root(args['--unmount'])


def _matrix(args: Mapping[str, Any], global_args: Mapping[str, Any]) -> None:
    from kiwi_stackbuild_plugin.runs.cells import OptionKinds
    from kiwi_stackbuild_plugin.runs.matrix import MatrixRequest, run_matrix
    # the usage text is the one place where options are written down
    pattern = (__doc__ or '').partition('\n       kiwi-ng system stackbuild --matrix')[0]
    found = re.findall(r'\[--([a-z-]+)(=<[^>]*>)?(\.\.\.)?\]', pattern)
    offered = [one for one in found if one[0] not in ('dry-run', 'if-changed')]
    text = run_matrix(MatrixRequest(
        args['--matrix'],
        OptionKinds(
            tuple(name for name, value, _ in offered if not value),
            tuple(name for name, value, more in offered if value and not more),
            tuple(name for name, _, more in offered if more)
        ),
        args['--target-dir'], tuple(dict.fromkeys(args['--only'] or ())), args['--jobs'],
        args['--print'], bool(args['--if-changed']), dict(global_args)
    ))
    if text:
        print_text(text)


def _request(
    args: Mapping[str, Any], words: Tuple[str, ...], global_args: Mapping[str, Any]
) -> 'StackbuildRequest':
    from kiwi_stackbuild_plugin.storage.access import make_access
    from kiwi_stackbuild_plugin.stackbuild.plan import StackbuildRequest
    return StackbuildRequest(
        stashes=tuple(args['--stash'] or ()),
        target_dir=args['--target-dir'],
        description=args['--description'],
        from_registry=args['--from-registry'],
        dry_run=args['--dry-run'],
        keep_scripts=args['--keep-scripts'], merge_packages=args['--merge-packages'],
        root_only=args['--root-only'], overlay=args['--overlay'],
        if_changed=args['--if-changed'],
        stash_as=args['--stash-as'], exports=tuple(args['--export'] or ()),
        kiwi_args=words,
        global_args=dict(global_args),
        pull=args['--pull'], max_age=args['--max-age'], container_tool=args['--container-tool'],
        access=make_access(
            args['--authfile'], args['--tls-verify'], args['--cert-dir']
        )
    )
