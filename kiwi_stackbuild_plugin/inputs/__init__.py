# SPDX-License-Identifier: GPL-3.0-or-later
"""What a build is made of, as values that tell whether anything changed."""
