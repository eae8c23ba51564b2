# SPDX-License-Identifier: GPL-3.0-or-later
"""A root tree that is an overlay mount on the layers of a stash."""
