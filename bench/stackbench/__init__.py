# SPDX-License-Identifier: GPL-3.0-or-later
"""Benchmark of the plugin against its peers, all in the same run."""
