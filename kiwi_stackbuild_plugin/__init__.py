# SPDX-License-Identifier: GPL-3.0-or-later
"""KIWI NG plugin: root trees stored as OCI images, one layer per change."""
