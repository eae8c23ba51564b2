# SPDX-License-Identifier: GPL-3.0-or-later
"""The version of the distribution, read by setup.py, the labels and the docs."""

__version__ = '2.0.0'
